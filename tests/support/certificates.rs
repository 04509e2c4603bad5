//! Certificates made by openssl: two authorities, and the certificates that they have signed for servers and clients.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Configuration of `openssl ca`, which signs for any dates.
const AUTHORITY: &str = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n\
                         policy=p\nunique_subject=no\n[p]\ncommonName=supplied\n";

/// In a directory: authorities `ca` and `other`; from the first, `server` and `client` for this machine's loopback,
/// `expired`, and `elsewhere` for another name; from the second, `foreign`.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// `None` where openssl is not installed.
    pub fn new() -> Option<Self> {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        for (file, text) in [
            ("loopback", "subjectAltName=IP:127.0.0.1\n"),
            ("other-name", "subjectAltName=DNS:elsewhere.test\n"),
            ("authority", AUTHORITY),
            ("index", ""),
            ("serial", "1000\n"),
        ] {
            fs::write(made.path(file), text).unwrap();
        }
        for name in ["ca", "other"] {
            let (subject, key, out) = (format!("/CN={name}"), format!("{name}.key"), format!("{name}.pem"));
            let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject];
            made.openssl(&[&new[..], &["-keyout", &key, "-out", &out]].concat())?;
        }
        let (past, future) = ("20200101000000Z", "20491231235959Z");
        made.sign("server", "ca", "loopback", [past, future])?;
        made.sign("client", "ca", "loopback", [past, future])?;
        made.sign("expired", "ca", "loopback", [past, "20200102000000Z"])?;
        made.sign("elsewhere", "ca", "other-name", [past, future])?;
        made.sign("foreign", "other", "loopback", [past, future])?;
        Some(made)
    }

    fn sign(&self, name: &str, authority: &str, names: &str, [from, to]: [&str; 2]) -> Option<()> {
        let (subject, request) = (format!("/CN={name}"), format!("{name}.csr"));
        let new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-out", &request];
        self.openssl(&[&new[..], &["-keyout", &format!("{name}.key")]].concat())?;
        let by = ["-cert", &format!("{authority}.pem"), "-keyfile", &format!("{authority}.key")];
        let dates = ["-startdate", from, "-enddate", to, "-extfile", names];
        let sign = ["ca", "-batch", "-notext", "-config", "authority", "-in", &request, "-out", &format!("{name}.pem")];
        self.openssl(&[&sign[..], &by, &dates].concat())
    }

    fn openssl(&self, arguments: &[&str]) -> Option<()> {
        let output = Command::new("openssl").args(arguments).current_dir(self.dir.path()).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Options of a server that speaks TLS on a port and requires a certificate from its clients.
    pub fn server(&self, port: u16) -> Vec<String> {
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| self.text(name));
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", cert),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", ca),
            ("--tls-auth-clients", "yes".to_owned()),
        ];
        options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }
}
