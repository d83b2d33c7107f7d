//! Which certificates a configuration wants: those of the node, those of the zones, and the development CA for the rest.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use archipel_config::{HostPattern, Snapshot, TlsVersion as ConfiguredVersion};
use archipel_transport::tls::certificates::{CertificateFiles, CertificateSource, DevelopmentNames};
use archipel_transport::tls::development_ca::{DevelopmentCa, DevelopmentCaError};
use archipel_transport::tls::names::host_name;
use archipel_transport::tls::server::{TlsServerSettings, TlsVersion};

/// The certificate files that a configuration names, the node's first: its first one serves visitors without a name.
pub fn files(snapshot: &Snapshot) -> CertificateSource {
    let node = snapshot.node.certificates.iter().map(|files| (&files.certificate, &files.key));
    let zones = snapshot.zones.iter().filter_map(|zone| zone.tls.certificate.as_ref().zip(zone.tls.key.as_ref()));
    let files = node
        .chain(zones)
        .map(|(certificate, key)| CertificateFiles {
            certificate_file: certificate.clone(),
            private_key_file: key.clone(),
        })
        .collect();
    CertificateSource { files, development: None }
}

/// The development CA of a node, opened (and made) when it is first wanted.
#[derive(Default)]
pub struct DevelopmentCas(Option<Arc<DevelopmentCa>>);

impl DevelopmentCas {
    /// Everything that a configuration wants. The CA lives in `state_dir`.
    pub fn source(&mut self, snapshot: &Snapshot, state_dir: &Path) -> Result<CertificateSource, DevelopmentCaError> {
        let mut source = files(snapshot);
        if !snapshot.node.tls.development_ca {
            return Ok(source);
        }
        let ca = match &self.0 {
            Some(ca) => ca.clone(),
            None => self.0.insert(Arc::new(DevelopmentCa::open(state_dir, SystemTime::now())?)).clone(),
        };
        let hosts = snapshot.zones.iter().flat_map(|zone| &zone.hosts);
        let names = hosts.filter_map(|host| match host {
            // The CA issues for names only: nobody can ask for an address or for "any name" by SNI.
            HostPattern::Any => None,
            HostPattern::Exact(name) => host_name(name),
            HostPattern::Wildcard(suffix) => host_name(suffix).map(|suffix| format!("*.{suffix}")),
        });
        source.development = Some(DevelopmentNames { ca, names: names.collect() });
        Ok(source)
    }

    /// The CA, where it is in use.
    pub fn ca(&self) -> Option<&Arc<DevelopmentCa>> {
        self.0.as_ref()
    }
}

/// The settings of the TLS listeners.
pub fn settings(snapshot: &Snapshot) -> TlsServerSettings {
    let version_min = match snapshot.node.tls.min_version {
        ConfiguredVersion::V12 => TlsVersion::Tls12,
        ConfiguredVersion::V13 => TlsVersion::Tls13,
    };
    TlsServerSettings { version_min, ..TlsServerSettings::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_development_ca() {
        let zone = |hosts: &str| format!("hosts = [{hosts}]\n[origin]\nurl = \"http://o\"\n");
        let documents = [
            ("zones/a.toml", zone("\"a.example\", \"*.b.example\", \"127.0.0.1\", \"[::1]\"")),
            ("zones/rest.toml", zone("\"*\"")),
        ];
        let (snapshot, _) = Snapshot::from_documents(&documents).expect("good documents");
        let folder = std::env::temp_dir().join(format!("archipel-names-{}", std::process::id()));
        let mut cas = DevelopmentCas::default();
        let source = cas.source(&snapshot, &folder).expect("a CA");
        let names = source.development.expect("in use").names;
        assert_eq!(names, ["a.example", "*.b.example"]);
        assert!(cas.ca().is_some_and(|ca| ca.certificate_path().starts_with(&folder)));
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
