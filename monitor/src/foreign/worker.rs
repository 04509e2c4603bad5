//! A thread for questions that may never be answered.
//!
//! A file system that is served by a process, or by a machine that is away, can keep a system call for ever, and the
//! kernel may not let such a thread die. Nobody waits for it longer than agreed: it is given up, and another one takes
//! its place.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::mutex::lock;

/// Most threads of one kind that hang at the same time; no further question is asked before one of them returns.
const MOST_GIVEN_UP: usize = 16;
/// Room for the calls of a walk.
const STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that can be given up.
#[derive(Debug)]
pub struct Worker {
    name: &'static str,
    prepare: fn(),
    jobs: Option<Sender<Job>>,
    /// One clone for each thread that is given up and has not returned.
    given_up: Arc<()>,
}

/// Tells the asker that the worker is still alive.
#[derive(Debug)]
pub struct Pulse<T>(Sender<Option<T>>);

impl<T> Pulse<T> {
    /// Extends the time for the answer. False if nobody waits for it any more.
    pub fn beat(&self) -> bool {
        self.0.send(None).is_ok()
    }
}

impl Worker {
    /// Creates a worker; its thread starts with the first question. `prepare` runs first in each thread.
    pub fn new(name: &'static str, prepare: fn()) -> Self {
        Self { name, prepare, jobs: None, given_up: Arc::default() }
    }

    /// Asks a question and waits until nothing was heard of it for `timeout`.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if it does not answer; [`io::ErrorKind::ResourceBusy`] if too many others do not;
    /// that of the thread, if none can start.
    pub fn ask<T: Send + 'static>(
        &mut self,
        timeout: Duration,
        question: impl FnOnce(&Pulse<T>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = mpsc::channel();
        let pulse = Pulse(tell);
        let given_up = Arc::new(Mutex::new(None));
        let mark = Arc::clone(&given_up);
        let job = Box::new(move || {
            let answer = question(&pulse);
            // Nobody may be there to hear it.
            _ = pulse.0.send(Some(answer));
            // The thread counts as given up until the asker and the job have both dropped the mark.
            drop(mark);
        });
        self.thread()?.send(job).map_err(|_| io::Error::other("its thread has ended"))?;
        let answer = await_answer(&told, timeout);
        if answer.is_err() {
            *lock(&given_up) = Some(Arc::clone(&self.given_up));
            self.jobs = None;
        }
        answer
    }

    /// True if a thread that was given up has not returned.
    pub fn has_given_up(&self) -> bool {
        Arc::strong_count(&self.given_up) > 1
    }

    fn thread(&mut self) -> io::Result<&Sender<Job>> {
        if Arc::strong_count(&self.given_up) > MOST_GIVEN_UP {
            let text = format!("not asked while {MOST_GIVEN_UP} others do not answer");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        if self.jobs.is_none() {
            let (jobs, asked) = mpsc::channel::<Job>();
            let prepare = self.prepare;
            let thread = thread::Builder::new().name(self.name.to_owned()).stack_size(STACK);
            thread.spawn(move || {
                prepare();
                asked.into_iter().for_each(|job| job());
            })?;
            self.jobs = Some(jobs);
        }
        self.jobs.as_ref().ok_or_else(|| io::Error::other("no thread"))
    }
}

fn await_answer<T>(told: &Receiver<Option<T>>, timeout: Duration) -> io::Result<T> {
    loop {
        match told.recv_timeout(timeout) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let text = format!("does not answer within {} s", timeout.as_secs_f32());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(io::Error::other("a bug; please report it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    fn worker() -> Worker {
        Worker::new("test", || {})
    }

    #[test]
    fn questions_are_answered_by_one_thread() {
        let mut worker = worker();
        let mut ask = || worker.ask(LONG, |_| thread::current().id()).unwrap();
        assert_eq!(ask(), ask());
    }

    #[test]
    fn what_does_not_answer_is_given_up_and_the_next_question_is_answered() {
        let mut worker = worker();
        let (hold, held) = mpsc::channel::<()>();
        let error = worker.ask(SHORT, move |_| held.recv().is_ok()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("does not answer")), (io::ErrorKind::TimedOut, true));
        assert!(worker.has_given_up());
        assert_eq!(worker.ask(LONG, |_| 7).unwrap(), 7);
        drop(hold);
        while worker.has_given_up() {
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_heard_of_is_not_given_up_and_learns_when_nobody_waits() {
        let mut worker = worker();
        let barrier = Arc::new(Barrier::new(2));
        let other = Arc::clone(&barrier);
        let alive = worker.ask(LONG, |pulse| (0..100).all(|_| pulse.beat())).unwrap();
        assert!(alive);
        let (tell, told) = mpsc::channel();
        let given_up = worker.ask(SHORT, move |pulse| {
            other.wait();
            tell.send(pulse.beat()).unwrap();
        });
        assert!(given_up.is_err());
        barrier.wait();
        assert!(!told.recv().unwrap());
    }

    #[test]
    fn too_many_that_do_not_answer_are_an_error_and_no_further_thread() {
        let mut worker = worker();
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..MOST_GIVEN_UP {
            let held = Arc::clone(&held);
            assert_eq!(
                worker.ask(Duration::ZERO, move |_| lock(&held).recv().is_ok()).unwrap_err().kind(),
                io::ErrorKind::TimedOut
            );
        }
        assert_eq!(worker.ask(LONG, |_| ()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(hold);
        while worker.ask(LONG, |_| ()).is_err() {
            thread::yield_now();
        }
    }
}
