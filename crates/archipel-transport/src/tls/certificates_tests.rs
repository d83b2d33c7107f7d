//! What is said about certificate files, and which certificate is chosen.

use super::*;
use crate::tls::test_support::{DAY, Kind, TestCa, set_mode, source};

fn load(files: &[&CertificateFiles]) -> Result<Vec<CertificateWarning>, String> {
    CertificateTable::load(&source(files), SystemTime::now())
        .map(|(_, warnings)| warnings)
        .map_err(|errors| errors.to_string())
}

/// Every part must be in the message, which begins with the file.
#[track_caller]
fn check_refused(files: &CertificateFiles, file: &Path, parts: &[&str]) {
    let message = load(&[files]).unwrap_err();
    assert!(message.starts_with(&file.display().to_string()), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} not in {message}");
    }
}

#[test]
fn problems_name_file_fault_and_remedy() {
    let ca = TestCa::new();
    let good = ca.issue("good", &["a.example"], Kind::Ecdsa);
    let other = ca.issue("other", &["b.example"], Kind::Rsa);
    assert_eq!(load(&[&good, &other]), Ok(vec![]));

    let with_certificate =
        |name: &str, text: &str| CertificateFiles { certificate_file: ca.directory.write(name, text), ..good.clone() };
    let with_key =
        |name: &str, text: &str| CertificateFiles { private_key_file: ca.directory.write(name, text), ..good.clone() };
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();

    let mut files = good.clone();
    files.certificate_file = ca.directory.path().join("absent.pem");
    check_refused(&files, &files.certificate_file, &["cannot be read", "check the path"]);
    let mut files = good.clone();
    files.private_key_file = ca.directory.path().join("absent.key");
    check_refused(&files, &files.private_key_file, &["cannot be read"]);
    let files = with_certificate("empty.pem", "");
    check_refused(&files, &files.certificate_file, &["no certificate", "BEGIN CERTIFICATE"]);
    let files = with_certificate("swapped.pem", &read(&good.private_key_file));
    check_refused(&files, &files.certificate_file, &["no certificate"]);
    let files = with_key("swapped.key", &read(&good.certificate_file));
    check_refused(&files, &files.private_key_file, &["no private key"]);
    let files = with_key("empty.key", "");
    check_refused(&files, &files.private_key_file, &["no private key", "BEGIN PRIVATE KEY"]);
    let cut = read(&good.certificate_file);
    let files = with_certificate("cut.pem", &cut[..cut.len() / 3]);
    check_refused(&files, &files.certificate_file, &["not valid PEM"]);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let files = with_certificate("garbage.pem", garbage);
    check_refused(&files, &files.certificate_file, &["cannot be parsed"]);
    let files = with_certificate("long.pem", &read(&good.certificate_file).repeat(9));
    check_refused(&files, &files.certificate_file, &["more than 16 certificates"]);
    let files = with_certificate("huge.pem", &"#".repeat(CERTIFICATE_FILE_BYTES_MAX as usize + 1));
    check_refused(&files, &files.certificate_file, &["larger than"]);
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let files = with_key("garbage.key", garbage);
    check_refused(&files, &files.private_key_file, &["unsupported private key", "ECDSA"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let files = with_key("encrypted.key", encrypted);
    check_refused(&files, &files.private_key_file, &["is encrypted", "openssl pkey"]);
    let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let files = with_key("encrypted1.key", encrypted);
    check_refused(&files, &files.private_key_file, &["is encrypted"]);

    let mut files = good.clone();
    files.private_key_file = other.private_key_file.clone();
    let certificate = files.certificate_file.display().to_string();
    check_refused(&files, &files.private_key_file, &["does not belong", &certificate]);
    // Intermediate first: the same words say what to do.
    let reversed = ca.certificate.pem() + &read(&good.certificate_file);
    let files = with_certificate("reversed.pem", &reversed);
    check_refused(&files, &files.private_key_file, &["before the intermediates"]);

    assert!(load(&[]).unwrap_err().contains("no certificate is configured"));
}

#[test]
fn all_problems_at_once() {
    let ca = TestCa::new();
    let good = ca.issue("good", &["a.example"], Kind::Ecdsa);
    let absent = CertificateFiles {
        certificate_file: "/nonexistent/a.pem".into(),
        private_key_file: "/nonexistent/a.key".into(),
    };
    let mut empty = good.clone();
    empty.private_key_file = ca.directory.write("empty.key", "");
    let message = load(&[&absent, &good, &empty]).unwrap_err();
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn one_file_for_both() {
    let ca = TestCa::new();
    let good = ca.issue("good", &["a.example"], Kind::Ecdsa);
    let both = std::fs::read_to_string(&good.private_key_file).unwrap()
        + &std::fs::read_to_string(&good.certificate_file).unwrap();
    let file = ca.directory.write("both.pem", &both);
    let files = CertificateFiles { certificate_file: file.clone(), private_key_file: file };
    assert_eq!(load(&[&files]), Ok(vec![]));
}

#[test]
fn warnings() {
    let ca = TestCa::new();
    let now = SystemTime::now();
    let check = |stem: &str, names: &[&str], dates, expected: fn(PathBuf) -> CertificateWarning| {
        let files = ca.issue_valid(stem, names, Kind::Ecdsa, dates);
        assert_eq!(load(&[&files]), Ok(vec![expected(files.certificate_file.clone())]));
    };
    let names = ["a.example"];
    check("old", &names, (now - 9 * DAY, now - 3 * DAY), |file| CertificateWarning::Expired { file, days: 3 });
    check("soon", &names, (now - DAY, now + 5 * DAY + DAY / 2), |file| CertificateWarning::ExpiresSoon {
        file,
        days: 5,
    });
    check("early", &names, (now + DAY, now + 90 * DAY), |file| CertificateWarning::NotYetValid { file });
    check("nameless", &[], (now - DAY, now + 90 * DAY), |file| CertificateWarning::NoNames { file });
    let files = ca.issue("open", &names, Kind::Ecdsa);
    set_mode(&files.private_key_file, 0o644);
    let file = files.private_key_file.clone();
    assert_eq!(load(&[&files]), Ok(vec![CertificateWarning::KeyReadableByAll { file }]));
}

#[test]
fn choice() {
    const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
    const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    let ca = TestCa::new();
    let files = [
        ca.issue("first", &["first.example"], Kind::Rsa),
        ca.issue("first2", &["First.Example"], Kind::Ecdsa),
        ca.issue("wild", &["*.example.com", "example.com"], Kind::Ecdsa),
        ca.issue("exact", &["a.example.com"], Kind::Rsa),
        ca.issue("ed", &["ed.example"], Kind::Ed25519),
    ];
    let source = source(&files.iter().collect::<Vec<_>>());
    let (table, warnings) = CertificateTable::load(&source, SystemTime::now()).unwrap();
    assert_eq!(warnings, vec![]);
    let check = |name: Option<&str>, schemes: &[SignatureScheme], expected: Option<usize>| {
        let found = table.find(name, schemes).map(|key| key.cert[0].clone());
        let expected = expected.map(|at| read_certificates(&files[at].certificate_file).unwrap().remove(0));
        assert_eq!(found, expected, "{name:?} {schemes:?}");
    };
    check(Some("first.example"), &[RSA, ECDSA], Some(1));
    check(Some("first.example"), &[RSA], Some(0));
    check(Some("example.com"), &[ECDSA], Some(2));
    check(Some("b.example.com"), &[ECDSA], Some(2));
    check(Some("b.a.example.com"), &[ECDSA], Some(1));
    check(Some("a.example.com"), &[RSA, ECDSA], Some(3));
    check(Some("a.example.com"), &[ECDSA], None);
    check(Some("ed.example"), &[SignatureScheme::ED25519], Some(4));
    check(Some("unknown.example"), &[RSA, ECDSA], Some(1));
    check(None, &[RSA], Some(0));
    check(None, &[], None);

    let same = |a, b| table.same_certificate(a, b);
    assert!(same("example.com", "b.example.com") && same("x.example", "x.example"));
    assert!(!same("example.com", "a.example.com") && !same("x.example", "y.example"));
}
