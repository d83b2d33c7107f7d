//! The development CA's files, its certificates, and what it refuses.

use super::*;
use crate::tls::test_support::{Directory, set_mode};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn open(directory: &Directory) -> Result<DevelopmentCa, DevelopmentCaError> {
    DevelopmentCa::open(directory.path(), SystemTime::now())
}

#[test]
fn made_once_and_kept() {
    let directory = Directory::new();
    let state = directory.path().join("not/yet/there");
    let first = DevelopmentCa::open(&state, SystemTime::now()).unwrap();
    assert_eq!(first.certificate_path(), state.join("ca/ca.pem"));
    assert_eq!(mode(&state.join("ca")), 0o700);
    assert_eq!(mode(&state.join("ca/ca.key")), 0o600);
    let second = DevelopmentCa::open(&state, SystemTime::now()).unwrap();
    assert_eq!(first.certificate, second.certificate);
    let entries: Vec<_> = fs::read_dir(&state).unwrap().collect();
    assert_eq!(entries.len(), 1, "nothing temporary stays: {entries:?}");
    // An empty directory is as good as none.
    let prepared = Directory::new();
    fs::create_dir(prepared.path().join("ca")).unwrap();
    open(&prepared).unwrap();
    assert_eq!(mode(&prepared.path().join("ca")), 0o700);
}

#[test]
fn two_at_once_agree() {
    let directory = Directory::new();
    let certificates: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&directory).unwrap())).collect();
        handles.into_iter().map(|handle| handle.join().unwrap().certificate).collect()
    });
    assert!(certificates.iter().all(|certificate| *certificate == certificates[0]));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn damaged_files_are_never_replaced() {
    let check = |damage: &dyn Fn(&Path), parts: &[&str]| {
        let directory = Directory::new();
        open(&directory).unwrap();
        let ca = directory.path().join("ca");
        damage(&ca);
        let files = |name| fs::read(ca.join(name)).ok();
        let before = (files("ca.pem"), files("ca.key"));
        let message = open(&directory).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} not in {message}");
        }
        assert_eq!((files("ca.pem"), files("ca.key")), before);
    };
    let other = Directory::new();
    open(&other).unwrap();
    let other = other.path().join("ca");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(&|ca| fs::write(ca.join("ca.pem"), "").unwrap(), &["ca.pem", "not a certificate", "delete the directory"]);
    check(&|ca| fs::write(ca.join("ca.pem"), garbage).unwrap(), &["ca.pem", "not an X.509"]);
    check(&|ca| fs::write(ca.join("ca.key"), "x").unwrap(), &["ca.key", "not a private key"]);
    check(&|ca| fs::remove_file(ca.join("ca.key")).unwrap(), &["ca.key", "is missing"]);
    check(&|ca| fs::remove_file(ca.join("ca.pem")).unwrap(), &["ca.pem", "is missing"]);
    check(&|ca| set_mode(&ca.join("ca.key"), 0o640), &["ca.key", "chmod 600"]);
    check(
        &|ca| fs::write(ca.join("ca.key"), fs::read(other.join("ca.key")).unwrap()).unwrap(),
        &["ca.key", "not the key of the certificate"],
    );
    let leaf = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    check(
        &|ca| fs::write(ca.join("ca.pem"), leaf.cert.pem()).unwrap(),
        &["ca.pem", "not the certificate of an authority"],
    );
}

#[test]
fn expiry() {
    let directory = Directory::new();
    let now = SystemTime::now();
    let ca = DevelopmentCa::open(directory.path(), now).unwrap();
    let later = now + CA_LIFETIME + DAY;
    let message = DevelopmentCa::open(directory.path(), later).unwrap_err().to_string();
    assert!(message.contains("has expired"), "{message}");
    // A leaf never outlives the authority.
    let leaf = ca.leaf("localhost", now + CA_LIFETIME - DAY).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
    let end = parsed.validity().not_after.timestamp();
    assert!(end <= unix_seconds(now + CA_LIFETIME), "{end}");
}

#[test]
fn leaves() {
    let directory = Directory::new();
    let ca = open(&directory).unwrap();
    let now = SystemTime::now();
    let names = |name: &str| {
        let leaf = ca.leaf(name, now).unwrap();
        assert_eq!(leaf.cert.len(), 2);
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
        let days = (parsed.validity().not_after.timestamp() - unix_seconds(now)) / 86_400;
        assert!((89..=90).contains(&days), "{days}");
        parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len()
    };
    assert_eq!(names("localhost"), 3);
    assert_eq!(names("www.example.test"), 1);
    let leaf = |name: &str, at| ca.leaf(name, at).unwrap();
    assert!(Arc::ptr_eq(&leaf("a.test", now), &leaf("A.Test", now)));
    assert!(Arc::ptr_eq(&leaf("a.test", now), &leaf("a.test", now + 59 * DAY)));
    assert!(!Arc::ptr_eq(&leaf("a.test", now), &leaf("a.test", now + 60 * DAY)));
    for bad in ["", "*", "*.example", "a b", "127.0.0.1", "../x", "a\0"] {
        assert!(matches!(ca.leaf(bad, now), Err(DevelopmentCaError::Name { .. })), "{bad:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let directory = Directory::new();
    let ca = open(&directory).unwrap();
    let now = SystemTime::now();
    let first = ca.leaf("n0.test", now).unwrap();
    for number in 1..=LEAF_CERTIFICATES_MAX + 10 {
        ca.leaf(&format!("n{number}.test"), now).unwrap();
    }
    {
        let leaves = ca.leaves.lock().unwrap();
        assert_eq!(leaves.by_name.len(), LEAF_CERTIFICATES_MAX);
        assert_eq!(leaves.order.len(), LEAF_CERTIFICATES_MAX);
    }
    assert!(!Arc::ptr_eq(&first, &ca.leaf("n0.test", now).unwrap()), "the oldest gave way");
}
