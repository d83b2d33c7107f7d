//! What is noticed of a request: a fixed list of features, each a number that stands for its value.

/// Which side of a request a feature tells of. A crowd of people asks for one thing with many kinds of clients; an attack has few
/// kinds of clients. So a rule needs an attribute of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Who asks, and with what.
    Client,
    /// What is asked for.
    Resource,
    /// What came of it. Nothing that a rule could look at: it judges before.
    Outcome,
}

macro_rules! features {
    ($($(#[doc = $doc:literal])+ $name:ident $part:ident $word:literal;)+) => {
        /// A feature of requests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Feature { $($(#[doc = $doc])+ $name,)+ }

        impl Feature {
            /// All, in order.
            pub const ALL: &'static [Feature] = &[$(Feature::$name,)+];

            /// What it tells of.
            #[must_use]
            pub fn part(self) -> Part {
                match self { $(Feature::$name => Part::$part,)+ }
            }

            /// What people call it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Feature::$name => $word,)+ }
            }
        }
    };
}

features! {
    /// JA4 fingerprint of the TLS client.
    Ja4 Client "TLS fingerprint (JA4)";
    /// Its middle part, the ciphers, which resumption does not change.
    Ja4Ciphers Client "TLS ciphers (JA4_b)";
    /// HTTP version, and the settings of an HTTP/2 connection.
    Protocol Client "protocol and its settings";
    /// The order of the header fields.
    HeaderOrder Client "order of header fields";
    /// The user agent.
    UserAgent Client "user agent";
    /// The network (/24, /48) of the address.
    Network Client "network";
    /// The autonomous system of the address.
    Asn Client "autonomous system";
    /// The country of the address.
    Country Client "country";
    /// Whether there are cookies and `Accept-Language`, and a clearance.
    Manners Client "cookies and languages";
    /// The path, with what varies in it taken out.
    PathTemplate Resource "path";
    /// The names of the query's parameters.
    QueryShape Resource "query parameters";
    /// The method.
    Method Resource "method";
    /// What the cache did.
    CacheStatus Outcome "cache status";
    /// The class of the reply's status.
    StatusClass Outcome "status class";
}

/// How many features there are.
pub const FEATURES: usize = 14;

const _: () = assert!(Feature::ALL.len() == FEATURES);

/// The features of one request. A value is any number but 0, which stands for an absent one; equal values are equal numbers, and
/// different ones are different but for chance: they are hashes under a seed that clients do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features([u32; FEATURES]);

impl Features {
    /// Sets a feature; a value of 0 becomes 1, so that it is there.
    pub fn set(&mut self, feature: Feature, value: u32) {
        self.0[feature as usize] = value.max(1);
    }

    /// A feature's value, 0 where it is absent.
    #[must_use]
    pub fn get(&self, feature: Feature) -> u32 {
        self.0[feature as usize]
    }

    /// With a feature set.
    #[must_use]
    pub fn with(mut self, feature: Feature, value: u32) -> Self {
        self.set(feature, value);
        self
    }
}
