//! Digests of files: SHA-256, and MD5, which publishers give.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gim_core::files::hex;
use gim_core::{Error, Result};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::registry::{Algorithm, Checksum};

/// What a file was seen to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// Hexadecimal.
    pub(crate) md5: String,
    /// Hexadecimal.
    pub(crate) sha256: String,
}

impl Seen {
    /// Reads a file. `tick` is told how many bytes were read so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(path: &Path, mut tick: impl FnMut(u64)) -> Result<Self> {
        let (mut md5, mut sha256, mut bytes) = (Md5::new(), Sha256::new(), 0);
        read(path, |part| {
            md5.update(part);
            sha256.update(part);
            bytes += part.len() as u64;
            tick(bytes);
        })?;
        Ok(Self { bytes, md5: hex(md5.finalize()), sha256: hex(sha256.finalize()) })
    }

    /// The first checksum that the file does not have, and what it has instead.
    pub(super) fn differs<'a>(&self, checksums: &'a [Checksum]) -> Option<(&'a Checksum, &str)> {
        let own = |sum: &Checksum| match sum.algorithm {
            Algorithm::Md5 => self.md5.as_str(),
            Algorithm::Sha256 => self.sha256.as_str(),
        };
        checksums.iter().map(|sum| (sum, own(sum))).find(|(sum, own)| sum.digest != *own)
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    read(path, |part| hash.update(part))?;
    Ok(hex(hash.finalize()))
}

fn read(path: &Path, mut each: impl FnMut(&[u8])) -> Result<()> {
    let failed = |e| Error::io(path, "read", e);
    let mut file = File::open(path).map_err(failed)?;
    let mut part = vec![0; 1 << 18];
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(n) => each(&part[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Authority;
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let seen = Seen::of(file.path(), |_| ()).unwrap();
        assert_eq!(seen.bytes, 3);
        // RFC 1321 and FIPS 180-4.
        assert_eq!(seen.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(seen.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(file.path()).unwrap(), seen.sha256);
        let sum = |digest| [Checksum { algorithm: Algorithm::Md5, digest, by: Authority::Publisher }];
        assert!(seen.differs(&sum("900150983cd24fb0d6963f7d28e17f72")).is_none());
        assert!(seen.differs(&sum("900150983cd24fb0d6963f7d28e17f73")).is_some_and(|(_, own)| own == seen.md5));
    }
}
