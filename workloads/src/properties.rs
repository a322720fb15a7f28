//! The syntax of Java property files, as `java.util.Properties.load` reads them.
//!
//! 1. Lines end with `\n`, `\r\n` or `\r`. Blank lines, and lines whose first mark is `#` or `!`, say
//!    nothing.
//! 2. A line that ends with an odd number of backslashes goes on in the next, whose leading blanks do
//!    not count.
//! 3. The key reaches to the first `=`, `:` or blank without a backslash before it; the value begins
//!    after that separator and the blanks around it.
//! 4. In both, `\t`, `\n`, `\r`, `\f` and `\uXXXX` stand for characters; another character behind a
//!    backslash stands for itself.
//!
//! Deviations, because a workload file is better refused than misread: a line without a separator and
//! one without a key are errors, and blanks at the end of a value are dropped.

use std::path::Path;

use crate::error::{Error, Result};

/// One property and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Property {
    /// The line that it begins on, counted from 1.
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// All properties of a file in their order. `file` is only named in errors.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (line, content) in logical_lines(text) {
        let property = parse_line(line, &content).map_err(|reason| Error::Syntax {
            file: file.into(),
            line,
            reason,
        })?;
        properties.push(property);
    }
    Ok(properties)
}

fn is_blank(mark: char) -> bool {
    matches!(mark, ' ' | '\t' | '\u{C}')
}

/// The lines that say something, continued ones joined, with the number of the first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in text.split('\n').enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = content.len() - content.trim_end_matches('\\').len();
        let continues = backslashes % 2 == 1;
        let kept = &content[..content.len() - usize::from(continues)];
        let (_, joined) = open.get_or_insert_with(|| (index + 1, String::new()));
        joined.push_str(kept);
        if !continues {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines
}

fn parse_line(line: usize, content: &str) -> Result<Property, String> {
    let mut escaped = false;
    let separator = content.char_indices().find(|&(_, mark)| {
        let ends = !escaped && (matches!(mark, '=' | ':') || is_blank(mark));
        escaped = !escaped && mark == '\\';
        ends
    });
    let Some((end, _)) = separator else {
        return Err(format!("expected key=value, found {content:?} without a separator"));
    };
    let rest = content[end..].trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    if rest.is_empty() {
        // Only blanks follow the key.
        return Err(format!("expected key=value, found {:?} without a value", content.trim_end()));
    }
    if end == 0 {
        return Err(format!("expected key=value, found {content:?} without a key"));
    }
    let value = value.trim_start_matches(is_blank).trim_end_matches(is_blank);
    Ok(Property { line, key: unescape(&content[..end])?, value: unescape(value)? })
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.into());
    }
    // UTF-16 as in Java, so that two \u escapes can make one character.
    let mut units = Vec::new();
    let mut marks = text.chars();
    while let Some(mark) = marks.next() {
        let meant = match mark {
            '\\' => match marks.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{C}',
                Some('u') => {
                    units.push(unicode_escape(marks.as_str())?);
                    marks = marks.as_str()[4..].chars();
                    continue;
                }
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| format!("{text:?} has half of a surrogate pair"))
}

fn unicode_escape(rest: &str) -> Result<u16, String> {
    let digits = rest.get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u16::from_str_radix(digits, 16).ok())
        .ok_or_else(|| "expected four hexadecimal digits after \\u".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let properties = parse(Path::new("test"), text).unwrap();
        properties.into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let (_, key, value) = pairs(text).pop().unwrap();
        (key, value)
    }

    #[test]
    fn every_separator_divides_key_and_value() {
        for text in ["key=some value", "key:some value", "key some value", "  key\t = some value  "]
        {
            assert_eq!(one(text), ("key".into(), "some value".into()), "{text:?}");
        }
        assert_eq!(one("key=a=b:c"), ("key".into(), "a=b:c".into()));
        assert_eq!(one("key="), ("key".into(), String::new()));
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        let text = "# one\r\n! two\r\n\r\n   # three\rkey=value # not a comment\n";
        assert_eq!(pairs(text), [(5, "key".into(), "value # not a comment".into())]);
    }

    #[test]
    fn backslash_continues_a_line() {
        let text = "first = a, \\\n    b, \\\r\n  # c\nsecond = d\\\\\nthird = e \\";
        let expected = [
            (1, "first".into(), "a, b, # c".into()),
            (4, "second".into(), "d\\".into()),
            (5, "third".into(), "e".into()),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(one(r"a\ b\=c=\u0041\tz\q"), ("a b=c".into(), "A\tzq".into()));
        assert_eq!(one(r"key=\uD83D\uDE00"), ("key".into(), "😀".into()));
    }

    #[test]
    fn syntax_errors_name_file_and_line() {
        for (text, reason) in [
            ("a=1\nrecordcount\n", "test:2: expected key=value"),
            ("a=1\n\nrecordcount  \n", "test:3: expected key=value"),
            ("=1", "test:1: expected key=value"),
            (r"a=\u12", "test:1: expected four hexadecimal digits"),
            (r"a=\u12é4", "test:1: expected four hexadecimal digits"),
            (r"a=\uD83D", "test:1: \"\\\\uD83D\" has half of a surrogate pair"),
        ] {
            let error = parse(Path::new("test"), text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c=:#!\\\\u0-9 \t\r\n]{0,40}") {
            let _ = parse(Path::new("test"), &text);
        }
    }
}
