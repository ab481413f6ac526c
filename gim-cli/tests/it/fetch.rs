//! `gim data` from end to end, on tiny archives in the published shapes from a local server.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use gim_audio::dataset::corpus::{Corpus, CorpusOptions, Split};
use gim_vision::dataset::{self, DatasetOptions};
use tempfile::TempDir;

use crate::common;
use crate::published::{self, Files, noise, tgz};
use crate::server::{Answer, Server};

/// The program without `--quiet` and without the proxies of this machine.
fn gim(folder: &Path, args: &[&str]) -> Command {
    let mut command = common::gim(folder, &[]);
    let mut loud = Command::new(command.get_program());
    loud.current_dir(folder).args(args).stdin(Stdio::null());
    for (name, _) in command.env_remove("GIM_MIRROR").get_envs() {
        loud.env_remove(name);
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"] {
        loud.env_remove(name).env_remove(name.to_lowercase());
    }
    loud
}

/// Output of the program: exit code, standard output, standard error.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    said(gim(folder, args).output().unwrap())
}

fn said(out: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// A server that has these files, by name.
fn serve(files: Files) -> Server {
    let files: HashMap<String, Arc<Vec<u8>>> = files.into_iter().map(|(name, bytes)| (name, Arc::new(bytes))).collect();
    Server::new(move |_, asked| match files.get(asked.target.trim_start_matches('/')) {
        Some(bytes) => Answer::File { bytes: Arc::clone(bytes), tag: "\"1\"" },
        None => Answer::Status(404),
    })
}

fn fetch<'a>(name: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["data", "fetch", name, "--yes", "--any-checksum", "--tries", "2", "--mirror", url], more].concat()
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// All files below a folder, by path.
fn files_in(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|e| e.unwrap());
    let files = entries.filter(|e| !e.file_type().is_dir());
    files.map(|e| e.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned()).collect()
}

/// Name of a dataset, and what makes its files.
type Dataset = (&'static str, fn() -> Files);

const DATASETS: [Dataset; 9] = [
    ("librispeech-100", published::librispeech),
    ("spoken-digits", published::spoken_digits),
    ("stl10", published::stl10),
    ("cifar10", published::cifar10),
    ("cifar100", published::cifar100),
    ("fashion-mnist", published::fashion_mnist),
    ("imagenette-160", || published::imagenette(160)),
    ("imagenette-320", || published::imagenette(320)),
    ("flowers102", published::flowers102),
];

#[test]
fn every_dataset_is_fetched_once_and_read() {
    for (name, files) in DATASETS {
        let dir = temp();
        let d = dir.path();
        let server = serve(files());
        let url = server.url();
        let (code, out, err) = run(d, &fetch(name, &url, &[]));
        assert_eq!(code, 0, "{name}: {err}");
        let folder = format!("datasets/{name}");
        assert!(out.starts_with("gim train ") && out.contains(&format!("--set data.path={folder}")), "{out}");
        assert!(err.contains("license of ") && err.contains("fetched ") && err.contains("to train"), "{err}");
        assert_eq!(fs::read_dir(d.join("datasets")).unwrap().count(), 1, "{name}: work was left behind");

        let asked = server.asked().len();
        assert_eq!(asked, files().len());
        let before = files_in(&d.join(&folder));
        let (code, again, err) = run(d, &["data", "fetch", name, "--mirror", &url]);
        assert!(code == 0 && err.contains("is there already; nothing was done"), "{err}");
        assert_eq!((again, server.asked().len(), files_in(&d.join(&folder))), (out, asked, before.clone()));

        let (code, out, _) = run(d, &["data", "verify", name]);
        let all = before.len() - 1;
        assert!(code == 0 && out.contains(&format!("{all} of {all} files")), "{out}");
        assert!(out.contains("with another checksum than published"), "{out}");
        let (_, out, _) = run(d, &["data", "list"]);
        assert!(out.contains(&format!("[{folder}]")), "{out}");
    }
}

fn fetched(name: &str, files: Files) -> TempDir {
    let dir = temp();
    let (code, _, err) = run(dir.path(), &fetch(name, &serve(files).url(), &["--out", "x"]));
    assert_eq!(code, 0, "{err}");
    dir
}

#[test]
fn images_are_what_was_published() {
    for (name, files, format, classes, train, test) in [
        ("stl10", published::stl10(), "STL-10", 10, 12, 10),
        ("cifar10", published::cifar10(), "CIFAR-10", 10, 20, 4),
        ("cifar100", published::cifar100(), "CIFAR-100", 100, 100, 4),
        ("imagenette-160", published::imagenette(160), "class folders", 2, 6, 6),
        ("flowers102", published::flowers102(), "class folders", 3, 3, 3),
    ] {
        let dir = fetched(name, files);
        let images = dataset::open(&dir.path().join("x"), &DatasetOptions::default()).unwrap();
        let found = [
            images.classes().len(),
            images.split(dataset::Split::Train).len(),
            images.split(dataset::Split::Test).len(),
        ];
        assert_eq!((images.format(), found), (format, [classes, train, test]), "{name}");
        if name == "flowers102" {
            let want = ["test/001/image_00004.jpg", "test/002/image_00008.jpg", "test/102/image_00003.jpg"];
            let test: Vec<String> = images.split(dataset::Split::Test).iter().map(|&i| images.id(i)).collect();
            assert_eq!(test, want);
        }
    }
    let dir = fetched("fashion-mnist", published::fashion_mnist());
    let images = dataset::open(&dir.path().join("x"), &DatasetOptions::default()).unwrap();
    assert_eq!((images.format(), images.classes()[9].as_str()), ("IDX", "Ankle boot"));
}

#[test]
fn digits_have_speakers_splits_and_labels() {
    let dir = fetched("spoken-digits", published::spoken_digits());
    let corpus = Corpus::open(&dir.path().join("x"), &CorpusOptions::default()).unwrap();
    assert_eq!(corpus.speakers(), ["jackson", "theo"]);
    assert_eq!([corpus.split(Split::Train).len(), corpus.split(Split::Test).len()], [20, 100]);
    let labels = corpus.labels().unwrap();
    assert_eq!((labels.n_classes(), labels.silence()), (10, None));
    // 2,470 samples at 8 kHz are 4,940 at 16 kHz: 29 labels of 400 samples, every 160.
    assert_eq!(labels.get("theo-7-3"), Some(&[7; 29][..]));
    assert!(labels.get("theo-0-5").is_none() && corpus.find("theo-0-5").is_some());
    assert!(!dir.path().join("x/fsdd.py").exists() && dir.path().join("x/README.md").exists());
}

#[test]
fn the_printed_command_trains() {
    let dir = temp();
    let d = dir.path();
    for (name, files) in [("cifar10", published::cifar10()), ("spoken-digits", published::spoken_digits())] {
        let server = serve(files);
        let (_, out, err) = run(d, &fetch(name, &server.url(), &[]));
        assert!(out.starts_with("gim "), "{err}");
        let mut args: Vec<&str> = out.trim_end().split(' ').skip(1).collect();
        args.extend(["--out", name, "--set", "train.steps=2", "--set", "train.batch=4", "--set", "train.log_every=1"]);
        if name == "spoken-digits" {
            args.extend(["--set", "network.width=16", "--set", "network.context=8"]);
        }
        let (code, _, err) = run(d, &args);
        assert!(code == 0 && d.join(name).join("train.csv").is_file(), "{args:?}: {err}");
    }
}

#[test]
fn lists_of_a_corpus_are_added() {
    let dir = temp();
    let d = dir.path();
    let server = serve(published::librispeech());
    let url = server.url();
    let ids = |n: std::ops::Range<u32>| n.map(|i| format!("103-100721-{i:04}\n")).collect::<String>();
    fs::write(d.join("train.txt"), ids(0..3)).unwrap();
    fs::write(d.join("test.txt"), ids(3..5)).unwrap();
    fs::write(d.join("wrong.txt"), "1-2-3\n").unwrap();
    let lists = ["--train-split", "train.txt", "--test-split", "test.txt"];
    // Lists that do not fit stop it before anything is in place.
    let (code, _, err) = run(d, &fetch("librispeech-100", &url, &["--train-split", "wrong.txt"]));
    assert!(code == 2 && err.contains("utterance 1-2-3 is not in the corpus"), "{err}");
    assert!(!d.join("datasets/librispeech-100").exists());
    // The download is not repeated.
    let (code, _, err) = run(d, &fetch("librispeech-100", &url, &lists));
    assert!(code == 0 && server.asked().len() == 1, "{err}");
    let open = || Corpus::open(&d.join("datasets/librispeech-100"), &CorpusOptions::default()).unwrap();
    assert_eq!([open().split(Split::Train).len(), open().split(Split::Test).len()], [3, 2]);
    // They can come, and change, later.
    fs::write(d.join("test.txt"), ids(4..5)).unwrap();
    let (code, _, err) = run(d, &[&["data", "fetch", "librispeech-100"], &lists[2..]].concat());
    assert!(code == 0 && err.contains("added test_split.txt"), "{err}");
    assert_eq!(open().split(Split::Test).len(), 1);
    let (code, _, err) = run(d, &["data", "fetch", "librispeech-100", "--test-split", "wrong.txt"]);
    assert!(code == 2 && open().split(Split::Test).len() == 1, "{err}");
    let (code, out, _) = run(d, &["data", "verify", "librispeech-100"]);
    assert!(code == 0 && out.contains("15 of 15 files"), "{out}");
    let (code, _, err) = run(d, &fetch("stl10", &url, &lists));
    assert!(code == 2 && err.contains("only a corpus of speech"), "{err}");
}

#[test]
fn nothing_is_downloaded_without_consent() {
    let dir = temp();
    let d = dir.path();
    let server = serve(published::cifar10());
    let (code, _, err) = run(d, &["data", "fetch", "cifar10", "--any-checksum", "--mirror", &server.url()]);
    assert!(code == 2 && err.contains("the license is not accepted yet") && err.contains("then say --yes"), "{err}");
    assert!(err.contains("cite the technical report") && err.contains("https://www.cs.toronto.edu/"), "{err}");
    assert!(server.asked().is_empty() && files_in(d).is_empty());
}

#[test]
fn files_of_other_checksums_are_refused() {
    let dir = temp();
    let d = dir.path();
    let server = serve(published::cifar10());
    let args = ["data", "fetch", "cifar10", "--yes"];
    let (code, _, err) = run(d, &fetch("cifar10", "http://me:secret@127.0.0.1:1", &[]));
    assert!(code == 2 && err.contains("--mirror") && !err.contains("secret"), "{err}");
    // By the environment, too.
    let out = gim(d, &args).env("GIM_MIRROR", server.url()).output().unwrap();
    let (code, _, err) = said(out);
    assert!(code == 2 && err.contains("the published one 170052171"), "{err}");
    assert!(server.asked().len() == 1 && !d.join("datasets/cifar10").exists());
}

#[test]
fn hostile_archives_leave_nothing() {
    let raw = |name: &str, kind: tar::EntryType, link: &str| {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, &[][..]).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    };
    use tar::EntryType::{Link, Regular, Symlink};
    // 500 MB of zeros: more than CIFAR-10 could ever be.
    let bomb = tgz(&[("cifar-10-batches-bin/data_batch_1.bin".to_owned(), vec![0; 500_000_000])]);
    assert!(bomb.len() < 5_000_000);
    for (archive, says) in [
        (raw("../../../evil", Regular, ""), "leaves the folder"),
        (raw("/tmp/gim-evil", Regular, ""), "leaves the folder"),
        (raw("cifar-10-batches-bin", Symlink, "/tmp"), "neither a file nor a folder"),
        (raw("hard", Link, "/etc/passwd"), "neither a file nor a folder"),
        (bomb, "holds more than"),
        (noise(10_000, 1), "cannot be unpacked"),
        (tgz(&[("something/else.txt".to_owned(), b"text".to_vec())]), "datasets/cifar10.download"),
    ] {
        let dir = temp();
        let d = dir.path().join("a/b");
        fs::create_dir_all(&d).unwrap();
        let server = serve(vec![("cifar-10-binary.tar.gz".to_owned(), archive)]);
        let (code, _, err) = run(&d, &fetch("cifar10", &server.url(), &[]));
        assert!(code == 2 && err.contains(says), "{err}");
        // The archive is kept for a look; nothing of its content is.
        assert_eq!(files_in(dir.path()), ["a/b/datasets/cifar10.download/cifar-10-binary.tar.gz"]);
    }
    assert!(!Path::new("/tmp/gim-evil").exists());
}

/// A kill while the file comes, and what a kill while it is unpacked leaves.
#[cfg(unix)]
#[test]
fn a_killed_fetch_goes_on() {
    let dir = temp();
    let d = dir.path();
    let [(_, archive)] = &published::cifar10()[..] else { panic!() };
    let archive = Arc::new(archive.clone());
    let bytes = Arc::clone(&archive);
    let server = Server::new(move |n, _| {
        let (bytes, tag) = (Arc::clone(&bytes), "\"1\"");
        if n == 0 { Answer::Stall { bytes, tag, after: 30_000 } } else { Answer::File { bytes, tag } }
    });
    let url = server.url();
    let mut child = gim(d, &fetch("cifar10", &url, &[])).stderr(Stdio::null()).spawn().unwrap();
    let part = d.join("datasets/cifar10.download/cifar-10-binary.tar.gz.part");
    while fs::metadata(&part).map_or(0, |m| m.len()) < 30_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Another call meanwhile is told who is at work.
    let (code, _, err) = run(d, &fetch("cifar10", &url, &[]));
    assert!(code == 2 && err.contains(&format!("in use by process {}", child.id())), "{err}");
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, _, err) = run(d, &fetch("cifar10", &url, &[]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(server.asked()[1].from, Some(30_000));
    let whole = files_in(&d.join("datasets/cifar10"));

    let work = d.join("other.download");
    fs::create_dir_all(work.join("raw/cifar-10-batches-bin")).unwrap();
    fs::create_dir_all(work.join("new")).unwrap();
    fs::write(work.join("raw/cifar-10-batches-bin/data_batch_1.bin"), "half").unwrap();
    fs::write(work.join("new/stale"), "half").unwrap();
    fs::write(work.join("cifar-10-binary.tar.gz"), &*archive).unwrap();
    let asked = server.asked().len();
    let (code, _, err) = run(d, &fetch("cifar10", &url, &["--out", "other"]));
    assert!(code == 0 && server.asked().len() == asked, "{err}");
    assert!(files_in(&d.join("other")) == whole && !work.exists());
}

#[test]
fn changed_files_are_found() {
    let dir = fetched("cifar10", published::cifar10());
    let d = dir.path();
    let file = |name: &str| d.join("x/cifar-10-batches-bin").join(name);
    let mut bytes = fs::read(file("data_batch_2.bin")).unwrap();
    bytes[100] ^= 1;
    fs::write(file("data_batch_2.bin"), &bytes).unwrap();
    fs::write(file("test_batch.bin"), "short").unwrap();
    fs::remove_file(file("readme.html")).unwrap();
    fs::write(file("mine.txt"), "mine").unwrap();
    let (code, out, _) = run(d, &["data", "verify", "x"]);
    assert_eq!(code, 1);
    for part in [
        "data_batch_2.bin: its content has changed",
        "test_batch.bin: it has 5 bytes",
        "readme.html: cannot read",
        "5 of 8 files",
        "mine.txt",
    ] {
        assert!(out.contains(part), "{out} should say {part}");
    }
    let (code, out, _) = run(d, &["data", "verify", "x", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["bad"].as_array().unwrap().len()), (1, 3));
    let (code, _, err) = run(d, &["data", "fetch", "cifar10", "--out", "x", "--yes"]);
    assert!(
        code == 2 && err.contains("readme.html is not there any more") && err.contains("remove the folder"),
        "{err}"
    );
    // Folders that `gim` did not make are left alone.
    fs::create_dir(d.join("mine")).unwrap();
    fs::write(d.join("mine/file"), "mine").unwrap();
    for (args, says) in [
        (&["data", "fetch", "cifar10", "--out", "mine", "--yes"][..], "was not made by"),
        (&["data", "fetch", "stl10", "--out", "x", "--yes"], "holds cifar10, not stl10"),
        (&["data", "verify", "mine"], "no list of files"),
        (&["data", "verify", "absent"], "no such folder"),
    ] {
        let (code, _, err) = run(d, args);
        assert!(code == 2 && err.contains(says), "{err}");
    }
    // A manifest that names files elsewhere is not followed.
    let manifest = d.join("x/gim-data.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("cifar-10-batches-bin/readme.html", "../mine/file")).unwrap();
    let (code, _, err) = run(d, &["data", "verify", "x"]);
    assert!(code == 2 && err.contains("leaves the folder"), "{err}");
}

#[test]
fn proxies_are_used() {
    let dir = temp();
    let d = dir.path();
    let server = serve(published::cifar10());
    let port = server.port;
    let proxy = Server::new(move |_, asked| match asked.method.as_str() {
        "CONNECT" => Answer::Tunnel(port),
        _ => Answer::Status(400),
    });
    let through = |name: &str, value: &str, no: &str, out: &str| {
        let args = fetch("cifar10", "http://data.invalid", &["--out", out]);
        said(gim(d, &args).env(name, value).env("NO_PROXY", no).output().unwrap())
    };
    let url = proxy.url();
    let (code, _, err) = through("HTTP_PROXY", &url, "", "a");
    assert_eq!(code, 0, "{err}");
    assert_eq!(proxy.asked()[0].target, "data.invalid:80");
    assert_eq!(through("all_proxy", &url, "elsewhere.invalid", "b").0, 0);
    let asked = proxy.asked().len();
    for (name, no) in [("HTTP_PROXY", "data.invalid"), ("HTTPS_PROXY", "")] {
        let (code, _, err) = through(name, &url, no, "c");
        assert!(code == 2 && err.contains("data.invalid"), "{err}");
    }
    assert_eq!(proxy.asked().len(), asked);
    let (code, _, err) = through("SSL_CERT_FILE", "absent.pem", "", "c");
    assert!(code == 2 && err.contains("SSL_CERT_FILE=absent.pem: cannot be read"), "{err}");
    let (code, _, err) = through("HTTP_PROXY", "::no proxy::", "", "c");
    assert!(code == 2 && err.contains("the proxy in HTTP_PROXY"), "{err}");
}

#[test]
fn what_is_known_is_said() {
    let dir = temp();
    let d = dir.path();
    let (_, out, _) = run(d, &["data", "list", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, DATASETS.map(|(name, _)| name));
    let (_, list, _) = run(d, &["data", "list"]);
    for name in names {
        assert!(list.contains(name));
        let (_, out, _) = run(d, &["data", "info", name, "--json"]);
        let info: serde_json::Value = serde_json::from_str(&out).unwrap();
        let (_, text, _) = run(d, &["data", "info", name]);
        for file in info["files"].as_array().unwrap() {
            for sum in file["checksums"].as_array().unwrap() {
                let line = format!("{} {}, by", sum["algorithm"].as_str().unwrap(), sum["digest"].as_str().unwrap());
                assert!(text.contains(&line), "{text}");
            }
            assert!(text.contains(file["addresses"][0].as_str().unwrap()) && text.contains(&file["bytes"].to_string()));
        }
        assert!(text.contains("license") && text.contains(info["license"]["terms"].as_str().unwrap()), "{text}");
    }
    let (_, text, _) = run(d, &["data", "info", "librispeech-100"]);
    assert!(text.contains("not checked") && text.contains("--train-split"), "{text}");
    assert_eq!(run(d, &["data", "info", "mnist"]).0, 2);
}
