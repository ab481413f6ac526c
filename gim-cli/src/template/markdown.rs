//! Escapes text for Markdown; `askama.toml` names it for templates that end in `.md`.

use std::fmt::{Result, Write};

use askama::filters::Escaper;

/// Escapes text for a cell, a heading or a line of GitHub's Markdown: it never ends a cell or a
/// line, and never becomes a tag, a link, emphasis or a formula.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Markdown;

impl Escaper for Markdown {
    fn write_escaped_str<W: Write>(&self, mut out: W, text: &str) -> Result {
        let mut before = ' ';
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\n' | '\r' => out.write_char(' ')?,
                // Between letters, as in `max_steps`, an underscore is itself.
                '_' if before.is_alphanumeric() && rest.peek().is_some_and(|c| c.is_alphanumeric()) => {
                    out.write_char(c)?;
                }
                // A tilde before a word, as in `~27`, needs no escape: a closing one is escaped.
                '~' if before.is_whitespace() => out.write_char(c)?,
                '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '$' => {
                    out.write_char('\\')?;
                    out.write_char(c)?;
                }
                _ => out.write_char(c)?,
            }
            before = c;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_markdown_is_escaped() {
        let escaped = |text: &str| {
            let mut out = String::new();
            Markdown.write_escaped_str(&mut out, text).unwrap();
            out
        };
        assert_eq!(escaped("a | b\nc"), r"a \| b c");
        assert_eq!(escaped("<b>&amp; [x](y) **z**"), r"\<b\>\&amp; \[x\](y) \*\*z\*\*");
        assert_eq!(escaped("`a~~$\\"), r"\`a\~\~\$\\");
        assert_eq!(escaped("~27 ~x~ ~~x~~"), r"~27 ~x\~ ~\~x\~\~");
        assert_eq!(escaped("max_steps _x_ a__b"), r"max_steps \_x\_ a\_\_b");
        assert_eq!(escaped("+2.3 ± 0.9 % (M)"), "+2.3 ± 0.9 % (M)");
    }
}
