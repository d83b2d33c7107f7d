//! The table: what is in it, and how that changes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;

use super::netlink::{Ask, Attributes, Batch, FLAG_APPEND, FLAG_CREATE, attribute, question};
use super::socket::{KernelError, Socket};
use super::words::*;

/// Longest name of a table in bytes.
pub const TABLE_NAME_BYTES_MAX: usize = 64;

/// Elements of one message: its list is an attribute, which has at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 1_000;
/// Elements that are added in one transaction, so that the kernel never works long for one.
const ELEMENTS_PER_BATCH: usize = 8_000;

/// Ranges of addresses, both ends included, sorted, that neither overlap nor touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranges<'a> {
    /// IPv4.
    pub v4: &'a [(u32, u32)],
    /// IPv6.
    pub v6: &'a [(u128, u128)],
}

/// The operator's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists<'a> {
    /// Who is never dropped.
    pub exempt: Ranges<'a>,
    /// Who is always dropped.
    pub blocked: Ranges<'a>,
}

/// What the kernel has dropped since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Packets of addresses on the operator's lists.
    pub blocked: u64,
    /// Packets of repeat offenders.
    pub offenders: u64,
}

/// The node's own table. Dropping it removes the table; where the kernel knows no owners (before Linux 5.12), [`KernelTable::remove`] does.
pub struct KernelTable {
    socket: Socket,
    name: String,
    owned: bool,
}

impl KernelTable {
    /// Makes the table anew, with empty sets, for these listeners: a wildcard address stands for every address of the machine.
    ///
    /// What an earlier process left under the name is removed, unless a process that lives owns it.
    ///
    /// # Errors
    /// [`KernelError`], worded for the operator.
    pub fn open(name: &str, listeners: &[SocketAddr]) -> Result<Self, KernelError> {
        Self::open_as(name, listeners, true)
    }

    /// The same, as on a kernel that knows owners or as on one that does not.
    pub(super) fn open_as(name: &str, listeners: &[SocketAddr], owned: bool) -> Result<Self, KernelError> {
        let mut socket = Socket::open()?;
        let existing = socket.ask(
            |sequence| question(Ask::GetTable, sequence, |a| a.text(TABLE_NAME, name)),
            |attributes| Some(attribute(attributes, TABLE_OWNED_BY).and_then(be_u32).unwrap_or(0)),
        )?;
        if let Some(owner) = existing.filter(|owner| *owner != 0) {
            return Err(KernelError::Owned { owner });
        }
        let mut table = Self { socket, name: name.to_owned(), owned };
        if existing.is_some() {
            table.delete()?;
        }
        match table.make(listeners) {
            // The flag is younger than nf_tables.
            Err(Errno::INVAL | Errno::OPNOTSUPP) if table.owned => {
                table.owned = false;
                table.make(listeners)?;
            }
            made => made?,
        }
        Ok(table)
    }

    /// Whether the kernel removes the table when the process ends, however it does.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.owned
    }

    /// Adds addresses, each for a time; of an IPv6 address its /64. An address that is there already keeps its time.
    ///
    /// # Errors
    /// Those before the one that failed may be in.
    pub fn add_offenders(&mut self, addresses: &[(IpAddr, Duration)]) -> Result<(), KernelError> {
        for chunk in addresses.chunks(ELEMENTS_PER_BATCH) {
            let mut batch = self.socket.batch();
            for family in Family::ALL {
                let of_family: Vec<_> = chunk.iter().filter(|(address, _)| Family::of(*address) == family).collect();
                for part in of_family.chunks(ELEMENTS_PER_MESSAGE) {
                    self.elements(&mut batch, &family.set(OFFENDERS), |list| {
                        for (address, timeout) in part {
                            element(list, &octets(*address), 0, Some(*timeout));
                        }
                    });
                }
            }
            self.socket.commit(batch)?;
        }
        Ok(())
    }

    /// Takes addresses out again.
    ///
    /// # Errors
    /// Nothing is taken out then. It is no error that one is not in.
    pub fn remove_offenders(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        for address in addresses {
            let mut batch = self.socket.batch();
            let set = Family::of(*address).set(OFFENDERS);
            self.elements_by(&mut batch, Ask::DeleteElements, 0, &set, |list| {
                element(list, &octets(*address), 0, None)
            });
            match self.socket.commit(batch) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Puts the operator's lists in force in place of those before, at once.
    ///
    /// # Errors
    /// Those before stay in force.
    pub fn set_lists(&mut self, lists: &Lists<'_>) -> Result<(), KernelError> {
        let mut batch = self.socket.batch();
        for (name, ranges) in [(EXEMPT, &lists.exempt), (BLOCKED, &lists.blocked)] {
            let v4 = ranges
                .v4
                .iter()
                .map(|(first, last)| interval(first.to_be_bytes(), last.checked_add(1).map(u32::to_be_bytes)));
            let v6 = ranges
                .v6
                .iter()
                .map(|(first, last)| interval(first.to_be_bytes(), last.checked_add(1).map(u128::to_be_bytes)));
            self.replace(&mut batch, &Family::V4.set(name), v4);
            self.replace(&mut batch, &Family::V6.set(name), v6);
        }
        Ok(self.socket.commit(batch)?)
    }

    /// What was dropped so far.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dropped(&mut self) -> Result<Dropped, KernelError> {
        let mut packets = |counter: &str| {
            let name = &self.name;
            let asked = self.socket.ask(
                |sequence| {
                    question(Ask::GetObject, sequence, |a| {
                        a.text(OBJECT_TABLE, name);
                        a.text(OBJECT_NAME, counter);
                        a.u32(OBJECT_TYPE, OBJECT_COUNTER);
                    })
                },
                |attributes| attribute(attribute(attributes, OBJECT_DATA)?, COUNTER_PACKETS).and_then(be_u64),
            );
            // Without it somebody else has removed the table.
            asked.and_then(|found| found.ok_or(Errno::NOENT))
        };
        Ok(Dropped { blocked: packets(BLOCKED)?, offenders: packets(OFFENDERS)? })
    }

    /// Removes the table.
    ///
    /// # Errors
    /// The kernel's; the table is removed all the same where it [has an owner](Self::is_owned).
    pub fn remove(mut self) -> Result<(), KernelError> {
        self.delete()
    }

    fn delete(&mut self) -> Result<(), KernelError> {
        let mut batch = self.socket.batch();
        batch.ask(Ask::DeleteTable, 0, |a| a.text(TABLE_NAME, &self.name));
        Ok(self.socket.commit(batch)?)
    }

    fn make(&mut self, listeners: &[SocketAddr]) -> Result<(), Errno> {
        let mut batch = self.socket.batch();
        let flags = if self.owned { TABLE_OWNER } else { 0 };
        batch.ask(Ask::NewTable, FLAG_CREATE, |a| {
            a.text(TABLE_NAME, &self.name);
            a.u32(TABLE_FLAGS, flags);
        });
        for (id, (name, flags)) in
            [(EXEMPT, SET_INTERVAL), (BLOCKED, SET_INTERVAL), (OFFENDERS, SET_TIMEOUT)].iter().enumerate()
        {
            for family in Family::ALL {
                let id = id as u32 * 2 + u32::from(family == Family::V6) + 1;
                self.new_set(&mut batch, family, name, *flags, id);
            }
        }
        for counter in [BLOCKED, OFFENDERS] {
            batch.ask(Ask::NewObject, FLAG_CREATE, |a| {
                a.text(OBJECT_TABLE, &self.name);
                a.text(OBJECT_NAME, counter);
                a.u32(OBJECT_TYPE, OBJECT_COUNTER);
                a.nest(OBJECT_DATA, |_| {});
            });
        }
        for chain in [INPUT_CHAIN, JUDGE_CHAIN] {
            batch.ask(Ask::NewChain, FLAG_CREATE, |a| {
                a.text(CHAIN_TABLE, &self.name);
                a.text(CHAIN_NAME, chain);
                if chain == INPUT_CHAIN {
                    a.nest(CHAIN_HOOK, |a| {
                        a.u32(HOOK_NUMBER, HOOK_LOCAL_IN);
                        a.u32(HOOK_PRIORITY, PRIORITY_RAW.cast_unsigned());
                    });
                    a.u32(CHAIN_POLICY, POLICY_ACCEPT);
                    a.text(CHAIN_TYPE, "filter");
                }
            });
        }
        for family in Family::ALL {
            self.rule(&mut batch, JUDGE_CHAIN, |a| {
                source_in(a, family, EXEMPT);
                verdict(a, VERDICT_RETURN, None);
            });
            for of in [BLOCKED, OFFENDERS] {
                self.rule(&mut batch, JUDGE_CHAIN, |a| {
                    source_in(a, family, of);
                    count(a, of);
                    verdict(a, VERDICT_DROP, None);
                });
            }
        }
        for listener in listeners {
            self.rule(&mut batch, INPUT_CHAIN, |a| {
                sent_to(a, *listener);
                verdict(a, VERDICT_JUMP, Some(JUDGE_CHAIN));
            });
        }
        self.socket.commit(batch)
    }

    fn new_set(&self, batch: &mut Batch, family: Family, name: &str, flags: u32, id: u32) {
        batch.ask(Ask::NewSet, FLAG_CREATE, |a| {
            a.text(SET_TABLE, &self.name);
            a.text(SET_NAME, &family.set(name));
            a.u32(SET_FLAGS, flags);
            a.u32(SET_KEY_TYPE, family.key_type());
            a.u32(SET_KEY_LEN, family.address_bytes());
            a.u32(SET_ID, id);
        });
    }

    fn rule(&self, batch: &mut Batch, chain: &str, expressions: impl FnOnce(&mut Attributes<'_>)) {
        batch.ask(Ask::NewRule, FLAG_CREATE | FLAG_APPEND, |a| {
            a.text(RULE_TABLE, &self.name);
            a.text(RULE_CHAIN, chain);
            a.nest(RULE_EXPRESSIONS, expressions);
        });
    }

    fn elements(&self, batch: &mut Batch, set: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.elements_by(batch, Ask::NewElements, FLAG_CREATE, set, fill);
    }

    fn elements_by(&self, batch: &mut Batch, ask: Ask, flags: u16, set: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        batch.ask(ask, flags, |a| {
            a.text(ELEMENTS_TABLE, &self.name);
            a.text(ELEMENTS_SET, set);
            a.nest(ELEMENTS_LIST, fill);
        });
    }

    /// Empties a set of ranges and fills it.
    fn replace<const N: usize>(&self, batch: &mut Batch, set: &str, ranges: impl Iterator<Item = Interval<N>>) {
        batch.ask(Ask::DeleteElements, 0, |a| {
            a.text(ELEMENTS_TABLE, &self.name);
            a.text(ELEMENTS_SET, set);
        });
        let ranges: Vec<_> = ranges.collect();
        // Two elements a range: its first address, and the one behind its last.
        for part in ranges.chunks(ELEMENTS_PER_MESSAGE / 2) {
            self.elements(batch, set, |list| {
                for range in part {
                    element(list, &range.first, 0, None);
                    if let Some(end) = &range.end {
                        element(list, end, ELEMENT_INTERVAL_END, None);
                    }
                }
            });
        }
    }
}

struct Interval<const N: usize> {
    first: [u8; N],
    /// The address behind the last one; `None` where there is none.
    end: Option<[u8; N]>,
}

fn interval<const N: usize>(first: [u8; N], end: Option<[u8; N]>) -> Interval<N> {
    Interval { first, end }
}
