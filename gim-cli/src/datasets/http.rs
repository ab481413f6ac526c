//! One request for a file, or for the rest of it: redirects, proxies and timeouts.
//!
//! Redirects are followed here, not by the library: none may leave HTTP, or go from HTTPS to HTTP.

use std::env;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::Uri;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error, Proxy};

const MOST_REDIRECTS: usize = 10;

/// What is asked of a server.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) address: &'a str,
    /// The first byte that is wanted.
    pub(super) from: u64,
    /// The state of the file that the bytes before `from` are of, as the server named it.
    pub(super) validator: Option<&'a str>,
    /// The connection is broken when nothing arrives for so long.
    pub(super) timeout: Duration,
}

/// A file on its way.
pub(super) struct Answer {
    /// Its first byte. Servers that know no ranges send from 0.
    pub(super) start: u64,
    /// Length of the whole file, where the server says it.
    pub(super) total: Option<u64>,
    /// The server's name for the state of the file.
    pub(super) validator: Option<String>,
    pub(super) body: Box<dyn Read>,
}

/// Why there is no file, or no more of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again may help.
    Passing(String),
    /// Trying this address again will not help.
    Lasting(String),
    /// The file ends before the first byte that was asked for. Its length, where the server says it.
    PastEnd(Option<u64>),
    /// Nothing to do with the server, such as a full disk.
    Own(gim_core::Error),
}

/// The outcome of talking to a server.
pub(super) type Reply<T> = Result<T, Failure>;

/// Asks for a file.
pub(super) fn get(request: &Request<'_>) -> Reply<Answer> {
    let mut uri = parse(request.address)?;
    for _ in 0..=MOST_REDIRECTS {
        let response = send(&uri, request)?;
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let Some(location) = header(&response, LOCATION) else {
                return Err(Failure::Lasting(format!("the server answers {status} without a new address")));
            };
            uri = resolve(&uri, location)?;
            continue;
        }
        return answer(response);
    }
    Err(Failure::Lasting(format!("more than {MOST_REDIRECTS} redirects: they go in circles")))
}

fn parse(address: &str) -> Reply<Uri> {
    let uri: Uri = address.parse().map_err(|e| Failure::Lasting(format!("`{address}` is not an address: {e}")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(Failure::Lasting(format!("`{address}` is not an address of http or https"))),
    }
}

/// The address that a redirect leads to.
fn resolve(from: &Uri, location: &str) -> Reply<Uri> {
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map_or("", |a| a.as_str());
    let first = location.find(['/', '?', '#']).unwrap_or(location.len());
    let location = location.split('#').next().unwrap_or_default();
    let whole = if location[..first].contains(':') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let path = from.path();
        let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
        format!("{scheme}://{authority}{folder}{location}")
    };
    let to =
        parse(&whole).map_err(|_| Failure::Lasting(format!("it redirects to `{whole}`, which is not followed")))?;
    if scheme == "https" && to.scheme_str() != Some("https") {
        return Err(Failure::Lasting(format!("it redirects from https to `{whole}`, which is not followed")));
    }
    Ok(to)
}

fn send(uri: &Uri, request: &Request<'_>) -> Reply<Response<Body>> {
    let limit = Some(request.timeout);
    let agent: Agent = Agent::config_builder()
        .proxy(proxy_for(uri)?)
        .tls_config(TlsConfig::builder().root_certs(authorities()?).build())
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("gim/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(limit)
        .timeout_connect(limit)
        .timeout_recv_response(limit)
        .timeout_per_read(limit)
        .build()
        .into();
    let mut call = agent.get(uri);
    if request.from > 0 {
        call = call.header(RANGE, format!("bytes={}-", request.from));
        if let Some(validator) = request.validator {
            call = call.header(IF_RANGE, validator);
        }
    }
    call.call().map_err(|e| match e {
        Error::ConnectProxyFailed(_) => Failure::Lasting(format!("the proxy makes no connection: {e}")),
        Error::BadUri(_) | Error::HostNotFound | Error::InvalidProxyUrl | Error::Tls(_) | Error::Rustls(_) => {
            Failure::Lasting(e.to_string())
        }
        // So certificates that are not trusted are told.
        Error::Io(e) if e.kind() == ErrorKind::InvalidData => Failure::Lasting(format!(
            "{e} (where a proxy has certificates of its own, SSL_CERT_FILE names the file of its authority)"
        )),
        e => Failure::Passing(e.to_string()),
    })
}

fn answer(response: Response<Body>) -> Reply<Answer> {
    let status = response.status();
    let range = header(&response, CONTENT_RANGE).and_then(content_range);
    let (start, total) = match status {
        StatusCode::OK => (0, header(&response, CONTENT_LENGTH).and_then(|n| n.parse().ok())),
        StatusCode::PARTIAL_CONTENT => match range {
            Some((Some(start), total)) => (start, total),
            _ => return Err(Failure::Lasting("it sends a part of the file and does not say which".to_owned())),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(Failure::PastEnd(range.and_then(|(_, total)| total))),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::Passing(format!("the server answers {status}")));
        }
        status => return Err(Failure::Lasting(format!("the server answers {status}"))),
    };
    // A weak tag does not say that the bytes are the same.
    let tag = header(&response, ETAG).filter(|tag| !tag.starts_with("W/"));
    let validator = tag.or_else(|| header(&response, LAST_MODIFIED)).map(str::to_owned);
    Ok(Answer { start, total, validator, body: Box::new(response.into_body().into_reader()) })
}

fn header(response: &Response<Body>, name: HeaderName) -> Option<&str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// First byte and whole length of `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`.
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}

/// The proxy for an address, by the usual environment variables: `HTTPS_PROXY` or `HTTP_PROXY`, else
/// `ALL_PROXY`, and none for this machine and the hosts in `NO_PROXY`. Lower case counts before upper
/// case.
fn proxy_for(uri: &Uri) -> Reply<Option<Proxy>> {
    let set = |name: &str| {
        let value = |name: String| env::var(name).ok().filter(|v| !v.trim().is_empty());
        value(name.to_lowercase()).or_else(|| value(name.to_owned()))
    };
    let own = if uri.scheme_str() == Some("https") { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let Some(proxy) = set(own).or_else(|| set("ALL_PROXY")) else { return Ok(None) };
    let host = uri.host().unwrap_or_default();
    if is_this_machine(host) || set("NO_PROXY").is_some_and(|list| is_exempt(host, &list)) {
        return Ok(None);
    }
    // The value may hold a password, so it is not shown.
    let wrong = |e| Failure::Lasting(format!("the proxy in {own} or ALL_PROXY cannot be used: {e}"));
    Proxy::new(proxy.trim()).map(Some).map_err(wrong)
}

/// The authorities that servers' certificates may be of: those in the file that `SSL_CERT_FILE` names,
/// as networks with a certificate of their own need it, else Mozilla's.
fn authorities() -> Reply<RootCerts> {
    let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let wrong = |what: String| Failure::Lasting(format!("SSL_CERT_FILE={}: {what}", path.display()));
    let pem = fs::read(&path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let certificate = |item| if let Ok(PemItem::Certificate(one)) = item { Some(one) } else { None };
    let all: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if all.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&all))
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a host is in a list such as `localhost, .example.org, 10.0.0.1`. An entry stands for its
/// subdomains, too; `*` for all hosts.
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_lowercase();
    list.split(',').map(|entry| entry.trim().to_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        let name = entry.trim_start_matches('*').trim_start_matches('.').trim_matches(['[', ']']);
        entry == "*" || (!name.is_empty() && (host == name || host.ends_with(&format!(".{name}"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_within_http() {
        let go = |from: &str, to: &str| resolve(&from.parse().unwrap(), to).map(|uri| uri.to_string());
        let from = "https://a.org/x/y.tgz?z=1";
        for (to, want) in [
            ("https://b.org/z", "https://b.org/z"),
            ("//b.org/z", "https://b.org/z"),
            ("/z", "https://a.org/z"),
            ("z?t=a:b", "https://a.org/x/z?t=a:b"),
            ("/z#part", "https://a.org/z"),
        ] {
            assert_eq!(go(from, to).unwrap(), want);
        }
        for to in ["http://a.org/z", "file:///etc/passwd", "ftp://b.org/z", "data:,x", "https:///z"] {
            assert!(matches!(go(from, to), Err(Failure::Lasting(_))), "{to}");
        }
        assert_eq!(go("http://a.org/x", "https://a.org/x").unwrap(), "https://a.org/x");
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(content_range("bytes */10"), Some((None, Some(10))));
        assert_eq!(content_range("items 5-9/10"), None);
    }

    #[test]
    fn hosts_are_exempt_from_the_proxy() {
        let list = "localhost, 10.0.0.1,.example.org,*.gov, sub.net";
        for host in
            ["localhost", "LOCALHOST", "10.0.0.1", "example.org", "a.example.org", "x.gov", "sub.net", "a.sub.net"]
        {
            assert!(is_exempt(host, list), "{host}");
        }
        for host in ["notlocalhost", "10.0.0.10", "example.org.evil", "badexample.org", "net"] {
            assert!(!is_exempt(host, list), "{host}");
        }
        assert!(["localhost", "127.0.0.1", "127.1.2.3", "[::1]"].into_iter().all(is_this_machine));
        assert!(!["localhost.org", "128.0.0.1", "[::2]", ""].into_iter().any(is_this_machine));
        assert!(is_exempt("a", "*") && !is_exempt("a", "") && !is_exempt("a", ",."));
    }
}
