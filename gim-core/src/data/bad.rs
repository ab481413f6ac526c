//! Files of a dataset that cannot be used: all are reported at once, or left out and listed.

use std::path::Path;

use crate::{Error, Result};

/// Command-line option that leaves bad files out.
pub const SKIP_BAD: &str = "--skip-bad";

/// Nothing, or one error of all the `errors` of files below `root`, in their order.
///
/// # Errors
/// When there are any. One error stays as it is; more become one line. The remedy offers
/// [`SKIP_BAD`].
pub fn all_bad(root: &Path, mut errors: Vec<Error>) -> Result<()> {
    let Some(last) = errors.pop() else { return Ok(()) };
    if errors.is_empty() {
        return Err(or_skip(last));
    }
    errors.push(last);
    let each: Vec<String> = errors.iter().map(say).collect();
    let what = format!("{} files are bad: {}", each.len(), each.join("; "));
    Err(Error::file(root, what, format_args!("fix the files, or leave bad ones out with {SKIP_BAD}")))
}

/// An error without its remedy.
fn say(e: &Error) -> String {
    match e {
        Error::File { path, what, .. } => format!("{}: {what}", path.display()),
        other => other.to_string(),
    }
}

/// The same error, with the remedy to leave bad files out.
pub fn or_skip(e: Error) -> Error {
    match e {
        Error::File { path, what, remedy, source } => {
            let remedy = format!("{remedy}; or leave bad files out with {SKIP_BAD}");
            Error::File { path, what, remedy, source }
        }
        other => other,
    }
}

/// A note: "2 files are bad and left out: a, b".
pub fn left_out(what: &[String], thing: &str, are: &str) -> String {
    let (n, list) = (what.len(), what.join(", "));
    match n {
        1 => format!("1 {thing} is {are} and left out: {list}"),
        _ => format!("{n} {thing}s are {are} and left out: {list}"),
    }
}

/// A bad file in a note: its name and what is wrong with it.
pub fn because(name: &str, e: &Error) -> String {
    match e {
        Error::File { what, .. } => format!("{name} ({what})"),
        other => format!("{name} ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_named() {
        let bad = |n: usize| (0..n).map(|i| Error::file(format!("{i}.wav"), "is empty", "make it again")).collect();
        let say = |n| all_bad(Path::new("corpus"), bad(n)).map_err(|e| e.to_string());
        assert_eq!(say(0), Ok(()));
        let one = say(1).unwrap_err();
        assert_eq!(one, "0.wav: is empty (make it again; or leave bad files out with --skip-bad)");
        let three = say(3).unwrap_err();
        let all = "corpus: 3 files are bad: 0.wav: is empty; 1.wav: is empty; 2.wav: is empty (fix";
        assert!(three.starts_with(all) && three.contains(SKIP_BAD), "{three}");
    }
}
