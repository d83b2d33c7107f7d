//! The three parts of a rule: what it looks at, the operator, the actions. Syntax only.

/// Bytes of one directive's operator argument or action value.
const TEXT_MAX: usize = 1 << 20;

/// A rule as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleText {
    pub targets: Vec<TargetText>,
    pub operator: OperatorText,
    pub actions: Vec<ActionText>,
}

/// One element of a rule's target list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetText {
    /// Upper case.
    pub variable: String,
    pub selector: Selector,
    /// `!`: what it names is taken out.
    pub excluded: bool,
    /// `&`: how many there are.
    pub counted: bool,
}

/// What follows a variable's colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// Nothing: all elements.
    All,
    /// A name, compared without regard to case.
    Name(Vec<u8>),
    /// `/regex/`, searched in names without regard to case.
    Regex(Vec<u8>),
}

/// An operator as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperatorText {
    pub negated: bool,
    /// Without the `@`.
    pub name: String,
    pub argument: Vec<u8>,
}

/// An action as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionText {
    /// Lower case.
    pub name: String,
    pub value: Option<Vec<u8>>,
}

/// `A|B:name|!C:/regex/|&D`.
pub(crate) fn parse_targets(text: &[u8]) -> Result<Vec<TargetText>, String> {
    let mut targets = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let (target, after) = target(rest)?;
        targets.push(target);
        rest = match after.split_first() {
            None => break,
            Some((b'|' | b',', after)) => after.trim_ascii_start(),
            Some(_) => return Err(format!("cannot read the targets at `{}`", show(after))),
        };
    }
    if targets.is_empty() {
        return Err("a rule without targets".to_owned());
    }
    Ok(targets)
}

fn target(text: &[u8]) -> Result<(TargetText, &[u8]), String> {
    let mut rest = text;
    let (mut excluded, mut counted) = (false, false);
    loop {
        match rest.first() {
            Some(b'!') => excluded = true,
            Some(b'&') => counted = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let end = rest.iter().position(|&b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(rest.len());
    let variable = String::from_utf8_lossy(&rest[..end]).to_ascii_uppercase();
    if variable.is_empty() {
        return Err(format!("a variable's name is expected at `{}`", show(text)));
    }
    rest = &rest[end..];
    let selector = match rest.first() {
        // ModSecurity 3 also takes `TX.name`.
        Some(b':' | b'.') => {
            let (selector, after) = selector(&rest[1..], variable == "XML")?;
            rest = after;
            selector
        }
        _ => Selector::All,
    };
    Ok((TargetText { variable, selector, excluded, counted }, rest))
}

fn selector(text: &[u8], path: bool) -> Result<(Selector, &[u8]), String> {
    let (quoted, inner) = match text.strip_prefix(b"'") {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    if !path && let Some(regex) = inner.strip_prefix(b"/") {
        let end = regex_end(regex, quoted).ok_or_else(|| format!("`{}` has no closing slash", show(text)))?;
        let after = &regex[end + 1 + usize::from(quoted)..];
        return Ok((Selector::Regex(regex[..end].to_vec()), after));
    }
    let end = if quoted {
        let end = memchr::memchr(b'\'', inner).ok_or_else(|| format!("`{}` has no closing quote", show(text)))?;
        return name(&inner[..end], &inner[end + 1..]);
    } else {
        inner.iter().position(|&b| matches!(b, b'|' | b',')).unwrap_or(inner.len())
    };
    name(&inner[..end], &inner[end..])
}

fn name<'a>(name: &[u8], after: &'a [u8]) -> Result<(Selector, &'a [u8]), String> {
    let name = name.trim_ascii();
    if name.is_empty() {
        return Err("a name is expected after the colon".to_owned());
    }
    Ok((Selector::Name(name.to_vec()), after))
}

/// Where the slash is that closes a regex: not escaped, and the last thing of its target.
fn regex_end(text: &[u8], quoted: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1);
        match byte {
            b'\\' => at += 1,
            b'/' if quoted && next == Some(&b'\'') => return Some(at),
            b'/' if !quoted && matches!(next, None | Some(b'|' | b',')) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// `!@name argument`; without an `@` it is a regex.
pub(crate) fn parse_operator(text: &[u8]) -> Result<OperatorText, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("an operator of more than {TEXT_MAX} bytes"));
    }
    let trimmed = text.trim_ascii_start();
    let (negated, rest) = match trimmed.strip_prefix(b"!") {
        Some(rest) => (true, rest.trim_ascii_start()),
        None => (false, trimmed),
    };
    let Some(named) = rest.strip_prefix(b"@") else {
        return Ok(OperatorText { negated, name: "rx".to_owned(), argument: rest.to_vec() });
    };
    let end = named.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(named.len());
    let name = String::from_utf8_lossy(&named[..end]).into_owned();
    if name.is_empty() {
        return Err("an operator's name is expected after `@`".to_owned());
    }
    Ok(OperatorText { negated, name, argument: named[end..].trim_ascii_start().to_vec() })
}

/// `name,name:value,name:'quoted value'`.
pub(crate) fn parse_actions(text: &[u8]) -> Result<Vec<ActionText>, String> {
    let mut actions = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let (action, after) = action(rest)?;
        actions.push(action);
        rest = match after.split_first() {
            None => break,
            Some((b',', after)) => after.trim_ascii_start(),
            Some(_) => return Err(format!("a comma is expected between actions at `{}`", show(after))),
        };
    }
    Ok(actions)
}

fn action(text: &[u8]) -> Result<(ActionText, &[u8]), String> {
    let end = text.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(text.len());
    let name = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
    if name.is_empty() {
        return Err(format!("an action's name is expected at `{}`", show(text)));
    }
    let rest = text[end..].trim_ascii_start();
    let Some(value) = rest.strip_prefix(b":") else {
        return Ok((ActionText { name, value: None }, rest));
    };
    let value = value.trim_ascii_start();
    let (value, after) = match value.strip_prefix(b"'") {
        Some(value) => single_quoted(value).ok_or_else(|| format!("the value of `{name}` has no closing quote"))?,
        None => unquoted(value),
    };
    if value.len() > TEXT_MAX {
        return Err(format!("the value of `{name}` has more than {TEXT_MAX} bytes"));
    }
    Ok((ActionText { name, value: Some(value) }, after.trim_ascii_start()))
}

fn single_quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'\\', Some(b'\'')) => {
                value.push(b'\'');
                at += 2;
            }
            (b'\'', _) => return Some((value, &text[at + 1..])),
            _ => {
                value.push(byte);
                at += 1;
            }
        }
    }
    None
}

/// Up to a comma; quotes within (`ctl:x='a,b'`) protect commas.
fn unquoted(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut quoted = false;
    let end = text.iter().position(|&b| {
        quoted ^= b == b'\'';
        b == b',' && !quoted
    });
    let end = end.unwrap_or(text.len());
    (text[..end].trim_ascii_end().to_vec(), &text[end..])
}

/// The beginning of a text, for an error.
pub(super) fn show(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned()
}
