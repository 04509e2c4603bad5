//! Checks requests: method, body, host name and token.

use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;

use axum::response::Response;
use hyper::body::Body;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};

use super::problem::Problem;
use crate::secrets;

/// The content security policy: no inline code, nothing of other origins, no embedding in frames.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The shortest token that is accepted, so that none can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The token that a client must send to read anything but the page's own files.
#[derive(Clone)]
pub struct Token(String);

/// Why a file cannot be used as a token.
#[derive(Debug, thiserror::Error)]
#[error("--listen-token-file: {0}")]
pub struct TokenError(String);

impl Token {
    /// Reads the token from a file, without the white space around it.
    ///
    /// # Errors
    /// If the file cannot be read, can be read by others than its owner and group, or holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let bytes = secrets::read(path).map_err(|error| TokenError(error.to_string()))?;
        let text = String::from_utf8_lossy(&bytes);
        let token = text.trim();
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError(format!(
                "{} holds no token: at least {SHORTEST_TOKEN} printable ASCII characters without white space; \
                 for example: head -c 24 /dev/urandom | base64",
                path.display()
            )));
        }
        Ok(Self(token.to_owned()))
    }

    /// Compares in a time that does not depend on the matching part of a guess.
    fn is(&self, guess: &[u8]) -> bool {
        let expected = self.0.as_bytes();
        let differences = expected.iter().zip(guess).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        expected.len() == guess.len() && differences == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Decides which requests are answered.
#[derive(Debug)]
pub(super) struct Guard {
    /// The address on loopback, if that is where the server listens and it is not open: a foreign page may lead a
    /// browser there by a name that points to it (DNS rebinding).
    pub(super) loopback: Option<IpAddr>,
    /// The token.
    pub(super) token: Option<Token>,
}

impl Guard {
    /// Lets a request pass, or returns the reason why not.
    pub(super) fn check<B: Body>(&self, request: &Request<B>) -> Result<(), Problem> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "everything here is only for reading: GET or HEAD",
            ));
        }
        if !request.body().is_end_stream() {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body here"));
        }
        if request.headers().get_all(HOST).iter().count() > 1 {
            return Err(Problem::bad_request("a request has one Host field"));
        }
        // A foreign page does not know the token. Proxies do, and may hand on any name.
        if self.has_token(request.headers()) {
            return Ok(());
        }
        self.host(request)?;
        if is_public(request.uri().path()) { Ok(()) } else { self.token() }
    }

    /// True for a request with the token, where there is one.
    pub(super) fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return false };
        let mut said = headers.get_all(AUTHORIZATION).iter();
        match (said.next(), said.next()) {
            (Some(said), None) => bearer(said.as_bytes()).is_some_and(|said| token.is(said)),
            _ => false,
        }
    }

    fn host<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let Some(own) = self.loopback else { return Ok(()) };
        let field = request.headers().get(HOST).map(HeaderValue::as_bytes);
        let line = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        // A request that names no host does not come from a browser.
        if [field, line].into_iter().flatten().all(|host| is_this_machine(host, own)) {
            return Ok(());
        }
        let detail = format!(
            "this server listens on loopback and answers only to localhost, 127.0.0.1, [::1] and {own}; behind a proxy \
             that hands the name on, start it with --listen-open true (beside --listen-token-file, where the proxy asks \
             for no login), or let the proxy send Host: localhost, or the token"
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
    }

    fn token(&self) -> Result<(), Problem> {
        match self.token {
            None => Ok(()),
            Some(_) => {
                let detail = "send Authorization: Bearer TOKEN, the content of the token file";
                Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
        }
    }
}

/// True for the paths of probes.
pub(super) fn is_probe(path: &str) -> bool {
    ["/healthz", "/readyz"].contains(&path)
}

/// True for paths that need no token: the page's own files hold no data, and probes report the agent's own health
/// alone.
fn is_public(path: &str) -> bool {
    path == "/" || is_probe(path) || path.starts_with("/assets/")
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn is_this_machine(host: &[u8], own: IpAddr) -> bool {
    let name = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    };
    let address = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
    let is_own = std::str::from_utf8(address).ok().and_then(|text| text.parse().ok()) == Some(own);
    // With a dot at its end a name is absolute.
    is_own
        || name == b"localhost."
        || [&b"localhost"[..], b"127.0.0.1", b"[::1]"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Adds the security headers of every answer.
pub(super) fn harden(response: &mut Response) {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse;

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn guard(loopback: bool, token: Option<&str>) -> Guard {
        Guard {
            loopback: loopback.then_some("127.0.0.5".parse().unwrap()),
            token: token.map(|token| Token(token.to_owned())),
        }
    }

    fn code(problem: &Problem) -> u16 {
        problem.clone().into_response().status().as_u16()
    }

    fn status(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> u16 {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let checked = guard.check(&request.body(Body::empty()).unwrap());
        checked.map_or_else(|problem| code(&problem), |()| 200)
    }

    #[test]
    fn on_loopback_only_this_machines_names_are_answered() {
        let guard = guard(true, None);
        for host in ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1:1", "127.0.0.5:80", "[::1]", "[::1]:8080"]
        {
            assert_eq!(status(&guard, "/", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "", "192.0.2.1", "localhost:"]
        {
            let expected = if host == "localhost:" { 200 } else { 421 };
            assert_eq!(status(&guard, "/", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&guard, "http://evil.example/", &[]), 421, "the name in the request's line");
        assert_eq!(status(&guard, "http://evil.example/", &[("host", "localhost")]), 421, "either of them");
        assert_eq!(status(&guard, "/", &[("host", "localhost"), ("host", "localhost")]), 400, "two fields");
        assert_eq!(status(&guard, "/", &[("host", "127.0.0.6")]), 421);
        assert_eq!(status(&guard, "/", &[]), 200);
        assert_eq!(status(&self::guard(false, None), "/", &[("host", "monitor.example")]), 200);
    }

    #[test]
    fn with_a_token_all_but_the_page_and_the_probes_takes_it() {
        let guard = guard(false, Some("0123456789abcdef"));
        for path in ["/", "/assets/app.js", "/healthz", "/readyz"] {
            assert_eq!(status(&guard, path, &[]), 200, "{path}");
        }
        for path in ["/metrics", "/api/v1/containers", "/api/v1/stream", "/assets", "//", "/healthz/"] {
            assert_eq!(status(&guard, path, &[]), 401, "{path}");
            for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
                assert_eq!(status(&guard, path, &[("authorization", right)]), 200, "{path}");
            }
            for wrong in [
                "0123456789abcdef",
                "Bearer",
                "Bearer ",
                "Bearer 0123456789abcde",
                "Bearer 0123456789abcdeff",
                "Basic 0123456789abcdef",
            ] {
                assert_eq!(status(&guard, path, &[("authorization", wrong)]), 401, "{wrong}");
            }
        }
    }

    #[test]
    fn a_request_with_the_token_may_come_by_any_name() {
        let guard = guard(true, Some("0123456789abcdef"));
        let (host, token) = (("host", "monitor.example"), ("authorization", "Bearer 0123456789abcdef"));
        assert_eq!(status(&guard, "/metrics", &[host, token]), 200);
        assert_eq!(status(&guard, "/metrics", &[host]), 421);
        assert_eq!(status(&guard, "/", &[host]), 421);
        let open = self::guard(false, Some("0123456789abcdef"));
        assert_eq!((status(&open, "/", &[host]), status(&open, "/metrics", &[host])), (200, 401), "--listen-open");
        assert_eq!(status(&guard, "/metrics", &[token, ("authorization", "Bearer wrong")]), 401, "two logins");
    }

    #[test]
    fn nothing_is_written_and_no_body_is_read() {
        let guard = guard(true, None);
        let post = Request::post("/").body(Body::empty()).unwrap();
        assert_eq!(code(&guard.check(&post).unwrap_err()), 405);
        let full = Request::get("/").body(Body::from("a=b")).unwrap();
        assert_eq!(code(&guard.check(&full).unwrap_err()), 413);
    }

    #[test]
    fn a_token_is_not_taken_from_a_file_that_everybody_reads_nor_from_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path).map_err(|error| error.to_string())
        };
        assert!(read("0123456789abcdef\n", 0o640).unwrap().is(b"0123456789abcdef"));
        assert!(read("0123456789abcdef\n", 0o644).unwrap_err().contains("chmod o="));
        assert!(read("short", 0o600).unwrap_err().contains("at least 16"));
        assert!(read("0123456789 abcdef", 0o600).unwrap_err().contains("at least 16"));
        assert!(Token::read(&dir.path().join("gone")).unwrap_err().to_string().contains("cannot be read"));
        assert!(!format!("{:?}", read("0123456789abcdef", 0o600)).contains("0123"), "debug output shows no token");
    }
}
