//! What a detector knows as bytes, so that a node that starts again knows it. Little-endian, without a checksum of its own: whoever
//! keeps the bytes has one for all of them.

use super::baseline::{Baseline, KEPT_MAX};
use super::feature::{FEATURES, Feature, Features};
use super::rule::{Action, Attribute, Decision, Rule, Stage};
use super::sample::Sample;
use super::trigger::Alarm;
use super::{Detector, Settings};

/// The form of the bytes; another one is not understood.
const VERSION: u16 = 1;

/// Longest text that is taken for one.
const TEXT_BYTES_MAX: usize = 4_096;

impl Detector {
    /// Appends what is usual, a part of the calm requests, and the rules. What is under way, such as a suspicion, is not kept.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.next_rule.to_le_bytes());
        let baseline = self.frozen.as_ref().unwrap_or(&self.baseline);
        baseline.encode_rates(out);
        let samples = baseline.samples();
        let kept = samples.len().min(KEPT_MAX);
        put_len(out, kept);
        for at in 0..kept {
            // Spread over all of them: the first ones may be the oldest.
            let sample = &samples[at * samples.len() / kept];
            Feature::ALL.iter().for_each(|f| out.extend_from_slice(&sample.features.get(*f).to_le_bytes()));
            out.extend_from_slice(&sample.address.to_le_bytes());
        }
        put_len(out, self.rules.rules.len());
        self.rules.rules.iter().for_each(|rule| encode_rule(rule, out));
    }

    /// A detector that knows what [`Detector::encode`] wrote. Nothing where the bytes are not that, all of it and nothing more.
    #[must_use]
    pub fn decode(settings: Settings, seed: u64, bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        if bytes.u16()? != VERSION {
            return None;
        }
        let mut detector = Self::new(settings, seed);
        detector.next_rule = bytes.u64()?;
        let mut baseline = Baseline::decode_rates(&mut bytes)?;
        let samples = bytes.len(KEPT_MAX)?;
        for _ in 0..samples {
            let mut features = Features::default();
            for feature in &Feature::ALL[..FEATURES] {
                match bytes.u32()? {
                    0 => {}
                    value => features.set(*feature, value),
                }
            }
            baseline.keep(Sample { features, address: bytes.u64()? });
        }
        detector.baseline = baseline;
        let rules = bytes.len(2 * settings.rules_max)?;
        for _ in 0..rules {
            let rule = decode_rule(&mut bytes, &settings)?;
            (rule.id < detector.next_rule).then_some(())?;
            detector.rules.rules.push(rule);
        }
        bytes.0.is_empty().then_some(detector)
    }
}

fn encode_rule(rule: &Rule, out: &mut Vec<u8>) {
    out.extend_from_slice(&rule.id.to_le_bytes());
    put_len(out, rule.attributes.len());
    for attribute in &rule.attributes {
        out.push(attribute.feature as u8);
        out.extend_from_slice(&attribute.value.to_le_bytes());
    }
    put_len(out, rule.words.len());
    rule.words.iter().for_each(|word| put_text(out, word));
    put_text(out, &rule.example);
    out.push(u8::from(rule.action == Action::Challenge));
    out.push(u8::from(rule.stage == Stage::Probation));
    out.push(rule.alarm as u8);
    out.push(match rule.decision {
        None => 0,
        Some(Decision::Pin) => 1,
        Some(Decision::Veto) => 2,
    });
    for number in [rule.born_ms, rule.matched_ms, rule.matched] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [rule.precision, rule.baseline_share, rule.usual_rps, rule.excess_rps] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn decode_rule(bytes: &mut Bytes<'_>, settings: &Settings) -> Option<Rule> {
    let id = bytes.u64()?;
    let mut attributes = Vec::new();
    for _ in 0..bytes.len(settings.attributes_max)? {
        let feature = *Feature::ALL.get(usize::from(bytes.u8()?))?;
        attributes.push(Attribute { feature, value: bytes.u32()? });
    }
    // A rule of no attribute would match everything.
    (!attributes.is_empty()).then_some(())?;
    let words = bytes.len(settings.attributes_max)?;
    let words = (0..words).map(|_| bytes.text()).collect::<Option<Vec<_>>>()?;
    Some(Rule {
        id,
        attributes,
        words,
        example: bytes.text()?,
        action: if bytes.u8()? == 0 { Action::Block } else { Action::Challenge },
        stage: if bytes.u8()? == 0 { Stage::Active } else { Stage::Probation },
        alarm: *Alarm::ALL.get(usize::from(bytes.u8()?))?,
        decision: [None, Some(Decision::Pin), Some(Decision::Veto)].get(usize::from(bytes.u8()?)).copied()?,
        born_ms: bytes.u64()?,
        matched_ms: bytes.u64()?,
        matched: bytes.u64()?,
        precision: bytes.f64()?,
        baseline_share: bytes.f64()?,
        usual_rps: bytes.f64()?,
        excess_rps: bytes.f64()?,
    })
}

pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    // Every list here is bounded far below.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// What is left to be read.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that is one.
    fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes).filter(|number| number.is_finite())
    }

    /// The length of a list of at most `max`.
    pub(super) fn len(&mut self, max: usize) -> Option<usize> {
        usize::try_from(self.u32()?).ok().filter(|len| *len <= max)
    }

    fn text(&mut self) -> Option<Box<str>> {
        let len = self.len(TEXT_BYTES_MAX)?;
        std::str::from_utf8(self.take(len)?).ok().map(Box::from)
    }
}
