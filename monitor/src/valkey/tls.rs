//! TLS: which certificates are trusted and shown, and what a refusal means.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::Fault;
use super::options::TlsOptions;
use crate::foreign;
use crate::secrets;

/// Longest file of certificates.
const LONGEST: usize = 4 << 20;
/// Error of rustls for a certificate of X.509 version 1, which OpenSSL makes if it is asked for no extension.
const VERSION_1: &str = "UnsupportedCertVersion";
/// Remedy: a certificate of version 3.
const VERSION_3: &str =
    "is of X.509 version 1, without extensions; make it with extensions (openssl x509 -req -extfile …)";

/// Reads the certificates. They are read at each connect, because they are renewed.
pub(super) fn connector(options: &TlsOptions) -> Result<TlsConnector, Fault> {
    let config = ClientConfig::builder().with_root_certificates(authorities(options.ca.as_deref())?);
    let config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => config
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|error| unusable(cert, &error))?,
        (None, None) => config.with_no_client_auth(),
        _ => return Err(Fault::new("VALKEY_TLS_CERT and VALKEY_TLS_KEY belong together")),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Begins TLS on a connection.
pub(super) async fn wrap(tls: &TlsConnector, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Fault::new(format!("{host} is no name that a certificate can have")))?;
    tls.connect(name, stream).await.map_err(|error| refused(&error))
}

/// The authorities in a file, or the system's.
fn authorities(ca: Option<&Path>) -> Result<RootCertStore, Fault> {
    let mut trusted = RootCertStore::empty();
    match ca {
        Some(ca) => {
            for authority in certificates(ca)? {
                trusted.add(authority).map_err(|error| unusable(ca, &error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            trusted.add_parsable_certificates(found.certs);
            if trusted.is_empty() {
                let why = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
                return Err(Fault::new(format!("this system's certificate authorities: {why}; set VALKEY_TLS_CA")));
            }
        }
    }
    Ok(trusted)
}

/// The certificates in a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = foreign::read(path, LONGEST).map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(Fault::new(format!("{} holds no certificate in PEM form", path.display())));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let pem = secrets::read(path).map_err(|error| Fault::new(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| Fault::new(format!("{} holds no private key in PEM form", path.display())))
}

/// A file whose certificate cannot be used.
fn unusable(path: &Path, error: &Error) -> Fault {
    let text = error.to_string();
    let why = if text.contains(VERSION_1) { VERSION_3.to_owned() } else { format!("cannot be used: {text}") };
    Fault::new(format!("the certificate in {} {why}", path.display()))
}

/// Returns the reason for which the TLS handshake failed, with the remedy.
fn refused(error: &io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => Fault::new(words(error)),
        None => Fault::from(error),
    }
}

fn words(error: &Error) -> String {
    let text = error.to_string();
    let remedy = match error {
        Error::InvalidCertificate(certificate) => {
            return format!("the server's certificate {}", of_certificate(certificate));
        }
        Error::InvalidMessage(_) => "the port speaks no TLS; write valkey:// for a server without it",
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            "the server wants a client certificate; set VALKEY_TLS_CERT and VALKEY_TLS_KEY"
        }
        _ => return format!("TLS: {text}"),
    };
    format!("TLS: {text} ({remedy})")
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "is of an authority that is not trusted (UnknownIssuer); give that authority's file to VALKEY_TLS_CA"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("has expired ({error}); renew it, or correct this machine's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("is not valid yet ({error}); wait, or correct this machine's clock")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "is refused: {error}; connect by a name of its subjectAltName, or add the name there (a common name does not count)"
            )
        }
        _ if format!("{error:?}").contains(VERSION_1) => VERSION_3.to_owned(),
        _ if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "is the one of an authority (basicConstraints CA:TRUE); make the server's own with CA:FALSE".to_owned()
        }
        _ => format!("is refused: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, "garbage").unwrap();
        let mut options = TlsOptions { ca: Some(ca.clone()), ..TlsOptions::default() };
        assert!(connector(&options).err().unwrap().text.contains("ca.pem holds no certificate"));
        options.ca = None;
        options.cert = Some(ca.clone());
        options.key = Some("/nonexistent".into());
        assert!(connector(&options).err().unwrap().text.contains("ca.pem holds no certificate"));
    }

    #[test]
    fn refusals_are_told_with_the_remedy() {
        let version = CertificateError::Other(rustls::OtherError(Arc::new(io::Error::other("UnsupportedCertVersion"))));
        for (error, remedy) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "VALKEY_TLS_CA"),
            (Error::InvalidCertificate(CertificateError::Expired), "expired ("),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "subjectAltName"),
            (Error::InvalidCertificate(version), "-extfile"),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "valkey://"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "VALKEY_TLS_CERT"),
        ] {
            let fault = refused(&io::Error::new(io::ErrorKind::InvalidData, error));
            assert!(fault.text.contains(remedy), "{fault}");
        }
    }
}
