//! A certificate authority of one machine, for development.
//!
//! Owns: two files under `state_dir/ca/`, made on first use and then kept, and the issuing of
//! short-lived certificates signed by them. Whoever trusts `ca.pem` in a browser sees the local
//! edge without a warning.
//!
//! Must never: replace files that are there (somebody may trust them; a damaged file is an error
//! that says what to do), issue for a name nobody configured (the caller's table decides), or be
//! used for the public.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificates::{TlsConfigError, read_file, unix_seconds};
use super::names::host_name;

/// Most leaf certificates kept in memory; the oldest one gives way.
pub const LEAF_CERTIFICATES_MAX: usize = 1024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 60 * 60);
const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A leaf in memory is made anew when this much of its lifetime has passed.
const LEAF_RENEWAL: Duration = Duration::from_secs(60 * 24 * 60 * 60);

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";

/// Why there is no development CA or no certificate from it. The fault is the operator's or the
/// file system's.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentCaError {
    /// The directory or a file in it cannot be made.
    #[error("{path}: cannot be written: {error}; check that the state directory is writable")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] TlsConfigError),
    /// A file is damaged, or is not what it should be.
    #[error("{path}: {problem}; restore it, or delete the directory {directory} to let a new development CA be made (browsers must then trust the new one)",
        directory = .path.parent().unwrap_or(Path::new("ca")).display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key is readable by others than its owner.
    #[error(
        "{path}: the CA key can be read by other users; chmod 600 it, or delete the directory if they may have taken it"
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
    },
    /// Not a name that a certificate can be issued for.
    #[error("'{name}' is not a host name")]
    Name {
        /// The name.
        name: String,
    },
    /// Making a key or certificate failed.
    #[error("making a certificate failed: {0}")]
    Issue(String),
}

impl From<rcgen::Error> for DevelopmentCaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Issue(error.to_string())
    }
}

/// The development CA, ready to issue.
pub struct DevelopmentCa {
    certificate_path: PathBuf,
    certificate: CertificateDer<'static>,
    /// End of the CA's own validity: no leaf outlives it.
    not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
    /// One key for all leaves of this process: making keys is the expensive part, and whoever has
    /// this process's memory has the CA's key too.
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn SigningKey>,
    leaves: Mutex<Leaves>,
}

impl std::fmt::Debug for DevelopmentCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevelopmentCa").field("certificate_path", &self.certificate_path).finish_non_exhaustive()
    }
}

/// Leaves by name, and the names in the order of issue.
#[derive(Default)]
struct Leaves {
    by_name: HashMap<String, (SystemTime, Arc<CertifiedKey>)>,
    order: VecDeque<String>,
}

impl DevelopmentCa {
    /// The CA of `state_dir`, made now where there is none. Blocks on files.
    ///
    /// The directory `ca` gets mode 0700, the key 0600. Both files appear together or not at all,
    /// also when two processes start at once: then the second one uses the first one's.
    ///
    /// # Errors
    /// Nothing can be written, or the files there are damaged, expired, do not belong together,
    /// or show the key to others.
    pub fn open(state_dir: &Path, now: SystemTime) -> Result<Self, DevelopmentCaError> {
        let directory = state_dir.join("ca");
        if is_absent(&directory) {
            create(state_dir, &directory, now)?;
        }
        Self::load(&directory, now)
    }

    /// The CA's certificate, PEM: what a user adds to a browser's trusted authorities.
    #[must_use]
    pub fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    fn load(directory: &Path, now: SystemTime) -> Result<Self, DevelopmentCaError> {
        let certificate_path = directory.join(CERTIFICATE_FILE);
        let key_path = directory.join(KEY_FILE);
        let damaged = |path: &Path, problem: &str| DevelopmentCaError::Damaged {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let certificate = CertificateDer::from_pem_slice(&read_ca_file(&certificate_path)?)
            .map_err(|_| damaged(&certificate_path, "is not a certificate in PEM"))?;
        let key_pem = read_ca_file(&key_path)?;
        if fs::metadata(&key_path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
            return Err(DevelopmentCaError::Exposed { path: key_path });
        }
        let key = std::str::from_utf8(&key_pem)
            .ok()
            .and_then(|pem| KeyPair::from_pem(pem).ok())
            .ok_or_else(|| damaged(&key_path, "is not a private key in PEM"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| damaged(&certificate_path, "is not an X.509 certificate"))?;
        if !parsed.is_ca() {
            return Err(damaged(&certificate_path, "is not the certificate of an authority"));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(damaged(&key_path, "is not the key of the certificate beside it"));
        }
        let not_after = parsed.validity().not_after.timestamp();
        if not_after <= unix_seconds(now) {
            return Err(damaged(&certificate_path, "has expired"));
        }
        let not_after = Duration::from_secs(u64::try_from(not_after).unwrap_or(0));
        Self::assemble(certificate_path, certificate, SystemTime::UNIX_EPOCH + not_after, key)
    }

    fn assemble(
        certificate_path: PathBuf,
        certificate: CertificateDer<'static>,
        not_after: SystemTime,
        key: KeyPair,
    ) -> Result<Self, DevelopmentCaError> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        let leaf_key = KeyPair::generate()?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let leaf_signer = super::provider()
            .key_provider
            .load_private_key(der)
            .map_err(|error| DevelopmentCaError::Issue(error.to_string()))?;
        Ok(Self { certificate_path, certificate, not_after, issuer, leaf_key, leaf_signer, leaves: Mutex::default() })
    }

    /// A certificate for a host name, from memory or made now (about a tenth of a millisecond).
    /// That for `localhost` also names 127.0.0.1 and ::1, which clients cannot ask for.
    ///
    /// # Errors
    /// Not a host name, or the cryptography library fails.
    pub fn leaf(&self, name: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, DevelopmentCaError> {
        let name = host_name(name).ok_or_else(|| DevelopmentCaError::Name { name: name.to_owned() })?;
        // A panic while holding the lock leaves a usable map: at worst a name twice in the order.
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((renew_at, leaf)) = leaves.by_name.get(&name)
            && now < *renew_at
        {
            return Ok(leaf.clone());
        }
        let leaf = Arc::new(self.issue(&name, now)?);
        let renew_at = now + LEAF_RENEWAL;
        if leaves.by_name.insert(name.clone(), (renew_at, leaf.clone())).is_none() {
            leaves.order.push_back(name);
        }
        if leaves.by_name.len() > LEAF_CERTIFICATES_MAX
            && let Some(oldest) = leaves.order.pop_front()
        {
            leaves.by_name.remove(&oldest);
        }
        Ok(leaf)
    }

    fn issue(&self, name: &str, now: SystemTime) -> Result<CertifiedKey, DevelopmentCaError> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        if name == "localhost" {
            params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
            params.subject_alt_names.push(SanType::IpAddress(Ipv6Addr::LOCALHOST.into()));
        }
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Archipel development");
        params.not_before = (now - DAY).into();
        params.not_after = (now + LEAF_LIFETIME).min(self.not_after).into();
        params.serial_number = Some(random_serial()?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        Ok(CertifiedKey::new(chain, self.leaf_signer.clone()))
    }
}

/// Nothing there, or an empty directory (as an installer or a container volume may leave it).
fn is_absent(directory: &Path) -> bool {
    match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<u8>, DevelopmentCaError> {
    match read_file(path) {
        Err(TlsConfigError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            let problem = "is missing".to_owned();
            Err(DevelopmentCaError::Damaged { path: path.to_owned(), problem })
        }
        other => Ok(other?),
    }
}

/// A serial number that no other certificate of this CA has: browsers refuse a repeated one.
fn random_serial() -> Result<SerialNumber, DevelopmentCaError> {
    let mut bytes = [0; 16];
    super::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| DevelopmentCaError::Issue("no randomness".to_owned()))?;
    // RFC 5280 section 4.1.2.2: positive.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Makes key and certificate in a directory of its own and moves that into place as a whole.
fn create(state_dir: &Path, directory: &Path, now: SystemTime) -> Result<(), DevelopmentCaError> {
    let (certificate, key) = make_ca(now)?;
    let serial = random_serial()?.to_bytes();
    let unique: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    let temporary = state_dir.join(format!(".ca-{unique}"));
    let written = write_files(state_dir, &temporary, &certificate, &key)
        .and_then(|()| match fs::rename(&temporary, directory) {
            // Another process was faster: its CA counts.
            Err(_) if !is_absent(directory) => fs::remove_dir_all(&temporary),
            other => other,
        })
        .and_then(|()| File::open(state_dir)?.sync_all());
    written.map_err(|error| {
        // The error that is reported is the first one.
        let _ = fs::remove_dir_all(&temporary);
        DevelopmentCaError::Write { path: directory.to_owned(), error }
    })
}

fn write_files(state_dir: &Path, directory: &Path, certificate: &str, key: &str) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    DirBuilder::new().mode(0o700).create(directory)?;
    for (name, mode, text) in [(KEY_FILE, 0o600, key), (CERTIFICATE_FILE, 0o644, certificate)] {
        let mut options = OpenOptions::new();
        let path = directory.join(name);
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(directory)?.sync_all()
}

fn make_ca(now: SystemTime) -> Result<(String, String), DevelopmentCaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let serial = random_serial()?;
    // Machines have different CAs; a list of authorities should tell them apart.
    let number: String = serial.to_bytes().iter().take(4).map(|b| format!("{b:02x}")).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Archipel development");
    params.distinguished_name.push(DnType::CommonName, format!("Archipel development CA {number}"));
    params.serial_number = Some(serial);
    params.not_before = (now - DAY).into();
    params.not_after = (now + CA_LIFETIME).into();
    // It signs servers' certificates only, never another authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
#[path = "development_ca_tests.rs"]
mod tests;
