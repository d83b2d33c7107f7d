use super::*;
use crate::seclang::NoFiles;
use crate::transform::Transformation;

fn errors(text: &str) -> Vec<String> {
    let sources = [Source { name: "t.conf".to_owned(), text: text.as_bytes().to_vec() }];
    match RuleSet::load(&sources, &NoFiles) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn nothing_unknown_is_passed_over() {
    for (text, wanted) in [
        ("SecRule ARGZ \"@rx a\" id:1", "unknown variable `ARGZ`"),
        ("SecRule ARGS \"@rgx a\" id:1", "unknown operator `@rgx`"),
        ("SecRule ARGS \"@rx a\" id:1,t:rot13", "unknown transformation `rot13`"),
        ("SecRule ARGS \"@rx a\" id:1,explode", "unknown action `explode`"),
        ("SecRule ARGS \"@rx a\" id:1,ctl:nothing=On", "unknown option `nothing` of ctl"),
        ("SecRule ARGS \"@rx a\" id:1,exec:/bin/a", "the action `exec` is not supported: no programs are run"),
        (
            "SecRule ENV:x \"@rx a\" id:1",
            "the variable `ENV` is not supported: the environment of the program is nobody's business",
        ),
        ("SecRule REQUEST_URI:x \"@rx a\" id:1", "`REQUEST_URI` has no elements"),
        ("SecRule XML:/a/b \"@rx a\" id:1", "of XML there are `/*` (all text) and `//@*` (all attributes), not `/a/b`"),
        ("SecRule ARGS \"@rx a\" pass", "a rule without an id"),
        ("SecRule ARGS \"@rx a\" id:1,phase:6", "`6` is not a phase"),
        ("SecRule ARGS \"@rx a\" id:1,setvar:a=1", "`a` is not `collection.name`"),
        ("SecRule ARGS \"@rx a\" id:1,setvar:env.a=1", "`env` is not a collection that can be written"),
        ("SecRule ARGS \"@rx a\" id:1,skipAfter:END", "there is no SecMarker `END` after this rule"),
        ("SecRule ARGS \"@rx a\" id:1,msg:'%{nothing}'", "in a macro: unknown variable `NOTHING`"),
        ("SecRule ARGS \"@rx a\" id:1,chain", "the last rule of a chain says that another one follows"),
        ("SecDefaultAction phase:2,block", "`block` means what SecDefaultAction says, and cannot be that"),
    ] {
        assert_eq!(errors(text), [format!("t.conf:1: {wanted}")], "{text}");
    }
}

#[test]
fn all_errors_are_reported() {
    let text = "SecRule ARGZ \"@rgx a\" \"id:1,explode,t:rot13\"\nSecAction id:1\nSecAction id:2,nothing\n";
    let found = errors(text);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found.contains(&"t.conf:2: rule 1 is already in t.conf:1".to_owned()));
}

#[test]
fn integers_are_read_as_stoi_reads_them() {
    for (text, wanted) in [
        (&b""[..], 0),
        (b"12", 12),
        (b" \t-7x", -7),
        (b"+3", 3),
        (b"x9", 0),
        (b"99999999999", 0),
        (b"2147483647", 2_147_483_647),
        (b"-", 0),
    ] {
        assert_eq!(integer(text), wanted, "{}", text.escape_ascii());
    }
}

#[test]
fn lists_that_begin_alike_share_nodes() {
    use Transformation::{HtmlEntityDecode, Lowercase, UrlDecodeUni};
    let mut chains = Chains::default();
    let long = chains.add(&[UrlDecodeUni, HtmlEntityDecode, Lowercase]).unwrap();
    let short = chains.add(&[UrlDecodeUni, HtmlEntityDecode]).unwrap();
    assert_eq!(chains.len(), 4);
    assert_eq!(chains.step(long), Some((short, Lowercase)));
    assert_eq!(chains.path(long), [0, 1, 2, 3]);
    let plain = crate::byte_set::ByteSet::of(b"plain text");
    assert!(chains.is_noop(long, &plain) && chains.is_noop(0, &plain));
    assert!(!chains.is_noop(long, &plain.with(b'Q')));
    assert!(chains.add(&[Lowercase; 33]).is_err());
}

#[test]
fn updates_change_actions_and_targets() {
    let text = concat!(
        "SecRule ARGS|ARGS:a \"@rx a\" \"id:1,deny,msg:'old',t:lowercase\"\n",
        "SecRuleUpdateActionById 1 \"pass,msg:'new',t:trim\"\n",
        "SecRuleUpdateTargetById 1 \"!ARGS:b|REQUEST_URI\"\n",
        "SecRuleUpdateTargetByTag nobody \"!ARGS:b\"\n",
    );
    let sources = [Source { name: "t.conf".to_owned(), text: text.as_bytes().to_vec() }];
    let rules = RuleSet::load(&sources, &NoFiles).unwrap();
    let rule = &rules.rules[0];
    assert!(matches!(rule.disruptive, Some(Disruptive::Pass)));
    assert_eq!(rule.about.as_ref().unwrap().msg.as_ref().unwrap().constant(), Some(&b"new"[..]));
    assert_eq!(rules.chains.len(), 3);
    assert_eq!(rule.targets.len(), 3);
    assert_eq!(rule.targets[0].excluded.len(), 1);
    let warnings: Vec<_> = rules.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["t.conf:4: no rule is meant by this"]);
}

#[test]
fn a_rule_set_says_what_it_holds() {
    let load = |text: &str| {
        let sources = [Source { name: "t.conf".to_owned(), text: text.as_bytes().to_vec() }];
        RuleSet::load(&sources, &NoFiles).unwrap()
    };
    let small = load("SecRule ARGS \"@rx a\" id:1");
    let large = load("SecRule ARGS \"@rx a\" id:1\nSecRule ARGS \"@rx (?i)(?:select|union)\\s+[a-z]{1,40}\" id:2\n");
    assert!(small.bytes() > 0 && large.bytes() > small.bytes() + size_of::<Rule>());
    assert_eq!((small.rules(), large.rules()), (1, 2));
}
