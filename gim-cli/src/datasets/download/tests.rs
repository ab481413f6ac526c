//! Downloads from a server that misbehaves.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::datasets::registry::{Algorithm, Authority, Checksum};

#[path = "../../../tests/it/server.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod server;

use server::{Answer, Server};

const TAG: &str = "\"1\"";

/// 300,000 bytes that do not repeat.
fn content() -> Arc<Vec<u8>> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Arc::new((0..300_000).map(|_| next()).collect())
}

/// A published file of this content, at these addresses.
fn source(bytes: &[u8], addresses: &[String]) -> Source {
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let digest = leak(&gim_core::files::hex(Sha256::digest(bytes)));
    let sums = vec![Checksum { algorithm: Algorithm::Sha256, digest, by: Authority::Publisher }];
    let addresses: Vec<&'static str> = addresses.iter().map(|a| leak(a)).collect();
    let bytes = bytes.len() as u64;
    Source { name: "a.bin", addresses: addresses.leak(), bytes, checksums: sums.leak(), archive: false }
}

fn net(tries: u32) -> Net {
    let timeout = Duration::from_secs(1);
    Net { mirror: None, any_checksum: false, timeout, tries, show: Mode::Quiet }
}

/// What a folder holds after a download from a server, and the error.
fn try_in(folder: &Path, server: &Server, net: &Net) -> Option<String> {
    let source = source(&content(), &[format!("{}/x/a.bin", server.url())]);
    match download(&source, folder, net) {
        Ok(file) => {
            assert_eq!(fs::read(&file.path).unwrap(), *content());
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "something was left beside the file");
            None
        }
        Err(e) => Some(e.to_string()),
    }
}

fn try_from(server: &Server) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let error = try_in(folder.path(), server, &net(2));
    assert!(error.is_none() || !folder.path().join("a.bin").exists());
    error
}

fn fails(server: &Server, says: &[&str]) {
    let said = try_from(server).unwrap_or_default();
    for part in says.iter().chain(&["127.0.0.1", "(run again to resume"]) {
        assert!(said.contains(part), "{said:?} should say {part:?}");
    }
}

#[test]
fn a_connection_that_ends_is_taken_up() {
    let server = Server::new(|n, _| match n {
        0..3 => Answer::Cut { bytes: content(), tag: TAG, after: 70_000 },
        _ => Answer::File { bytes: content(), tag: TAG },
    });
    assert_eq!(try_from(&server), None);
    let asked = server.asked();
    assert_eq!(asked.iter().map(|a| a.from).collect::<Vec<_>>(), [None, Some(70_000), Some(140_000), Some(210_000)]);
    assert!(asked[1..].iter().all(|a| a.if_range.as_deref() == Some(TAG)), "{asked:?}");
}

#[test]
fn a_connection_that_stalls_is_taken_up() {
    let server = Server::new(|n, _| match n {
        0 => Answer::Stall { bytes: content(), tag: TAG, after: 100_000 },
        _ => Answer::File { bytes: content(), tag: TAG },
    });
    assert_eq!(try_from(&server), None);
    assert_eq!(server.asked()[1].from, Some(100_000));
    let server = Server::new(|_, _| Answer::Stall { bytes: content(), tag: TAG, after: 0 });
    fails(&server, &["2 tries in a row"]);
}

#[test]
fn servers_without_ranges_are_endured() {
    let server = Server::new(|n, _| Answer::Whole { bytes: content(), after: if n == 0 { 90_000 } else { 300_000 } });
    assert_eq!(try_from(&server), None);
    // One that never gets further is given up, though each try brings bytes.
    let server = Server::new(|_, _| Answer::Whole { bytes: content(), after: 90_000 });
    fails(&server, &["2 tries in a row brought nothing new"]);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn lies_about_the_length_are_noticed() {
    let longer = Arc::new([&content()[..], b"more"].concat());
    let bytes = Arc::clone(&longer);
    fails(
        &Server::new(move |_, _| Answer::File { bytes: Arc::clone(&bytes), tag: TAG }),
        &["has 300004 bytes", "300000"],
    );
    // Without a length, up to the end of the connection.
    let close = |bytes: &[u8]| [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", bytes].concat();
    let raw = close(&longer);
    fails(&Server::new(move |_, _| Answer::Raw(raw.clone())), &["sends more than 300000 bytes"]);
    let raw = close(&content());
    assert_eq!(try_from(&Server::new(move |_, _| Answer::Raw(raw.clone()))), None);
    let raw = close(&content()[..1000]);
    fails(&Server::new(move |_, _| Answer::Raw(raw.clone())), &["ended after 1000 of 300000 bytes"]);
    fails(&Server::new(|_, _| Answer::Raw(b"no HTTP at all\r\n\r\n".to_vec())), &[]);
}

#[test]
fn redirects_are_followed_within_http() {
    let server = Server::new(|_, asked| match asked.target.as_str() {
        "/x/a.bin" => Answer::To("/y".to_owned()),
        "/y" => Answer::To("z?a=1".to_owned()),
        _ => Answer::File { bytes: content(), tag: TAG },
    });
    assert_eq!(try_from(&server), None);
    assert_eq!(server.asked()[2].target, "/z?a=1");
    let server = Server::new(|_, _| Answer::To("/x/a.bin".to_owned()));
    fails(&server, &["go in circles"]);
    assert!(server.asked().len() < 20);
    for other in ["file:///etc/passwd", "ftp://127.0.0.1/a.bin"] {
        let server = Server::new(move |_, _| Answer::To(other.to_owned()));
        fails(&server, &["which is not followed", other]);
        assert_eq!(server.asked().len(), 1, "it will not help to ask again");
    }
}

#[test]
fn what_is_absent_is_not_asked_for_again() {
    let server = Server::new(|_, _| Answer::Status(404));
    fails(&server, &["the server answers 404"]);
    assert_eq!(server.asked().len(), 1);
    let server = Server::new(|n, _| match n {
        0 => Answer::Status(503),
        _ => Answer::File { bytes: content(), tag: TAG },
    });
    assert_eq!(try_from(&server), None);
}

#[test]
fn the_next_address_takes_over() {
    let good = Server::of(content().to_vec());
    let gone = Server::new(|_, _| Answer::Status(404));
    let folder = tempfile::tempdir().unwrap();
    let addresses = [format!("{}/a.bin", gone.url()), format!("{}/a.bin", good.url())];
    let file = download(&source(&content(), &addresses), folder.path(), &net(2)).unwrap();
    assert_eq!(file.address, addresses[1]);
    // A mirror stands for all of them.
    let folder = tempfile::tempdir().unwrap();
    let mirror = Net { mirror: Some(format!("{}/m/", gone.url())), ..net(2) };
    let said = download(&source(&content(), &addresses), folder.path(), &mirror).unwrap_err().to_string();
    assert!(said.contains("/m/a.bin: the server answers 404"), "{said}");
}

fn changed(at: usize) -> Arc<Vec<u8>> {
    let mut bytes = content().to_vec();
    bytes[at] ^= 1;
    Arc::new(bytes)
}

#[test]
fn corrupt_files_are_never_put_in_place() {
    let server = Server::new(|_, _| Answer::File { bytes: changed(150_000), tag: TAG });
    fails(&server, &["SHA-256 of a.bin is", "the publisher says", "--any-checksum"]);
    // The bytes of two states of a file are not joined, or at least found out.
    let server = Server::new(|n, _| match n {
        0 => Answer::Cut { bytes: changed(5), tag: "\"old\"", after: 100_000 },
        _ => Answer::File { bytes: content(), tag: TAG },
    });
    assert_eq!(try_from(&server), None);
    let server = Server::new(|n, _| match n {
        0 => Answer::Cut { bytes: changed(5), tag: TAG, after: 100_000 },
        _ => Answer::File { bytes: content(), tag: TAG },
    });
    assert_eq!(try_from(&server), None);
    assert_eq!(server.asked().iter().map(|a| a.from).collect::<Vec<_>>(), [None, Some(100_000), None]);
}

fn begun(part: &[u8], state: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.bin.part"), part).unwrap();
    if let Some(state) = state {
        fs::write(folder.path().join("a.bin.part.state"), state).unwrap();
    }
    folder
}

#[test]
fn what_a_killed_process_left_is_used() {
    let whole = content();
    for (part, from) in [
        (&whole[..123_456], Some(Some(123_456))),
        // All of it was there.
        (&whole[..], None),
        (&[&whole[..], &b"too long"[..]].concat(), Some(None)),
        (b"", Some(None)),
    ] {
        let folder = begun(part, Some(TAG));
        let server = Server::of(content().to_vec());
        assert_eq!(try_in(folder.path(), &server, &net(2)), None);
        assert_eq!(server.asked().first().map(|a| a.from), from);
    }
    // A file that is in place is checked, and replaced if it is damaged.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(content().to_vec());
    for (before, asked) in [(&whole[..], 0), (&whole[..100], 1)] {
        fs::write(folder.path().join("a.bin"), before).unwrap();
        assert_eq!(try_in(folder.path(), &server, &net(2)), None);
        assert_eq!(server.asked().len(), asked);
    }
}

/// Without published checksums nothing tells whether bytes fit together, but the server's tag.
#[test]
fn any_file_is_taken_whole() {
    let any = Net { any_checksum: true, ..net(2) };
    let whole = content();
    let other = changed(5);
    for (part, state, from) in [
        (&whole[..1000], Some(TAG), Some(1000)),
        (&other[..1000], Some("\"other\""), Some(1000)),
        (&other[..1000], None, None),
    ] {
        let folder = begun(part, state);
        let server = Server::of(content().to_vec());
        assert_eq!(try_in(folder.path(), &server, &any), None);
        assert_eq!(server.asked()[0].from, from);
    }
    let folder = begun(&whole, Some(TAG));
    assert_eq!(try_in(folder.path(), &Server::of(content().to_vec()), &any), None);
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n".to_vec();
    let server = Server::new(move |_, _| Answer::Raw(huge.clone()));
    let said = try_in(tempfile::tempdir().unwrap().path(), &server, &any).unwrap();
    assert!(said.contains("1000000000000000 bytes"), "{said}");
}

#[test]
fn a_small_disk_is_refused() {
    let path = Path::new("datasets/stl10");
    assert!(fits(path, 5, Some(5)).is_ok() && fits(path, 5, None).is_ok());
    let said = fits(path, 5_764_000_000, Some(1_000_000_000)).unwrap_err().to_string();
    assert!(said.contains("5.76 GB are needed on its disk, and 1.00 GB are free (free some space"), "{said}");
}

#[test]
fn pauses_grow_to_half_a_minute() {
    let seconds = [0, 1, 4, 8, 60].map(|failures| pause(failures).as_secs_f64());
    assert_eq!(seconds, [0.2, 0.4, 3.2, 30.0, 30.0]);
}
