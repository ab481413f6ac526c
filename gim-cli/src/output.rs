//! Standard output and standard error. A reader that went away never stops or spoils any work.

use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, Write};

use gim_core::{Error, Result};

use crate::experiment::place::Place;

/// Writes `text` to standard output.
///
/// # Errors
/// When it cannot be written. A closed pipe is no error: its reader has seen enough.
pub(crate) fn print(text: impl Display) -> Result<()> {
    write(&mut io::stdout().lock(), format_args!("{text}"))
}

/// Writes `text` to standard output as a line.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_line(text: impl Display) -> Result<()> {
    print(format_args!("{text}\n"))
}

/// Writes `text` to standard error as a line. Notes that nobody can read are dropped.
pub(crate) fn note(text: impl Display) {
    // One write: lines of several processes in one log stay whole.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Writes an error to standard error: one line, and below it the place in the file where there is one.
pub fn note_error(error: &Error) {
    match Place::of(error) {
        Some(place) => note(format_args!("gim: {error}\n{place}")),
        None => note(format_args!("gim: {error}")),
    }
}

fn write(out: &mut impl Write, text: Arguments) -> Result<()> {
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", "write", e)),
        _ => Ok(()),
    }
}

/// A number and what it counts: `1 seed`, `3 seeds`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A number in groups of three digits: `1,234,567`.
pub(crate) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7, 999, 1_000, 1_234_567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
    }

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
        assert!(write(&mut Broken(ErrorKind::BrokenPipe), format_args!("text")).is_ok());
        let error = write(&mut Broken(ErrorKind::StorageFull), format_args!("text")).unwrap_err().to_string();
        assert!(error.starts_with("standard output: cannot write") && error.contains("free some space"), "{error}");
        assert!(!error.contains("MB are free"), "{error}");
    }
}
