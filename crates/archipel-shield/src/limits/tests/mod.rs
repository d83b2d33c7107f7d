mod buckets;
mod counters;

fn hash_of(n: u64) -> u64 {
    use std::hash::BuildHasher as _;
    foldhash::quality::FixedState::default().hash_one(n)
}
