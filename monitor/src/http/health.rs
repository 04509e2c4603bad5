//! A client of `/healthz`, for health checks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;

/// The timeout of the question: below that of an image's `HEALTHCHECK`.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The most bytes of an answer that are read.
const ANSWER: u64 = 16 << 10;
/// The question. The server closes the connection behind its answer.
const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Asks the server at an address whether its agent is alive.
///
/// # Errors
/// The reason, if the agent is not healthy or does not answer.
pub async fn ask_health(address: &Address) -> Result<(), String> {
    let answer = async {
        match address {
            Address::Tcp(address) => ask(TcpStream::connect(reachable(*address)).await?).await,
            Address::Unix(path) => ask(UnixStream::connect(path).await?).await,
        }
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| format!("no answer in {TIMEOUT:?}"))?;
    judge(&answer.map_err(|error| error.to_string())?)
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.write_all(QUESTION).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The address at which a server that listens on all of them is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn judge(answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(status) => {
            let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
            let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
            Err(detail.map_or_else(|| format!("it answers {status}"), str::to_owned))
        }
        None => Err("it gives no answer of HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_health_or_says_why_not() {
        assert_eq!(judge(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nok\n"), Ok(()));
        let problem = b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"detail\":\"the latest reading is 20 s old\"}";
        assert_eq!(judge(problem), Err("the latest reading is 20 s old".to_owned()));
        assert_eq!(judge(b"HTTP/1.1 404 Not Found\r\n\r\n"), Err("it answers 404".to_owned()));
        assert!(judge(b"").is_err() && judge(b"\xff").is_err());
    }

    #[test]
    fn a_server_on_all_addresses_is_asked_on_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reached("[::]:80"), "[::1]:80");
        assert_eq!(reached("10.0.0.1:80"), "10.0.0.1:80");
    }
}
