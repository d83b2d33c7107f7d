//! From certificate and key files to a table by server name.
//!
//! Owns: reading PEM files, judging them (every problem of every file at once, naming the file,
//! what is wrong and what to do), and choosing a certificate for a name and a client.
//!
//! Must never: print key material, follow half a configuration (one bad file refuses the whole
//! new table), or write files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use smallvec::SmallVec;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::development_ca::DevelopmentCa;
use super::names::{NameTable, host_name};

/// Largest certificate or key file in bytes.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most certificates in one chain.
pub const CERTIFICATE_CHAIN_MAX: usize = 16;

/// One certificate of the configuration: a chain and its key, each a PEM file. Both may be the
/// same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's certificate first, then the intermediate ones.
    pub certificate_file: PathBuf,
    /// An unencrypted RSA, ECDSA or Ed25519 key (PKCS #8, PKCS #1 or SEC 1).
    pub private_key_file: PathBuf,
}

/// What a [`CertificateTable`] is built from.
#[derive(Debug, Clone, Default)]
pub struct CertificateSource {
    /// Certificates by file; the first one is also the answer to clients that ask for a name that
    /// no certificate has, or for none.
    pub files: Vec<CertificateFiles>,
    /// Certificates made on demand for names without a file.
    pub development: Option<DevelopmentNames>,
}

/// Which names the development CA may issue certificates for.
#[derive(Debug, Clone)]
pub struct DevelopmentNames {
    /// The issuing authority.
    pub ca: Arc<DevelopmentCa>,
    /// Host names and `*.` patterns of the configured zones. `localhost` is always included.
    pub names: Vec<String>,
}

/// One thing that is wrong with a certificate file. The fault is the operator's.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// Neither files nor a development CA.
    #[error("no certificate is configured: name certificate and key files, or use the development CA")]
    NoCertificate,
    /// A file is missing or cannot be read.
    #[error("{file}: cannot be read: {error}; check the path and that the user running archipel may read it")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file exceeds [`CERTIFICATE_FILE_BYTES_MAX`].
    #[error("{file}: larger than {CERTIFICATE_FILE_BYTES_MAX} bytes; this is no certificate or key file")]
    FileTooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The PEM armour is broken.
    #[error("{file}: not valid PEM: {problem}; write the file again from its source")]
    Pem {
        /// The file.
        file: PathBuf,
        /// What the PEM reader said.
        problem: String,
    },
    /// No `BEGIN CERTIFICATE` in the file.
    #[error(
        "{file}: holds no certificate; expected PEM with '-----BEGIN CERTIFICATE-----' (DER files: openssl x509 -inform der)"
    )]
    NoCertificateInFile {
        /// The file.
        file: PathBuf,
    },
    /// More than [`CERTIFICATE_CHAIN_MAX`] certificates.
    #[error(
        "{file}: more than {CERTIFICATE_CHAIN_MAX} certificates; keep the server's certificate and its intermediates only"
    )]
    ChainTooLong {
        /// The file.
        file: PathBuf,
    },
    /// The first certificate is not X.509.
    #[error("{file}: the first certificate cannot be parsed; write the file again from its source")]
    Certificate {
        /// The file.
        file: PathBuf,
    },
    /// No private key in the key file.
    #[error("{file}: holds no private key; expected PEM with '-----BEGIN PRIVATE KEY-----'")]
    NoKeyInFile {
        /// The file.
        file: PathBuf,
    },
    /// The key needs a passphrase.
    #[error("{file}: the private key is encrypted; decrypt it first: openssl pkey -in KEY -out PLAIN_KEY")]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// The key is of a kind or size that is not supported.
    #[error(
        "{file}: unsupported private key: {problem}; use RSA of 2048 to 8192 bits, ECDSA P-256/P-384/P-521 or Ed25519"
    )]
    Key {
        /// The file.
        file: PathBuf,
        /// What the key loader said.
        problem: String,
    },
    /// The key belongs to another certificate.
    #[error(
        "{key_file}: the private key does not belong to the first certificate in {certificate_file}; name the matching key, and put the server's certificate before the intermediates"
    )]
    KeyMismatch {
        /// The certificate file.
        certificate_file: PathBuf,
        /// The key file.
        key_file: PathBuf,
    },
    /// A name for the development CA that is no host name.
    #[error("'{name}' is not a host name that a certificate can be issued for")]
    DevelopmentName {
        /// The name as configured.
        name: String,
    },
    /// The TLS library refused to start (no randomness, for example).
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

/// All problems of a [`CertificateSource`]; never empty.
#[derive(Debug)]
pub struct TlsConfigErrors(pub Vec<TlsConfigError>);

impl fmt::Display for TlsConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsConfigErrors {}

impl From<TlsConfigError> for TlsConfigErrors {
    fn from(error: TlsConfigError) -> Self {
        Self(vec![error])
    }
}

/// Something about a usable certificate that its operator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateWarning {
    /// Clients refuse it.
    #[error("{file}: the certificate expired {days} days ago; renew it")]
    Expired {
        /// The certificate file.
        file: PathBuf,
        /// Whole days since then.
        days: u64,
    },
    /// It is about to.
    #[error("{file}: the certificate expires in {days} days; renew it")]
    ExpiresSoon {
        /// The certificate file.
        file: PathBuf,
        /// Whole days until then, fewer than [`EXPIRES_SOON_DAYS`].
        days: u64,
    },
    /// Its first day is still to come, or the clock of this machine is wrong.
    #[error("{file}: the certificate is not valid yet; check the clock of this machine")]
    NotYetValid {
        /// The certificate file.
        file: PathBuf,
    },
    /// Only clients without SNI, or for whom it is the default, will get it.
    #[error("{file}: the certificate names no host (no subjectAltName); browsers refuse it")]
    NoNames {
        /// The certificate file.
        file: PathBuf,
    },
    /// The key file's mode lets others than its owner and group read it.
    #[error("{file}: the private key is readable by every user of this machine; chmod o-r it")]
    KeyReadableByAll {
        /// The key file.
        file: PathBuf,
    },
}

/// A certificate with fewer days left than this is warned about.
pub const EXPIRES_SOON_DAYS: u64 = 14;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The certificates of one name, ECDSA and Ed25519 before RSA (their handshakes are cheaper).
type Choices = SmallVec<[Arc<CertifiedKey>; 2]>;

/// Certificates by server name: immutable, replaced as a whole.
#[derive(Debug)]
pub struct CertificateTable {
    names: NameTable<Choices>,
    default: Choices,
    development: Option<(Arc<DevelopmentCa>, NameTable<bool>)>,
}

impl CertificateTable {
    /// Reads and checks everything that `source` names. Blocks on file reads.
    ///
    /// `now` decides about expiry, which is only a warning: serving with an expired certificate
    /// is better than not serving, and the operator decides.
    ///
    /// # Errors
    /// Every problem found, never just the first one.
    pub fn load(
        source: &CertificateSource,
        now: SystemTime,
    ) -> Result<(Self, Vec<CertificateWarning>), TlsConfigErrors> {
        let mut table = Self { names: NameTable::new(), default: Choices::new(), development: None };
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let mut default_names = Vec::new();
        for (index, files) in source.files.iter().enumerate() {
            match load_certificate(files, now, &mut warnings) {
                Ok((key, names)) => {
                    table.insert(&key, &names);
                    if index == 0 {
                        default_names = names;
                        table.default.push(key);
                    } else if names == default_names {
                        // The same names with another kind of key: also for the default.
                        insert_sorted(&mut table.default, &key);
                    }
                }
                Err(problems) => errors.extend(problems),
            }
        }
        if let Some(development) = &source.development {
            let mut allowed = NameTable::new();
            for name in development.names.iter().map(String::as_str).chain(["localhost"]) {
                match allowed.slot(name) {
                    Some(slot) => *slot = true,
                    None => errors.push(TlsConfigError::DevelopmentName { name: name.to_owned() }),
                }
            }
            table.development = Some((development.ca.clone(), allowed));
        } else if source.files.is_empty() {
            errors.push(TlsConfigError::NoCertificate);
        }
        if errors.is_empty() { Ok((table, warnings)) } else { Err(TlsConfigErrors(errors)) }
    }

    fn insert(&mut self, key: &Arc<CertifiedKey>, names: &[String]) {
        for name in names {
            if let Some(choices) = self.names.slot(name) {
                insert_sorted(choices, key);
            }
        }
    }

    /// The certificate for a client: by exact name, wildcard, development CA, then the default,
    /// and among those of one name the first whose key can sign with one of `schemes`.
    ///
    /// `server_name` in lower case. `None` only where no key fits the client.
    #[must_use]
    pub fn find(&self, server_name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if let Some(choices) = server_name.and_then(|name| self.names.get(name)) {
            return choose(choices, schemes);
        }
        if let Some((ca, allowed)) = &self.development {
            let name = server_name.filter(|name| allowed.get(name).is_some());
            if name.is_some() || self.default.is_empty() {
                return ca.leaf(name.unwrap_or("localhost"), SystemTime::now()).ok();
            }
        }
        choose(&self.default, schemes)
    }

    /// Whether a connection made for `server_name` may also carry requests for `host`: whether
    /// the certificate that was shown names both (RFC 9110 section 7.4, RFC 9113 section 9.1.1).
    /// Both in lower case, without port.
    #[must_use]
    pub fn same_certificate(&self, server_name: &str, host: &str) -> bool {
        if server_name == host {
            return true;
        }
        let (Some(a), Some(b)) = (self.names.get(server_name), self.names.get(host)) else {
            return false;
        };
        a.iter().any(|one| b.iter().any(|other| Arc::ptr_eq(one, other)))
    }
}

fn insert_sorted(choices: &mut Choices, key: &Arc<CertifiedKey>) {
    let rsa = |key: &CertifiedKey| key.key.algorithm() == SignatureAlgorithm::RSA;
    // Of two certificates with one name and one kind of key, the first configured one counts.
    let at = if rsa(key) { choices.len() } else { choices.iter().take_while(|k| !rsa(k)).count() };
    choices.insert(at, key.clone());
}

fn choose(choices: &Choices, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
    choices.iter().find(|choice| choice.key.choose_scheme(schemes).is_some()).cloned()
}

type Loaded = (Arc<CertifiedKey>, Vec<String>);

fn load_certificate(
    files: &CertificateFiles,
    now: SystemTime,
    warnings: &mut Vec<CertificateWarning>,
) -> Result<Loaded, Vec<TlsConfigError>> {
    let chain = read_chain(&files.certificate_file);
    let key = read_key(&files.private_key_file, warnings);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let names = inspect(&files.certificate_file, &chain, now, warnings).map_err(|e| vec![e])?;
    match CertifiedKey::from_der(chain, key, super::provider()) {
        Ok(certified) => Ok((Arc::new(certified), names)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(vec![TlsConfigError::KeyMismatch {
            certificate_file: files.certificate_file.clone(),
            key_file: files.private_key_file.clone(),
        }]),
        Err(error) => {
            Err(vec![TlsConfigError::Key { file: files.private_key_file.clone(), problem: error.to_string() }])
        }
    }
}

/// Reads a file of bounded size.
pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>, TlsConfigError> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(CERTIFICATE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| TlsConfigError::Unreadable { file: file.to_owned(), error })?;
    if bytes.len() as u64 > CERTIFICATE_FILE_BYTES_MAX {
        return Err(TlsConfigError::FileTooLarge { file: file.to_owned() });
    }
    Ok(bytes)
}

/// All certificates of a PEM file, at least one.
pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read_file(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| pem_error(file, &error))?;
    if certificates.is_empty() {
        return Err(TlsConfigError::NoCertificateInFile { file: file.to_owned() });
    }
    Ok(certificates)
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let chain = read_certificates(file)?;
    if chain.len() > CERTIFICATE_CHAIN_MAX {
        return Err(TlsConfigError::ChainTooLong { file: file.to_owned() });
    }
    Ok(chain)
}

fn pem_error(file: &Path, error: &pem::Error) -> TlsConfigError {
    TlsConfigError::Pem { file: file.to_owned(), problem: error.to_string() }
}

fn read_key(file: &Path, warnings: &mut Vec<CertificateWarning>) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let bytes = read_file(file)?;
    let contains = |needle: &[u8]| memchr::memmem::find(&bytes, needle).is_some();
    if contains(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(b"Proc-Type: 4,ENCRYPTED") {
        return Err(TlsConfigError::EncryptedKey { file: file.to_owned() });
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsConfigError::NoKeyInFile { file: file.to_owned() },
        error => pem_error(file, &error),
    })?;
    if mode_of(file).is_some_and(|mode| mode & 0o004 != 0) {
        warnings.push(CertificateWarning::KeyReadableByAll { file: file.to_owned() });
    }
    Ok(key)
}

fn mode_of(file: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).ok().map(|metadata| metadata.permissions().mode())
}

/// The names of the first certificate, and warnings about its dates and names.
fn inspect(
    file: &Path,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
    warnings: &mut Vec<CertificateWarning>,
) -> Result<Vec<String>, TlsConfigError> {
    let unparsable = || TlsConfigError::Certificate { file: file.to_owned() };
    let first = chain.first().ok_or_else(unparsable)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first).map_err(|_| unparsable())?;
    let now = unix_seconds(now);
    let not_after = parsed.validity().not_after.timestamp();
    let days = not_after.abs_diff(now) / DAY_SECONDS as u64;
    let file = file.to_owned();
    if now > not_after {
        warnings.push(CertificateWarning::Expired { file: file.clone(), days });
    } else if days < EXPIRES_SOON_DAYS {
        warnings.push(CertificateWarning::ExpiresSoon { file: file.clone(), days });
    }
    if now < parsed.validity().not_before.timestamp() {
        warnings.push(CertificateWarning::NotYetValid { file: file.clone() });
    }
    let (names, any) = subject_names(&parsed);
    if !any {
        warnings.push(CertificateWarning::NoNames { file });
    }
    Ok(names)
}

/// DNS names and wildcards, and whether there is any alternative name at all (an IP address is
/// one, but no client asks for it by SNI).
fn subject_names(certificate: &X509Certificate<'_>) -> (Vec<String>, bool) {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (Vec::new(), false);
    };
    let mut names = Vec::new();
    for name in &extension.value.general_names {
        if let GeneralName::DNSName(name) = name {
            let (star, rest) = name.strip_prefix("*.").map_or(("", *name), |rest| ("*.", rest));
            names.extend(host_name(rest).map(|rest| format!("{star}{rest}")));
        }
    }
    names.sort_unstable();
    names.dedup();
    (names, !extension.value.general_names.is_empty())
}

pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
