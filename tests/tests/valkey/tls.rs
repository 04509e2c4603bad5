//! TLS with an authority and certificates of the test's own.

use std::fs;

use tests::agent::Agent;
use tests::certificates::Certificates;
use tests::skip;
use tests::valkey::Valkey;

use crate::server::{FAST, TIMEOUT, WEB, judged};

#[test]
fn tls_with_a_private_authority_and_a_client_certificate() {
    let Some(made) = Certificates::new() else { skip!("openssl is not installed") };
    let tls = tests::free_port();
    let server = made.server(tls);
    let Some(valkey) = Valkey::start(&server.iter().map(String::as_str).collect::<Vec<_>>()) else {
        skip!("valkey-server is not installed")
    };
    fs::write(made.path("garbage.pem"), "no certificate").unwrap();
    let url = format!("valkeys://127.0.0.1:{tls}");
    let (client, client_key) = (made.text("client.pem"), made.text("client.key"));
    let start = |ca: &str, with_certificate: bool, url: &str| {
        let ca = made.text(ca);
        let mut environment = vec![WEB, ("VALKEY_URL", url), ("VALKEY_TLS_CA", ca.as_str())];
        if with_certificate {
            environment.extend([("VALKEY_TLS_CERT", client.as_str()), ("VALKEY_TLS_KEY", client_key.as_str())]);
        }
        Agent::start(1, FAST, &environment)
    };
    for (ca, with_certificate, words) in [
        ("garbage.pem", true, "garbage.pem holds no certificate"),
        ("other.pem", true, "UnknownIssuer"),
        ("ca.pem", false, "Error storing metrics"),
    ] {
        let mut agent = start(ca, with_certificate, &url);
        assert!(agent.says(words, TIMEOUT), "{ca}: {}", agent.said());
        assert!(agent.is_alive());
        assert!(valkey.keys("system:").is_empty(), "{ca}");
    }
    let agent = start("ca.pem", true, &url.replace("127.0.0.1", "localhost"));
    assert!(agent.says("not valid for name", TIMEOUT), "{}", agent.said());
    drop(agent);
    let agent = start("ca.pem", true, &url);
    judged(&valkey.report("web", TIMEOUT).unwrap_or_else(|| panic!("{}", agent.said())));
}
