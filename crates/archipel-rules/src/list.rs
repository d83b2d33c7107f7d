//! Named lists: what stands behind `in $name`. A list keeps its kind for life; its items can be replaced while filters that
//! use it run, as a whole and at once.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::sets::{AddressSet, IntSet};
use crate::value::{Type, Value};

/// What a list holds.
#[derive(Clone, Debug)]
pub enum ListItems {
    /// Addresses and networks.
    Addresses(AddressSet),
    /// Numbers, such as those of autonomous systems.
    Ints(IntSet),
    /// Host names, compared without regard to case; `*.example.com` stands for every name below `example.com`.
    Hosts(HostSet),
    /// Texts, compared byte by byte.
    Texts(HashSet<Box<[u8]>>),
}

/// A set of host names and of whole subtrees of them.
#[derive(Clone, Debug, Default)]
pub struct HostSet {
    names: HashSet<Box<[u8]>>,
    below: HashSet<Box<[u8]>>,
}

/// The kind of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Addresses and networks.
    Addresses,
    /// Numbers.
    Ints,
    /// Host names.
    Hosts,
    /// Texts.
    Texts,
}

impl ListKind {
    /// The type of the values that can be looked for in it.
    #[must_use]
    pub fn of_values(self) -> Type {
        match self {
            Self::Addresses => Type::Ip,
            Self::Ints => Type::Int,
            Self::Hosts | Self::Texts => Type::Bytes,
        }
    }
}

impl ListItems {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ListKind {
        match self {
            Self::Addresses(_) => ListKind::Addresses,
            Self::Ints(_) => ListKind::Ints,
            Self::Hosts(_) => ListKind::Hosts,
            Self::Texts(_) => ListKind::Texts,
        }
    }

    fn contains(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Addresses(set), Value::Ip(address)) => set.contains(*address),
            (Self::Ints(set), Value::Int(number)) => set.contains(*number),
            (Self::Hosts(set), Value::Bytes(name)) => set.contains(name),
            (Self::Texts(set), Value::Bytes(text)) => set.contains(&**text),
            _ => false,
        }
    }
}

impl HostSet {
    /// The names, of which some may begin with `*.`.
    pub fn new<T: AsRef<[u8]>>(names: impl IntoIterator<Item = T>) -> Self {
        let mut set = Self::default();
        for name in names {
            let name = name.as_ref().to_ascii_lowercase();
            match name.strip_prefix(b"*.") {
                Some(below) => set.below.insert(below.into()),
                None => set.names.insert(name.into()),
            };
        }
        set
    }

    /// Whether `name` is in it. A trailing dot counts as not there.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase();
        if self.names.contains(&*name) {
            return true;
        }
        let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        !self.below.is_empty() && dots.into_iter().any(|(at, _)| at > 0 && self.below.contains(&name[at + 1..]))
    }
}

/// A list whose items can be replaced.
#[derive(Debug)]
pub struct List {
    kind: ListKind,
    items: ArcSwap<ListItems>,
}

/// A list was given items of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list holds {expected:?}, not {given:?}")]
pub struct WrongKind {
    /// What the list holds.
    pub expected: ListKind,
    /// What it was given.
    pub given: ListKind,
}

impl List {
    /// A list with these items, which also decide its kind.
    #[must_use]
    pub fn new(items: ListItems) -> Self {
        Self { kind: items.kind(), items: ArcSwap::from_pointee(items) }
    }

    /// Its addresses, where it is a list of addresses.
    #[must_use]
    pub fn addresses(&self) -> Option<AddressSet> {
        match &**self.items.load() {
            ListItems::Addresses(set) => Some(set.clone()),
            _ => None,
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Replaces all items at once. An evaluation that has begun sees the old items or the new, never a mixture.
    ///
    /// # Errors
    /// Items of another kind: filters were checked against the list's kind.
    pub fn replace(&self, items: ListItems) -> Result<(), WrongKind> {
        if items.kind() != self.kind {
            return Err(WrongKind { expected: self.kind, given: items.kind() });
        }
        self.items.store(Arc::new(items));
        Ok(())
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains_address(&self, address: IpAddr) -> bool {
        self.contains(&Value::Ip(address))
    }

    pub(crate) fn contains(&self, value: &Value<'_>) -> bool {
        self.items.load().contains(value)
    }
}

/// The lists that an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    lists: HashMap<Box<str>, Arc<List>>,
}

impl Lists {
    /// No lists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a list under a name without the `$`; one of the same name is replaced for filters that are compiled later.
    pub fn insert(&mut self, name: &str, list: Arc<List>) {
        self.lists.insert(name.into(), list);
    }

    /// The list of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<List>> {
        self.lists.get(name)
    }

    /// The names of all lists, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(|name| &**name)
    }
}
