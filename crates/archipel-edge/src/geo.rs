//! Where an address is: databases in the MaxMind DB format that the operator names. They are read whole when a configuration is put in
//! force; a request only looks up.
//!
//! Owns the databases. Must never make a request fail: what is not known is unknown.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use archipel_config::NodeGeo;
use maxminddb::{Reader, geoip2};
use thiserror::Error;

/// Largest database in bytes.
const DATABASE_BYTES_MAX: u64 = 1 << 30;

/// The country of an address that no database knows, in Cloudflare's word.
pub(crate) const UNKNOWN_COUNTRY: &str = "XX";

/// A database that cannot be used.
#[derive(Debug, Error)]
pub enum GeoError {
    /// The file cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The file is larger than allowed.
    #[error("{} has more than {DATABASE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database.
    #[error("{} is no database in the MaxMind DB format: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: maxminddb::MaxMindDbError,
    },
}

/// The databases of a node.
#[derive(Default)]
pub(crate) struct Geo {
    places: Option<Reader<Vec<u8>>>,
    networks: Option<Reader<Vec<u8>>>,
}

/// What is known about an address.
#[derive(Debug, Default)]
pub(crate) struct Place<'a> {
    country: Option<&'a str>,
    pub(crate) continent: Option<&'a str>,
    pub(crate) city: Option<&'a str>,
    pub(crate) postal_code: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) region_code: Option<&'a str>,
    pub(crate) subdivision_2: Option<&'a str>,
    pub(crate) time_zone: Option<&'a str>,
    pub(crate) metro_code: Option<u16>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    pub(crate) in_european_union: bool,
    pub(crate) asn: Option<u32>,
}

impl Place<'_> {
    /// The country's two letters; `XX` where it is not known.
    pub(crate) fn country(&self) -> &str {
        self.country.unwrap_or(UNKNOWN_COUNTRY)
    }
}

impl Geo {
    /// Reads the databases that a node names.
    ///
    /// # Errors
    /// The first [`GeoError`].
    pub(crate) fn open(config: &NodeGeo) -> Result<Self, GeoError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
        Ok(Self { places: read(&config.database)?, networks: read(&config.asn_database)? })
    }

    /// Whether there is a database of countries.
    pub(crate) fn knows_countries(&self) -> bool {
        self.places.is_some()
    }

    /// What is known about an address. An IPv4 address written as IPv6 counts as IPv4.
    pub(crate) fn place(&self, address: IpAddr) -> Place<'_> {
        let address = address.to_canonical();
        let mut place = self.places.as_ref().map(|reader| place_in(reader, address)).unwrap_or_default();
        place.asn = self.networks.as_ref().and_then(|reader| {
            let found: geoip2::Asn<'_> = look_up(reader, address)?;
            found.autonomous_system_number
        });
        place
    }
}

/// Reads the databases that a node names, and forgets them: for a check.
///
/// # Errors
/// The first [`GeoError`].
pub fn check_geo(config: &NodeGeo) -> Result<(), GeoError> {
    Geo::open(config).map(drop)
}

fn read(path: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    use std::io::Read as _;
    let unreadable = |why| GeoError::Unreadable { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut content = Vec::new();
    file.take(DATABASE_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > DATABASE_BYTES_MAX {
        return Err(GeoError::TooLarge { path: path.to_owned() });
    }
    Reader::from_source(content).map_err(|why| GeoError::Malformed { path: path.to_owned(), why })
}

/// A record; nothing where there is none, or where it is broken.
fn look_up<'a, T: serde::Deserialize<'a>>(reader: &'a Reader<Vec<u8>>, address: IpAddr) -> Option<T> {
    reader.lookup(address).ok()?.decode().ok()?
}

fn place_in(reader: &Reader<Vec<u8>>, address: IpAddr) -> Place<'_> {
    let Some(found) = look_up::<geoip2::City<'_>>(reader, address) else { return Place::default() };
    let (country, first, second) = (&found.country, found.subdivisions.first(), found.subdivisions.get(1));
    Place {
        country: country.iso_code,
        in_european_union: country.is_in_european_union.unwrap_or_default(),
        continent: found.continent.code,
        city: found.city.names.english,
        postal_code: found.postal.code,
        region: first.and_then(|part| part.names.english),
        region_code: first.and_then(|part| part.iso_code),
        subdivision_2: second.and_then(|part| part.iso_code),
        time_zone: found.location.time_zone,
        metro_code: found.location.metro_code,
        latitude: found.location.latitude,
        longitude: found.location.longitude,
        asn: None,
    }
}
