//! A TCP proxy that injects faults on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Treatment of the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// They are dropped, and a connection that has been in this mode never passes bytes again.
    Hold,
    /// Connections are reset.
    Reset,
    /// Requests pass; instead of answers the client gets the end of the stream.
    HalfClose,
    /// They pass at this number of bytes per second.
    Slow(usize),
    /// This number of bytes of each answer passes, then the connection is closed.
    CutAnswers(usize),
    /// This number of the client's bytes passes, then the connection is closed without an answer.
    CutQuestions(usize),
    /// The client gets other bytes than the server has sent.
    Garble,
}

struct State {
    mode: Mutex<Mode>,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running proxy.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts in front of a port of this machine.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { mode: Mutex::new(Mode::Pass), ended: false.into(), streams: Mutex::default() });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                shared.streams.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                for (from, to, is_answer) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to, state) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&shared));
                    std::thread::spawn(move || carry(from, to, is_answer, &state));
                }
            }
        });
        Self { port, state }
    }

    /// Sets the mode from now on.
    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        if mode == Mode::Reset {
            for stream in self.state.streams.lock().unwrap().drain(..) {
                reset(&stream);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        for stream in self.state.streams.lock().unwrap().drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the listener.
        _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Copies bytes in one direction until either side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, is_answer: bool, state: &State) {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let mode = *state.mode.lock().unwrap();
        let bytes = &mut buffer[..read];
        if read == 0 {
            break;
        }
        let written = match mode {
            Mode::Pass => to.write_all(bytes),
            Mode::Slow(rate) => slowly(&mut to, bytes, rate, state),
            Mode::Garble if is_answer => {
                bytes.fill(b'~');
                to.write_all(bytes)
            }
            Mode::HalfClose if is_answer => to.shutdown(Shutdown::Write),
            Mode::CutAnswers(most) if is_answer => cut(&mut to, bytes, most),
            Mode::CutQuestions(most) if !is_answer => cut(&mut to, bytes, most),
            Mode::Garble | Mode::HalfClose | Mode::CutAnswers(_) => to.write_all(bytes),
            // An answer to the bytes that passed is lost with the connection.
            Mode::CutQuestions(_) => Err(std::io::ErrorKind::BrokenPipe.into()),
            Mode::Hold => {
                _ = std::io::copy(&mut from, &mut std::io::sink());
                break;
            }
            Mode::Reset => {
                reset(&from);
                reset(&to);
                return;
            }
        };
        if written.is_err() {
            break;
        }
    }
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}

fn cut(to: &mut TcpStream, bytes: &[u8], most: usize) -> std::io::Result<()> {
    to.write_all(&bytes[..most.min(bytes.len())])?;
    std::thread::sleep(Duration::from_millis(20));
    Err(std::io::ErrorKind::BrokenPipe.into())
}

/// Writes in pieces of a tenth of a second. When the link is fast again, the rest goes at once.
fn slowly(to: &mut TcpStream, bytes: &[u8], rate: usize, state: &State) -> std::io::Result<()> {
    for piece in bytes.chunks((rate / 10).max(1)) {
        to.write_all(piece)?;
        if *state.mode.lock().unwrap() == Mode::Slow(rate) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Ends a connection so that the peer gets a reset.
fn reset(stream: &TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open and the option's value is of the type and size that socket(7) names.
    unsafe {
        let size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, std::ptr::from_ref(&now).cast(), size);
        libc::shutdown(stream.as_raw_fd(), libc::SHUT_RD);
    }
    _ = stream.shutdown(Shutdown::Both);
}
