use super::*;

fn all(text: &str) -> (Vec<Directive>, Vec<String>) {
    let sources = [Source { name: "a.conf".to_owned(), text: text.as_bytes().to_vec() }];
    let (directives, errors) = parse(&sources, &NoFiles);
    (directives.into_iter().map(|(_, directive)| directive).collect(), errors.iter().map(Error::to_string).collect())
}

fn rule(text: &str) -> RuleText {
    let (directives, errors) = all(text);
    assert_eq!(errors, Vec::<String>::new());
    match directives.into_iter().next() {
        Some(Directive::Rule(rule)) => *rule,
        other => panic!("{other:?}"),
    }
}

fn error(text: &str) -> String {
    let (_, errors) = all(text);
    errors.into_iter().next().unwrap_or_default()
}

#[test]
fn a_rule_has_targets_an_operator_and_actions() {
    let rule = rule(concat!(
        "# a comment\n",
        "SecRule ARGS|!ARGS:/^a|b\\/c$/|&REQUEST_HEADERS:Host|XML:/*|XML://@* \\\n",
        "    \"!@rx \\\"x\\d\\\" \" \\\n",
        "    \"id:1,phase:2,msg:'it\\'s, so',t:none,setvar:tx.a=%{tx.b},ctl:ruleRemoveTargetById=1;ARGS:a\"\n"
    ));
    let names: Vec<_> = rule.targets.iter().map(|target| target.variable.as_str()).collect();
    assert_eq!(names, ["ARGS", "ARGS", "REQUEST_HEADERS", "XML", "XML"]);
    assert_eq!(rule.targets[1].selector, Selector::Regex(b"^a|b\\/c$".to_vec()));
    assert!(rule.targets[1].excluded && rule.targets[2].counted);
    assert_eq!(rule.targets[3].selector, Selector::Name(b"/*".to_vec()));
    assert_eq!(rule.targets[4].selector, Selector::Name(b"//@*".to_vec()));
    assert!(rule.operator.negated);
    assert_eq!((rule.operator.name.as_str(), &rule.operator.argument[..]), ("rx", &b"\"x\\d\" "[..]));
    let actions: Vec<_> = rule.actions.iter().map(|action| (action.name.as_str(), action.value.as_deref())).collect();
    assert_eq!(actions[2], ("msg", Some(&b"it's, so"[..])));
    assert_eq!(actions[5], ("ctl", Some(&b"ruleRemoveTargetById=1;ARGS:a"[..])));
}

#[test]
fn without_an_operators_name_it_is_a_regex() {
    let rule = rule("SecRule REQUEST_URI \"!^/a\" id:1");
    assert_eq!(rule.operator, OperatorText { negated: true, name: "rx".to_owned(), argument: b"^/a".to_vec() });
}

#[test]
fn errors_name_the_file_and_the_first_line_of_the_directive() {
    let text = "\nSecRuleEngine On\nSecRule ARGS \\\n  \"@rx a\" \\\n  \"id:1\" too many\nSecNonsense 1\nSecRuleEngine Perhaps\n";
    let (_, errors) = all(text);
    assert_eq!(
        errors,
        [
            "a.conf:3: a rule has targets, an operator and actions, not 5 parts",
            "a.conf:6: unknown directive `SecNonsense`",
            "a.conf:7: `perhaps` is not one of on, off, detectiononly",
        ]
    );
}

#[test]
fn what_is_not_closed_is_an_error() {
    for (text, wanted) in [
        ("SecRule ARGS \"@rx a", "a quote is not closed"),
        ("SecRule ARGS \"@rx a\"id:1", "a closing quote is not followed by a space"),
        ("SecRule ARGS \"@rx a\" \"id:1,msg:'x\"", "the value of `msg` has no closing quote"),
        ("SecRule ARGS:/a \"@rx a\" \"id:1\"", "`/a` has no closing slash"),
        ("SecRule ARGS: \"@rx a\" \"id:1\"", "a name is expected after the colon"),
        ("SecRule | \"@rx a\" \"id:1\"", "a variable's name is expected at `|`"),
        ("SecRule ARGS \"@ a\" \"id:1\"", "an operator's name is expected after `@`"),
        ("SecAction \"id:1,:a\"", "an action's name is expected at `:a`"),
        ("SecRuleRemoveById 5-3", "`5-3` is an empty range"),
        ("SecArgumentSeparator ab", "the separator is one byte"),
    ] {
        assert_eq!(error(text), format!("a.conf:1: {wanted}"), "{text}");
    }
}

#[test]
fn what_is_not_supported_is_refused_with_the_reason() {
    assert!(error("SecRuleScript a.lua").contains("scripts are not run here"));
    assert!(error("Include other.conf").contains("no files are available"));
}

#[test]
fn logical_lines_survive_odd_ends() {
    assert_eq!(all("SecRuleEngine On \\").0.len(), 1);
    assert_eq!(all("\u{feff}SecRuleEngine On\r\n\r\n#x\\\r\nSecRuleEngine Off").0.len(), 2);
    assert_eq!(all("\\\n\\\n\\").1.len(), 1);
}

struct Circle;

impl Files for Circle {
    fn read(&self, _from: &str, _name: &str) -> Result<Vec<u8>, String> {
        Ok(b"Include again.conf\nSecRuleEngine On".to_vec())
    }
}

#[test]
fn files_that_include_each_other_end() {
    let sources = [Source { name: "a.conf".to_owned(), text: b"Include a.conf".to_vec() }];
    let (directives, errors) = parse(&sources, &Circle);
    assert_eq!(directives.len(), INCLUDE_DEPTH_MAX as usize);
    assert_eq!(errors.len(), 1);
}
