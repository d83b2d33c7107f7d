//! When an attack sends how much. Times are microseconds since the run began.

/// How an attack's rate goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// Requests in a second at its height.
    pub rps: f64,
    /// When it begins.
    pub from_us: u64,
    /// When it is over.
    pub until_us: u64,
    /// How it goes in between.
    pub shape: Shape,
}

/// How an attack's rate goes between its beginning and its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// At its height all the time.
    Steady,
    /// So many microseconds on, then so many off, again and again.
    Pulses(u64, u64),
    /// From this time on, before it begins, it rises from nothing to this rate, as if it belonged there.
    Creeps(u64, f64),
}

impl Rate {
    /// Requests in a second at a time.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn at(&self, now_us: u64) -> f64 {
        if now_us >= self.until_us {
            return 0.0;
        }
        match self.shape {
            Shape::Creeps(since, most) if (since..self.from_us).contains(&now_us) => {
                most * (now_us - since) as f64 / (self.from_us - since) as f64
            }
            _ if now_us < self.from_us => 0.0,
            Shape::Pulses(on, off) if (now_us - self.from_us) % (on + off) >= on => 0.0,
            _ => self.rps,
        }
    }

    /// Whether nothing comes any more.
    #[must_use]
    pub fn is_over(&self, now_us: u64) -> bool {
        now_us >= self.until_us
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, Shape};

    #[test]
    fn rates_go_as_they_should() {
        let rate = |shape| Rate { rps: 100.0, from_us: 1_000, until_us: 2_000, shape };
        let at = |shape, now| rate(shape).at(now);
        assert_eq!([999, 1_000, 1_999, 2_000].map(|now| at(Shape::Steady, now)), [0.0, 100.0, 100.0, 0.0]);
        let pulses = Shape::Pulses(100, 200);
        assert_eq!([1_050, 1_150, 1_299, 1_300, 1_400].map(|now| at(pulses, now)), [100.0, 0.0, 0.0, 100.0, 0.0]);
        let creeps = Shape::Creeps(500, 10.0);
        assert_eq!([499, 500, 750, 1_000].map(|now| at(creeps, now)), [0.0, 0.0, 5.0, 100.0]);
        assert!(rate(Shape::Steady).is_over(2_000) && !rate(Shape::Steady).is_over(1_999));
    }
}
