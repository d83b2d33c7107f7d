//! nf_tables' words (`linux/netfilter/nf_tables.h`): the numbers of its attributes, and the expressions that rules are made of.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::netlink::Attributes;

pub(super) const INPUT_CHAIN: &str = "input";
pub(super) const JUDGE_CHAIN: &str = "judge";
pub(super) const EXEMPT: &str = "exempt";
pub(super) const BLOCKED: &str = "blocked";
pub(super) const OFFENDERS: &str = "offenders";

/// Before connection tracking's own chains would keep anything: `NF_IP_PRI_RAW`.
pub(super) const PRIORITY_RAW: i32 = -300;

pub(super) const VERDICT_DROP: i32 = 0;
pub(super) const VERDICT_JUMP: i32 = -3;
pub(super) const VERDICT_RETURN: i32 = -5;

pub(super) const SET_INTERVAL: u32 = 4;
pub(super) const SET_TIMEOUT: u32 = 0x10;
pub(super) const ELEMENT_INTERVAL_END: u32 = 1;
pub(super) const TABLE_OWNER: u32 = 2;
pub(super) const OBJECT_COUNTER: u32 = 1;

pub(super) const META_NFPROTO: u32 = 15;
pub(super) const META_L4PROTO: u32 = 16;
pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
pub(super) const IPPROTO_TCP: u8 = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::V4 => NFPROTO_IPV4,
            Self::V6 => NFPROTO_IPV6,
        }
    }

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn address_bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// What `nft` shows: the numbers of its types `ipv4_addr` and `ipv6_addr`.
    pub(super) fn key_type(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
        }
    }

    /// Where source and destination stand in the header.
    pub(super) fn offsets(self) -> (u32, u32) {
        match self {
            Self::V4 => (12, 16),
            Self::V6 => (8, 24),
        }
    }

    pub(super) fn set(self, of: &str) -> String {
        match self {
            Self::V4 => format!("{of}4"),
            Self::V6 => format!("{of}6"),
        }
    }
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(super) fn be_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub(super) fn be_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

pub(super) fn element(list: &mut Attributes<'_>, key: &[u8], flags: u32, timeout: Option<Duration>) {
    list.nest(LIST_ELEMENT, |a| {
        a.nest(ELEMENT_KEY, |a| a.bytes(DATA_VALUE, key));
        if flags != 0 {
            a.u32(ELEMENT_FLAGS, flags);
        }
        if let Some(timeout) = timeout {
            a.u64(ELEMENT_TIMEOUT, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
    });
}

pub(super) fn expression(rule: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    rule.nest(LIST_ELEMENT, |a| {
        a.text(EXPRESSION_NAME, name);
        a.nest(EXPRESSION_DATA, fill);
    });
}

pub(super) fn load_meta(rule: &mut Attributes<'_>, key: u32) {
    expression(rule, "meta", |a| {
        a.u32(META_TO, REGISTER);
        a.u32(META_KEY, key);
    });
}

pub(super) fn load_payload(rule: &mut Attributes<'_>, base: u32, offset: u32, len: u32) {
    expression(rule, "payload", |a| {
        a.u32(PAYLOAD_TO, REGISTER);
        a.u32(PAYLOAD_BASE, base);
        a.u32(PAYLOAD_OFFSET, offset);
        a.u32(PAYLOAD_LEN, len);
    });
}

pub(super) fn equals(rule: &mut Attributes<'_>, value: &[u8]) {
    expression(rule, "cmp", |a| {
        a.u32(COMPARE_FROM, REGISTER);
        a.u32(COMPARE_HOW, COMPARE_EQUAL);
        a.nest(COMPARE_DATA, |a| a.bytes(DATA_VALUE, value));
    });
}

/// The packet's source is in a set; of offenders in IPv6 its /64.
pub(super) fn source_in(rule: &mut Attributes<'_>, family: Family, set: &str) {
    load_meta(rule, META_NFPROTO);
    equals(rule, &[family.number()]);
    load_payload(rule, NETWORK_HEADER, family.offsets().0, family.address_bytes());
    if family == Family::V6 && set == OFFENDERS {
        let network = (u128::MAX << 64).to_be_bytes();
        expression(rule, "bitwise", |a| {
            a.u32(BITWISE_FROM, REGISTER);
            a.u32(BITWISE_TO, REGISTER);
            a.u32(BITWISE_LEN, family.address_bytes());
            a.nest(BITWISE_MASK, |a| a.bytes(DATA_VALUE, &network));
            a.nest(BITWISE_XOR, |a| a.bytes(DATA_VALUE, &[0; 16]));
        });
    }
    expression(rule, "lookup", |a| {
        a.text(LOOKUP_SET, &family.set(set));
        a.u32(LOOKUP_FROM, REGISTER);
    });
}

/// The packet goes to a listener, which is of one family: an IPv6 wildcard takes no IPv4.
pub(super) fn sent_to(rule: &mut Attributes<'_>, listener: SocketAddr) {
    let address = listener.ip().to_canonical();
    let family = Family::of(address);
    load_meta(rule, META_NFPROTO);
    equals(rule, &[family.number()]);
    if !address.is_unspecified() {
        load_payload(rule, NETWORK_HEADER, family.offsets().1, family.address_bytes());
        equals(rule, &octets(address));
    }
    load_meta(rule, META_L4PROTO);
    equals(rule, &[IPPROTO_TCP]);
    load_payload(rule, TRANSPORT_HEADER, 2, 2);
    equals(rule, &listener.port().to_be_bytes());
}

pub(super) fn count(rule: &mut Attributes<'_>, counter: &str) {
    expression(rule, "objref", |a| {
        a.u32(REFERENCE_TYPE, OBJECT_COUNTER);
        a.text(REFERENCE_NAME, counter);
    });
}

pub(super) fn verdict(rule: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    expression(rule, "immediate", |a| {
        a.u32(IMMEDIATE_TO, REGISTER_VERDICT);
        a.nest(IMMEDIATE_DATA, |a| {
            a.nest(DATA_VERDICT, |a| {
                a.u32(VERDICT_CODE, code.cast_unsigned());
                if let Some(chain) = chain {
                    a.text(VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

pub(super) const REGISTER: u32 = 1;
pub(super) const REGISTER_VERDICT: u32 = 0;
pub(super) const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;
pub(super) const COMPARE_EQUAL: u32 = 0;
pub(super) const HOOK_LOCAL_IN: u32 = 1;
pub(super) const POLICY_ACCEPT: u32 = 1;

// Numbers of attributes: `enum nft_*_attributes`.
pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const TABLE_OWNED_BY: u16 = 7;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const SET_TABLE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LEN: u16 = 5;
pub(super) const SET_ID: u16 = 10;
pub(super) const ELEMENTS_TABLE: u16 = 1;
pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS_LIST: u16 = 3;
pub(super) const LIST_ELEMENT: u16 = 1;
pub(super) const ELEMENT_KEY: u16 = 1;
pub(super) const ELEMENT_FLAGS: u16 = 3;
pub(super) const ELEMENT_TIMEOUT: u16 = 4;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;
pub(super) const VERDICT_CHAIN: u16 = 2;
pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
pub(super) const IMMEDIATE_TO: u16 = 1;
pub(super) const IMMEDIATE_DATA: u16 = 2;
pub(super) const META_TO: u16 = 1;
pub(super) const META_KEY: u16 = 2;
pub(super) const PAYLOAD_TO: u16 = 1;
pub(super) const PAYLOAD_BASE: u16 = 2;
pub(super) const PAYLOAD_OFFSET: u16 = 3;
pub(super) const PAYLOAD_LEN: u16 = 4;
pub(super) const COMPARE_FROM: u16 = 1;
pub(super) const COMPARE_HOW: u16 = 2;
pub(super) const COMPARE_DATA: u16 = 3;
pub(super) const LOOKUP_SET: u16 = 1;
pub(super) const LOOKUP_FROM: u16 = 2;
pub(super) const BITWISE_FROM: u16 = 1;
pub(super) const BITWISE_TO: u16 = 2;
pub(super) const BITWISE_LEN: u16 = 3;
pub(super) const BITWISE_MASK: u16 = 4;
pub(super) const BITWISE_XOR: u16 = 5;
pub(super) const OBJECT_TABLE: u16 = 1;
pub(super) const OBJECT_NAME: u16 = 2;
pub(super) const OBJECT_TYPE: u16 = 3;
pub(super) const OBJECT_DATA: u16 = 4;
pub(super) const COUNTER_PACKETS: u16 = 2;
pub(super) const REFERENCE_TYPE: u16 = 1;
pub(super) const REFERENCE_NAME: u16 = 2;
