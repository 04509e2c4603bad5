//! A name server with configurable answers, in a network namespace of its own.

use std::fs::{self, File};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A network namespace with a loopback interface, whose processes ask the name server in it.
pub struct Names {
    namespace: String,
    /// The addresses of every name; `None` for silence.
    answers: Arc<Mutex<Option<Vec<IpAddr>>>>,
}

impl Names {
    /// `None` if this process may not make namespaces.
    pub fn start(label: &str) -> Option<Self> {
        let namespace = format!("system-monitor-{}-{label}", std::process::id());
        let made = ip(&format!("netns add {namespace}")) && ip(&format!("-n {namespace} link set lo up"));
        if !made {
            return None;
        }
        let names = Self { namespace, answers: Arc::new(Mutex::new(Some(Vec::new()))) };
        // `ip netns exec` puts the files of this directory in the place of those in /etc.
        fs::create_dir_all(names.etc()).ok()?;
        fs::write(format!("{}/resolv.conf", names.etc()), "nameserver 127.0.0.1\n").ok()?;
        let (path, answers) = (format!("/run/netns/{}", names.namespace), Arc::clone(&names.answers));
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let namespace = File::open(path).unwrap();
            // SAFETY: takes a descriptor and a number; only this thread moves.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
            ready.send(()).unwrap();
            serve(&socket, &answers);
        });
        is_ready.recv().ok()?;
        Some(names)
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.namespace
    }

    fn etc(&self) -> String {
        format!("/etc/netns/{}", self.namespace)
    }

    /// Sets the addresses that every name has from now on.
    pub fn mean(&self, addresses: &[&str]) {
        *self.answers.lock().unwrap() = Some(addresses.iter().map(|address| address.parse().unwrap()).collect());
    }

    /// Stops answering.
    pub fn fall_silent(&self) {
        *self.answers.lock().unwrap() = None;
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Starts a server at an address inside.
    pub fn valkey(&self, address: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut command = self.command("valkey-server");
        command.args(["--bind", address, "--port", "6379", "--save", "", "--protected-mode", "no"]);
        let command = command.arg("--dir").arg(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        Server { child: command.spawn().unwrap(), _dir: dir }
    }

    /// The reply of a server inside, as a number; `None` while it does not answer.
    pub fn ask(&self, address: &str, words: &[&str]) -> Option<String> {
        let output = self.command("valkey-cli").args(["-h", address]).args(words).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim().to_owned())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.namespace));
        _ = fs::remove_dir_all(self.etc());
        _ = fs::remove_dir("/etc/netns");
    }
}

/// A server inside, which ends with the test.
pub struct Server {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs `ip`.
pub fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split(' ')).output().is_ok_and(|output| output.status.success())
}

/// Answers questions (RFC 1035, section 4): the header, the question, and one record for each address of the kind asked
/// for.
fn serve(socket: &UdpSocket, answers: &Mutex<Option<Vec<IpAddr>>>) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..length];
        let Some(addresses) = answers.lock().unwrap().clone() else { continue };
        let Some(end) = question.get(12..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else { continue };
        let Some(asked) = question.get(12..12 + end + 5) else { continue };
        let kind = asked[asked.len() - 3];
        let records: Vec<Vec<u8>> = addresses
            .iter()
            .filter_map(|address| match (address, kind) {
                (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
                (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
                _ => None,
            })
            .collect();
        let count = u8::try_from(records.len()).unwrap();
        let mut reply = [&question[..2], &[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0], asked].concat();
        for record in records {
            // The name of the question, its kind and class, a TTL of zero, the address.
            reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, u8::try_from(record.len()).unwrap()]);
            reply.extend(record);
        }
        _ = socket.send_to(&reply, client);
    }
}
