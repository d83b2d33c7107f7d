//! A stored form of another stored response: its key, its fields, its bond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use archipel_cache::{Head, KeyRef, KeyText, Store, Stored, UrlParts};
use archipel_http::coding::{self, Coding};
use archipel_http::vary::VaryValues;
use archipel_transport::message::FrozenFields;
use http::header::ETAG;

use super::{Form, Forms};
use crate::cache::{self, Meta};

/// Uses of what was made for the first visitor before it is made again with the background level.
const USES_BEFORE_BACKGROUND: u32 = 2;

/// How one response was made of another.
#[derive(Debug)]
pub(super) struct Derived {
    form: Form,
    /// The content that it was made from.
    content: u64,
    /// The fields that its own were made from.
    head: u64,
    /// It turned out no smaller: an empty body that says so.
    pub(super) useless: bool,
    /// It was made with the background level.
    background: bool,
    uses: AtomicU32,
    queued: AtomicBool,
}

impl Derived {
    /// Counts a use; true once, when it is worth to be made again.
    pub(super) fn is_due(&self) -> bool {
        !self.background
            && self.uses.fetch_add(1, Ordering::Relaxed) + 1 >= USES_BEFORE_BACKGROUND
            && !self.queued.swap(true, Ordering::Relaxed)
    }

    /// There was no place in the queue: it is due again at a later use.
    pub(super) fn not_queued(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }
}

/// Which derived form a head is to be of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) form: Form,
    pub(super) useless: bool,
    pub(super) background: bool,
}

impl Kind {
    pub(super) fn on_demand(form: Form) -> Self {
        Self { form, useless: false, background: false }
    }
}

/// What stands behind the key of the response, as what a zone adds to a key does: no key of a request has a line end in it.
fn mark(form: Form) -> &'static str {
    match form {
        Form::Coded(Coding::Gzip) => " \ngzip",
        Form::Coded(Coding::Brotli) => " \nbr",
        Form::Coded(Coding::Zstd) => " \nzstd",
        Form::Decoded(_) => " \nidentity",
    }
}

/// Other bits in the hash for each form, but for the half that all keys of the URL share: what makes these invalid removes the
/// form, too. The hash only finds; the text proves.
fn hash(of: u128, form: Form) -> u128 {
    let bits: u64 = match form {
        Form::Coded(Coding::Gzip) => 0x9a3c_51f0_7d26_be41,
        Form::Coded(Coding::Brotli) => 0x0f7d_e2a8_4b61_937c,
        Form::Coded(Coding::Zstd) => 0xc5b8_196e_f02d_4a73,
        Form::Decoded(_) => 0x71e6_8cd9_325f_0b1a,
    };
    of ^ u128::from(bits)
}

/// The key of a derived form.
struct DerivedKey<'a> {
    of: &'a str,
    mark: &'static str,
}

impl KeyText for DerivedKey<'_> {
    fn matches_text(&self, text: &str) -> bool {
        text.strip_prefix(self.of) == Some(self.mark)
    }

    fn to_text(&self) -> Box<str> {
        [self.of, self.mark].concat().into()
    }

    fn url(&self) -> UrlParts<'_> {
        self.of.url()
    }
}

/// The head of a form of `source`, whose fields it makes anew.
pub(super) fn head(source: &Head<Meta>, kind: Kind) -> Head<Meta> {
    let mut headers = source.meta.fields.to_map();
    coding::recode(&mut headers, kind.form.coding());
    let fields = Arc::new(FrozenFields::new(&headers));
    let mut facts = source.meta.facts.clone();
    facts.etag = fields.value(&ETAG);
    // Values that are slices of the source's fields would keep these alive.
    facts.last_modified = fields.value(&http::header::LAST_MODIFIED);
    let forms = Forms {
        derived: Some(Derived {
            form: kind.form,
            content: source.meta.forms.content,
            head: source.meta.forms.head,
            useless: kind.useless,
            background: kind.background,
            uses: AtomicU32::new(0),
            queued: AtomicBool::new(false),
        }),
        ..Forms::default()
    };
    let meta_bytes = fields.heap_bytes();
    let key = DerivedKey { of: &source.key, mark: mark(kind.form) };
    let meta = Meta { facts, vary: VaryValues::default(), fields, form: cache::Form::Whole, forms };
    source.derive(hash(source.hash, kind.form), key.to_text(), meta, meta_bytes)
}

/// The stored form of `source`, where there is one made of this very content. Its fields are those of `source` now.
pub(super) fn find(store: &Store<Meta>, source: &Head<Meta>, form: Form) -> Option<Arc<Stored<Meta>>> {
    let key = DerivedKey { of: &source.key, mark: mark(form) };
    let key = KeyRef { hash: hash(source.hash, form), text: &key, zone: source.zone };
    let of = &source.meta.forms;
    let is_of = |stored: &Stored<Meta>| {
        stored.meta.forms.derived.as_ref().is_some_and(|derived| derived.content == of.content && derived.form == form)
    };
    let found = store.lookup(&key, is_of)?.stored;
    let derived = found.meta.forms.derived.as_ref()?;
    if derived.head == of.head {
        return Some(found);
    }
    let kind = Kind { form, useless: derived.useless, background: derived.background };
    // Where it left the store meanwhile, it is served with the new fields all the same.
    let kept = store.replace(&found, head(source, kind));
    Some(kept.unwrap_or_else(|_| Arc::new(Stored::new(head(source, kind), found.body().clone()))))
}
