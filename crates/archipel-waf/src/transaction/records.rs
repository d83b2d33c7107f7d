//! Collections that outlive a transaction (`IP`, `GLOBAL`, `RESOURCE`, `SESSION`, `USER`): in memory, bounded, of one rule set.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::program::Record;

use super::evaluate::Run;

/// Records (addresses, sessions ...) of one rule set. One more takes the place of the one that was written longest ago.
pub(crate) const RECORDS_MAX: usize = 16 << 10;
/// Variables of one record; more are not kept.
const VARIABLES_MAX: usize = 64;
/// Bytes of a record's key, a variable's name or its value; what is longer is not kept.
const TEXT_BYTES_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Stored {
    variables: HashMap<Box<[u8]>, Variable>,
    written_micros: u64,
}

#[derive(Debug)]
struct Variable {
    value: Option<Box<[u8]>>,
    expires_micros: u64,
}

/// All records by collection and key.
type AllStored = HashMap<(Record, Box<[u8]>), Stored>;

/// A name and its value.
type Named = (Box<[u8]>, Box<[u8]>);

/// The collections. One lock: rules that use them are few, and it is held for a look-up.
#[derive(Debug)]
pub(crate) struct Records {
    timeout_micros: u64,
    stored: Mutex<AllStored>,
}

impl Records {
    pub(crate) fn new(timeout_seconds: u64) -> Self {
        Self { timeout_micros: timeout_seconds.saturating_mul(1_000_000), stored: Mutex::default() }
    }

    /// Sets or, with `None`, removes a variable. `name` is in lower case.
    pub(super) fn set(&self, record: Record, key: &[u8], name: &[u8], value: Option<&[u8]>, now: u64) {
        if [key, name, value.unwrap_or_default()].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return;
        }
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (record, Box::from(key));
        let Some(value) = value else {
            if let Some(record) = stored.get_mut(&place) {
                record.variables.remove(name);
            }
            return;
        };
        if stored.len() >= RECORDS_MAX && !stored.contains_key(&place) {
            forget(&mut stored, now, self.timeout_micros);
        }
        let record = stored.entry(place).or_default();
        record.written_micros = now;
        if let Some(variable) = record.variables.get_mut(name) {
            variable.value = Some(value.into());
        } else if record.variables.len() < VARIABLES_MAX {
            record.variables.insert(name.into(), Variable { value: Some(value.into()), expires_micros: u64::MAX });
        }
    }

    /// Makes a variable end `seconds` from now.
    pub(super) fn expire(&self, record: Record, key: &[u8], name: &[u8], seconds: u64, now: u64) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = stored.get_mut(&(record, Box::from(key))) else { return };
        if let Some(variable) = record.variables.get_mut(name) {
            variable.expires_micros = now.saturating_add(seconds.saturating_mul(1_000_000));
        }
    }

    /// The variables of a record that still hold.
    fn get(&self, record: Record, key: &[u8], now: u64) -> Vec<Named> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = stored.get(&(record, Box::from(key))) else { return Vec::new() };
        if now.saturating_sub(record.written_micros) > self.timeout_micros {
            return Vec::new();
        }
        let alive = record.variables.iter().filter(|(_, variable)| variable.expires_micros > now);
        let mut variables: Vec<_> =
            alive.filter_map(|(name, variable)| Some((name.clone(), variable.value.clone()?))).collect();
        variables.sort();
        variables
    }
}

/// Makes room: what has timed out goes, or else the sixteenth that was written longest ago, so that a flood of new keys does
/// not look through all of them each time.
fn forget(stored: &mut AllStored, now: u64, timeout_micros: u64) {
    stored.retain(|_, record| now.saturating_sub(record.written_micros) <= timeout_micros);
    if stored.len() < RECORDS_MAX {
        return;
    }
    let mut times: Vec<u64> = stored.values().map(|record| record.written_micros).collect();
    let at = times.len() / 16;
    let (_, limit, _) = times.select_nth_unstable(at);
    let limit = *limit;
    stored.retain(|_, record| record.written_micros > limit);
}

impl Run<'_> {
    /// Calls `each` with the names and values of a collection that a rule has initialised.
    pub(super) fn each_record(&mut self, record: Record, mut each: impl FnMut(&mut Self, &[u8], &[u8])) {
        let Some(key) = &self.state.record_keys[record as usize] else { return };
        for (name, value) in self.set.records.get(record, key, self.clock.unix_micros()) {
            each(self, &name, &value);
        }
    }
}
