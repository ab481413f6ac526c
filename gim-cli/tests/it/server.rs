//! A small HTTP server on the loopback interface, which may misbehave. Unit tests of downloads use it,
//! too.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path, or host and port of a CONNECT.
    pub(crate) target: String,
    /// First byte of the range.
    pub(crate) from: Option<usize>,
    pub(crate) if_range: Option<String>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A file; ranges are given, and `tag` names its state.
    File { bytes: Arc<Vec<u8>>, tag: &'static str },
    /// The same, but the connection ends after so many bytes of the body.
    Cut { bytes: Arc<Vec<u8>>, tag: &'static str, after: usize },
    /// The same, but nothing comes after so many bytes until the server is dropped.
    Stall { bytes: Arc<Vec<u8>>, tag: &'static str, after: usize },
    /// The whole file, whatever was asked; cut after so many bytes.
    Whole { bytes: Arc<Vec<u8>>, after: usize },
    /// These bytes, head and all.
    Raw(Vec<u8>),
    /// A redirect.
    To(String),
    /// Nothing but a status.
    Status(u16),
    /// A tunnel to another port of this machine, for a CONNECT.
    Tunnel(u16),
}

/// The server, until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Stalled connections are kept here.
    _held: Receiver<TcpStream>,
}

impl Server {
    /// Answers each request by `answer`, which also gets the number of requests before it.
    pub(crate) fn new(mut answer: impl FnMut(usize, &Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (hold, _held) = channel();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = read(&stream) else { continue };
                let n = log.lock().unwrap().len();
                log.lock().unwrap().push(request.clone());
                // A client that has gone is what some tests want.
                let _ = send(stream, &request, answer(n, &request), &hold);
            }
        });
        Self { port, asked, _held }
    }

    /// One file for all requests.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self::new(move |_, _| Answer::File { bytes: Arc::clone(&bytes), tag: "\"1\"" })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut asked = Asked { method, target, from: None, if_range: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        match name.to_lowercase().as_str() {
            "range" => asked.from = value.trim().strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok(),
            "if-range" => asked.if_range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(asked)
}

fn send(mut out: TcpStream, asked: &Asked, answer: Answer, hold: &Sender<TcpStream>) -> std::io::Result<()> {
    let head = |from: usize, total: usize, tag: &str| {
        let range = format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}", total - 1);
        let first = if from == 0 { "HTTP/1.1 200 OK".to_owned() } else { range };
        format!("{first}\r\nContent-Length: {}\r\nETag: {tag}\r\nConnection: close\r\n\r\n", total - from)
    };
    let (bytes, tag, after, stall) = match answer {
        Answer::File { bytes, tag } => (bytes, tag, usize::MAX, false),
        Answer::Cut { bytes, tag, after } => (bytes, tag, after, false),
        Answer::Stall { bytes, tag, after } => (bytes, tag, after, true),
        Answer::Whole { bytes, after } => {
            out.write_all(head(0, bytes.len(), "\"0\"").as_bytes())?;
            return out.write_all(&bytes[..after.min(bytes.len())]);
        }
        Answer::Raw(bytes) => return out.write_all(&bytes),
        Answer::To(address) => {
            let text =
                format!("HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return out.write_all(text.as_bytes());
        }
        Answer::Status(code) => {
            let text = format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return out.write_all(text.as_bytes());
        }
        Answer::Tunnel(port) => return tunnel(out, port),
    };
    // A range of another state of the file is not given.
    let same = asked.if_range.as_deref().is_none_or(|state| state == tag);
    let from = asked.from.filter(|_| same).unwrap_or(0);
    if from > 0 && from >= bytes.len() {
        let total = bytes.len();
        let text = format!("HTTP/1.1 416 X\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n");
        return out.write_all(text.as_bytes());
    }
    out.write_all(head(from, bytes.len(), tag).as_bytes())?;
    let end = bytes.len().min(from.saturating_add(after));
    out.write_all(&bytes[from..end])?;
    if stall {
        let _ = hold.send(out);
    }
    Ok(())
}

fn tunnel(mut client: TcpStream, port: u16) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut up, &mut server));
    std::io::copy(&mut down, &mut client).map(drop)
}
