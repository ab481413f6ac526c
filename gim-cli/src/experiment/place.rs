//! Where in a configuration file a wrong setting stands.

use std::fmt::{self, Display};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use gim_core::Error;
use toml::de::{DeTable, DeValue};

/// Lines of a file with a mark under the part that is wrong: the cause of an error, printed below it.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Place {}

impl Place {
    /// The lines of `text`, the contents of `file`, around the bytes `span`, which are marked.
    pub(crate) fn new(file: &str, text: &str, span: Range<usize>) -> Self {
        let (start, end) = (span.start.min(text.len()), span.end.min(text.len()));
        let mark = AnnotationKind::Primary.span(start..end);
        let lines =
            [Level::ERROR.no_name().secondary_title("").element(Snippet::source(text).path(file).annotation(mark))];
        // The title is the error itself, which stands above.
        let lines = Renderer::plain().render(&lines);
        Self(lines.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n"))
    }

    /// The place of an error, if it has one.
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref())
    }
}

/// The same error, with the place of its setting in `text`, the contents of `file`, which has the setting
/// if `of_file` says so. Errors of other kinds, and of settings from elsewhere, stay as they are.
pub(crate) fn locate(error: Error, file: &str, text: &str, of_file: impl Fn(&str) -> bool) -> Error {
    let Error::Config { key, .. } = &error else { return error };
    match span(text, key).filter(|_| of_file(key)) {
        Some(span) => error.caused_by(Place::new(file, text, span)),
        None => error,
    }
}

/// The bytes of `section.key = value`, or of `[section]`'s name, in a TOML text.
fn span(text: &str, path: &str) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let (section, key) = path.split_once('.').map_or((path, None), |(section, key)| (section, Some(key)));
    let (name, value) = root.get_ref().iter().find(|(name, _)| name.get_ref() == section)?;
    let Some(key) = key else { return Some(name.span()) };
    let DeValue::Table(keys) = value.get_ref() else { return None };
    let (name, value) = keys.iter().find(|(name, _)| name.get_ref() == key)?;
    Some(name.span().start..value.span().end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_and_marked() {
        let text = "domain = \"audio\"\n\n[optimizer]\nlr = 200.0\nbeta1 = 0.9\n";
        let error =
            locate(Error::config("optimizer.lr", "200.0 is out of range", "use less"), "mine.toml", text, |_| true);
        let place = Place::of(&error).unwrap().to_string();
        assert!(place.contains("mine.toml:4:1") && place.contains("4 | lr = 200.0"), "{place}");
        assert!(place.contains("| ^^^^^^^^^^"), "{place}");
        let error = locate(Error::config("optimizer.beta2", "is 2", "use less"), "mine.toml", text, |_| true);
        assert!(Place::of(&error).is_none());
    }
}
