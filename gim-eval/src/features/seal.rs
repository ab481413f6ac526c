//! The seal of a feature file: length and checksum of its content, in its user block.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use gim_core::{Error, Result};

/// Bytes of the user block.
pub(super) const HEAD: usize = 512;
/// First line of the user block.
const MAGIC: &str = "gim features 1";

/// What the seal of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// The file is as this program wrote it.
    Holds,
    /// The file was changed, damaged or cut short since.
    Broken,
    /// Another program wrote the file.
    Absent,
}

/// Length and CRC-32 of what follows the user block.
fn digest(file: &mut fs::File) -> std::io::Result<(u64, u32)> {
    file.seek(SeekFrom::Start(HEAD as u64))?;
    let (mut hasher, mut buffer, mut len) = (crc32fast::Hasher::new(), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((len, hasher.finalize())),
            n => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
        }
    }
}

fn head(len: u64, crc: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let text = format!("{MAGIC}\nbytes {len}\ncrc32 {crc:08x}\n");
    head[..text.len()].copy_from_slice(text.as_bytes());
    head
}

/// Seals a finished file.
pub(super) fn seal(path: &Path) -> std::io::Result<()> {
    let mut file = fs::File::options().read(true).write(true).open(path)?;
    let (len, crc) = digest(&mut file)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&head(len, crc))?;
    file.sync_all()
}

/// Compares a file with its seal. Reads all of it.
///
/// # Errors
/// When it cannot be read.
pub fn seal_of(path: &Path) -> Result<Seal> {
    let io = |e: std::io::Error| Error::io(path, "read", e);
    let mut file = fs::File::open(path).map_err(io)?;
    let mut found = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut found).map_err(io)?;
    if !found.starts_with(MAGIC.as_bytes()) {
        return Ok(Seal::Absent);
    }
    let (len, crc) = digest(&mut file).map_err(io)?;
    Ok(if found == head(len, crc) { Seal::Holds } else { Seal::Broken })
}
