//! Where this platform's HTTP front end differs from the one that the tests were written for (Apache), in the form that the
//! Core Rule Set uses for its own list of such differences (`nginx-overrides.yaml`).

use anyhow::{Context as _, Result, ensure};

use super::suite::{self, Test};
use super::yaml::Node;

/// The list; `docs/firewall.md` explains it.
const OVERRIDES: &str = include_str!("../assets/crs-overrides.yaml");

/// Replaces the expectations of the tests on the list; how many they are.
///
/// # Errors
/// The list cannot be read, or gives no reason.
pub fn apply(tests: &mut [Test]) -> Result<usize> {
    apply_list(tests, OVERRIDES).context("crs-overrides.yaml")
}

/// As [`apply`], with a list.
///
/// # Errors
/// Likewise.
pub fn apply_list(tests: &mut [Test], list: &str) -> Result<usize> {
    let mut changed = 0;
    for entry in Node::parse(list)?.get("test_overrides").list()? {
        entry.map(&["rule_id", "test_ids", "reason", "output"])?;
        let rule = entry.get("rule_id").text()?.context("no rule_id")?;
        ensure!(entry.get("reason").text()?.is_some(), "{rule}: no reason");
        let output = suite::read_output(entry.get("output"))?;
        for number in entry.get("test_ids").list()? {
            let name = format!("{rule}-{}", number.text()?.context("an empty number")?);
            for test in tests.iter_mut().filter(|test| test.name == name) {
                test.stages.iter_mut().for_each(|stage| stage.output = output.clone());
                changed += 1;
            }
        }
    }
    Ok(changed)
}
