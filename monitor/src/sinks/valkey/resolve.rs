//! Names to addresses without the C library's name service: a static binary in an image without glibc has none.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use redis::io::AsyncDNSResolver;
use redis::{ErrorKind, RedisError, RedisFuture};

/// How long one question to one server may take.
const TIMEOUT: Duration = Duration::from_millis(700);

/// Looks names up in `/etc/hosts` and with the servers of `/etc/resolv.conf`, read anew each time: both change when a
/// container is attached to a network.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names;

impl AsyncDNSResolver for Names {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = addresses(host).await?;
            Ok(Box::new(found.into_iter().map(move |address| SocketAddr::new(address, port))) as Box<_>)
        })
    }
}

async fn addresses(host: &str) -> Result<Vec<IpAddr>, RedisError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let failed = |error: String| {
        RedisError::from((
            ErrorKind::Client,
            "the name cannot be resolved",
            format!("{host} cannot be resolved: {error}"),
        ))
    };
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let resolver = builder.build().map_err(|error| failed(error.to_string()))?;
    let found = resolver.lookup_ip(host).await.map_err(|error| {
        let unknown = error.is_nx_domain() || error.is_no_records_found();
        failed(if unknown { "no such name".to_owned() } else { error.to_string() })
    })?;
    Ok(found.iter().collect())
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

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_named_in_the_error() {
        let error = addresses("no-such-host.invalid").await.unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }
}
