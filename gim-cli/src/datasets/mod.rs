//! Public datasets: what is known of them, and how they get onto this disk.
//!
//! [`registry`] says where they are, how large, under which license and with which checksums.
//! [`fetch`] downloads, checks and unpacks one beside its folder and then renames it, so that the
//! folder is whole or absent. [`manifest`] lists its files, which [`verify`] checks.

mod archive;
mod arrange;
mod digest;
mod download;
pub(crate) mod fetch;
mod http;
pub(crate) mod manifest;
mod mat;
mod read;
pub(crate) mod registry;
pub(crate) mod verify;

/// Bytes as a person reads them: `29.5 KB`, `26.4 MB`, `6.39 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    let (value, unit) = match bytes {
        0.0..1e3 => return format!("{bytes} bytes"),
        1e3..1e6 => (bytes / 1e3, "KB"),
        1e6..1e9 => (bytes / 1e6, "MB"),
        _ => (bytes / 1e9, "GB"),
    };
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_well() {
        let sizes = [0, 502, 29_515, 26_421_880, 170_052_171, 6_387_309_499].map(size);
        assert_eq!(sizes, ["0 bytes", "502 bytes", "29.5 KB", "26.4 MB", "170.1 MB", "6.39 GB"]);
    }
}
