//! Resolves names without the C library's name service, which a static binary in an image without glibc does not have.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::fault::Fault;
use crate::foreign;

/// Longest `/etc/hosts`.
const LONGEST: usize = 4 << 20;
/// Timeout of one question to one server.
const TIMEOUT: Duration = Duration::from_millis(700);
/// Timeout of all questions: shorter than that of the connection, so that the message names the one that failed.
const DEADLINE: Duration = Duration::from_millis(1800);

/// Looks a name up in `/etc/hosts` and with the servers of `/etc/resolv.conf`, read anew each time: both change when a
/// container is attached to a network.
///
/// In a task of its own: the resolver panics where there is no source of random numbers, as in a root without
/// /dev/random, and must not take the sink with it.
pub(super) async fn found(host: &str) -> Result<Vec<IpAddr>, Fault> {
    let name = host.to_owned();
    let found = tokio::spawn(async move { addresses(&name).await }).await;
    found.unwrap_or_else(|_| Err(unresolved(host, "the resolver has failed; is there a /dev/random?")))
}

/// The addresses of a name.
///
/// # Errors
/// When no server knows the name, or none answers.
pub(crate) async fn addresses(host: &str) -> Result<Vec<IpAddr>, Fault> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // The file comes first, for both kinds of addresses at once. No server is asked for the kind that the file lacks:
    // the server may be out of reach of a container whose names are all in the file.
    let hosts = foreign::read(Path::new("/etc/hosts"), LONGEST).unwrap_or_default();
    let known = in_hosts(&String::from_utf8_lossy(&hosts), host);
    if !known.is_empty() {
        return Ok(known);
    }
    let failed = |error: String| unresolved(host, &error);
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.attempts = 2;
    // One after the other: some servers stay silent when they are asked for IPv6 addresses.
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    let resolver = builder.build().map_err(|error| failed(error.to_string()))?;
    let found = match tokio::time::timeout(DEADLINE, resolver.lookup_ip(host)).await {
        Ok(found) => found,
        Err(_) => return Err(failed("no name server answers".to_owned())),
    };
    let found = found.map_err(|error| {
        let unknown = error.is_nx_domain() || error.is_no_records_found();
        failed(if unknown { "no such name".to_owned() } else { error.to_string() })
    })?;
    Ok(found.iter().collect())
}

fn unresolved(host: &str, why: &str) -> Fault {
    Fault::new(format!("{host} cannot be resolved: {why}"))
}

/// The addresses of a name in a hosts file (`hosts(5)`).
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_resolver() {
        assert_eq!(addresses("127.0.0.1").await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("::1").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn names_of_the_hosts_file_are_found() {
        let found = addresses("localhost").await.unwrap();
        assert!(found.iter().all(|address: &IpAddr| address.is_loopback()) && !found.is_empty());
    }

    #[test]
    fn a_hosts_file_gives_all_addresses_of_a_name_and_of_its_aliases() {
        let text = "127.0.0.1 localhost\n# 10.0.0.9 store\n10.0.0.1\tstore store.test # 10.0.0.8 other\n\
                    nonsense store\nfd00::1 STORE\n10.0.0.2";
        let addresses = |host| in_hosts(text, host).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("store"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(addresses("Store.test."), ["10.0.0.1"]);
        assert!(addresses("other").is_empty() && addresses("stor").is_empty() && addresses("10.0.0.2").is_empty());
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_named_in_the_error() {
        let error = addresses("no-such-host.invalid").await.unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }
}
