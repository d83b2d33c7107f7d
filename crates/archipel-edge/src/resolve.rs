//! Names of origins to addresses, remembered for a while; the last good answer outlives a resolver that fails.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use archipel_transport::origin::OriginError;

/// How long an answer is used before the system's resolver is asked again (it knows TTLs and caches by them).
const FRESH: Duration = Duration::from_secs(10);
/// How long the resolver may take.
const RESOLVE: Duration = Duration::from_secs(5);
/// Names remembered.
const NAMES_MAX: usize = 4096;
/// Addresses used of one answer.
const ADDRESSES_MAX: usize = 16;

/// Addresses, and when they were learnt.
type Answer = (Vec<SocketAddr>, Instant);

/// A worker's memory of names.
#[derive(Default)]
pub(crate) struct Resolver {
    known: Mutex<HashMap<(Box<str>, u16), Answer>>,
}

impl Resolver {
    /// The addresses of a name.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, OriginError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let key = (Box::from(host), port);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((addresses, at)) = &known
            && at.elapsed() < FRESH
        {
            return Ok(addresses.clone());
        }
        let asked = match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(found)) => Ok(found.take(ADDRESSES_MAX).collect::<Vec<_>>()),
            Ok(Err(error)) => Err(OriginError::Dns(error.to_string())),
            Err(_) => Err(OriginError::DnsTimeout),
        };
        match (asked, known) {
            (Ok(found), _) if !found.is_empty() => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= NAMES_MAX {
                    known.clear();
                }
                known.insert(key, (found.clone(), Instant::now()));
                Ok(found)
            }
            // A resolver that is down is no reason to be down with it.
            (_, Some((addresses, _))) => Ok(addresses),
            (Ok(_), None) => Err(OriginError::Dns("the name has no address".to_owned())),
            (Err(error), None) => Err(error),
        }
    }
}
