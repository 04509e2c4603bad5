//! One file of one cgroup: opened once, kept open while there is room, read whole.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File as Handle;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::super::parse::{self, ParseError};
use super::{Plan, directory};
use crate::cause::{Cause, CauseKind};
use crate::metrics::{File, Metric, NO_LIMIT};
use crate::snapshot::{Identity, Values};

/// No file of a cgroup is longer; what is, is not read to its end.
pub(super) const LONGEST: usize = 1 << 20;

/// The file to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) plan: &'a Plan,
    pub(super) place: Place<'a>,
    /// What tells whether it says the same as before, if anything does.
    pub(super) token: Option<u64>,
    /// Whether what was missing is looked for again.
    pub(super) retry: bool,
}

/// Where a file is: asked for only when it is to be opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Of(&'a Identity),
    In(&'a Path),
}

impl Wanted<'_> {
    /// Whether what was read then holds by its age.
    fn is_fresh(&self, at: Duration, now: Duration) -> bool {
        now > at && now - at < self.plan.file.holds
    }

    /// Whether it says the same as when it had this token.
    fn is_same(&self, token: u64) -> bool {
        !self.retry && self.token == Some(token)
    }

    fn open(&self, name: &str) -> Result<Handle, Errno> {
        let dir = match self.place {
            Place::Of(identity) => directory(self.plan.tree, identity).ok_or(Errno::NOENT)?,
            Place::In(dir) => dir,
        };
        let open =
            |name| Handle::open(dir.join(name)).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        match (open(name), self.plan.file.older) {
            (Err(Errno::NOENT), Some(older)) => open(older),
            (opened, _) => opened,
        }
    }
}

/// A file of one cgroup. There are dozens per cgroup: what most of them never need lies elsewhere.
#[derive(Debug)]
pub(super) struct Kept {
    own: Level,
    /// Where those of the cgroup's ancestors count.
    upwards: Option<Box<Upwards>>,
    lacks: Option<Box<Lacks>>,
    /// What was read, of a file that need not be read each time.
    held: Option<Box<Held>>,
}

/// For each row whose number the file does not have, why.
#[derive(Debug, Default)]
struct Lacks(Vec<Option<Cause>>);

/// The words for what may be wrong with a file, made once for all cgroups.
#[derive(Debug, Default)]
pub(super) struct Causes(RefCell<Vec<(Trouble, Cause)>>);

impl Causes {
    fn of(&self, trouble: Trouble, file: &str) -> Cause {
        let mut known = self.0.borrow_mut();
        if let Some((_, cause)) = known.iter().find(|(said, _)| *said == trouble) {
            return cause.clone();
        }
        let cause = Cause::new(trouble.kind(), trouble.describe(file));
        known.push((trouble, cause.clone()));
        cause
    }
}

/// What was read, when, and what told then that it would stay so.
#[derive(Debug)]
struct Held {
    at: Duration,
    token: Option<u64>,
    numbers: Vec<Result<u64, Cause>>,
}

impl Held {
    /// Whether the file would still say the same.
    fn is_valid(&self, wanted: Wanted<'_>, now: Duration) -> bool {
        self.token.is_some_and(|token| wanted.is_same(token)) || !wanted.retry && wanted.is_fresh(self.at, now)
    }
}

/// The files around one.
#[derive(Debug)]
struct Upwards {
    above: Vec<Arc<Mutex<Shared>>>,
    /// The number of the cgroup's own file, and what told then that it would stay so.
    own: Option<(u64, u64)>,
    /// The smallest number of all, and when it was looked for.
    smallest: Option<(Duration, Result<Option<u64>, Trouble>)>,
}

impl Kept {
    pub(super) fn find(at: usize, plan: &Plan, above: &mut Above, identity: &Identity) -> Self {
        let is_cgroup = |dir: &&Path| dir.join("cgroup.procs").exists();
        let dir = directory(plan.tree, identity).filter(|_| plan.file.smallest_upwards);
        let upwards = dir.map(|dir| {
            let above = dir.ancestors().skip(1).take_while(is_cgroup).map(|dir| above.share(at, plan, dir)).collect();
            Box::new(Upwards { above, own: None, smallest: None })
        });
        Self { own: Level::new(plan), upwards, lacks: None, held: None }
    }

    /// How many files are open.
    pub(super) fn count_open(&self) -> usize {
        self.own.count_open()
    }

    /// How many there are to be kept open.
    pub(super) fn count_found(&self) -> usize {
        self.own.files().filter(|file| file.is_used && file.missing.is_none()).count()
    }

    pub(super) fn close(&mut self) {
        self.own.close();
    }

    /// Why the file does not have a row's number, where that is known.
    fn lacks(&self, row: usize) -> Option<&Cause> {
        self.lacks.as_ref()?.0.get(row)?.as_ref()
    }

    /// Whether the file may have a number that no better origin has given.
    pub(super) fn is_wanted(&self, plan: &Plan, retry: bool, values: &Values) -> bool {
        let mut rows = plan.rows.iter().enumerate();
        rows.any(|(at, (metric, rank, _))| !values.served(*metric, *rank) && (retry || self.lacks(at).is_none()))
    }

    pub(super) fn miss_what_it_lacks(&self, plan: &Plan, values: &mut Values) {
        for (at, (metric, rank, _)) in plan.rows.iter().enumerate() {
            if let Some(cause) = self.lacks(at) {
                values.miss(*metric, *rank, cause.clone());
            }
        }
    }

    pub(super) fn read(&mut self, wanted: Wanted<'_>, reader: &mut Reader, values: &mut Values) {
        let plan = wanted.plan;
        if let Some(upwards) = &mut self.upwards {
            match upwards.smallest(&mut self.own, wanted, reader) {
                Ok(Some(value)) => {
                    let rows = plan.rows.iter();
                    rows.for_each(|(metric, rank, file)| values.put(*metric, *rank, scaled(value, file.scale)));
                }
                Ok(None) => {}
                Err(trouble) => miss(plan, trouble, values),
            }
            return;
        }
        if let Some(held) = self.held.as_ref().filter(|held| held.is_valid(wanted, reader.now)) {
            plan.rows.iter().zip(&held.numbers).for_each(|(row, number)| note(row, number, values));
            return;
        }
        self.held = None;
        match self.own.text(wanted, reader) {
            Ok(length) => {
                let is_held = wanted.token.is_some() || plan.file.holds > Duration::ZERO;
                let mut numbers = Vec::with_capacity(if is_held { plan.rows.len() } else { 0 });
                for (at, row) in plan.rows.iter().enumerate() {
                    let number = self.number(plan, at, &reader.buffer[..length]);
                    note(row, &number, values);
                    if is_held {
                        numbers.push(number);
                    }
                }
                self.held = is_held.then(|| Box::new(Held { at: reader.now, token: wanted.token, numbers }));
            }
            Err(trouble) => miss(plan, trouble, values),
        }
    }

    /// A row's number in the text.
    fn number(&mut self, plan: &Plan, at: usize, text: &[u8]) -> Result<u64, Cause> {
        let (_, _, file) = &plan.rows[at];
        match parse::number(file.format, text) {
            Ok(value) => {
                self.lacks.as_mut().and_then(|lacks| lacks.0.get_mut(at)).map(Option::take);
                Ok(scaled(value, file.scale))
            }
            Err(error) => Err(self.lack(plan, at, error)),
        }
    }

    /// Why a row's number is not in the text; remembered when it is not meant to be there.
    fn lack(&mut self, plan: &Plan, row: usize, error: ParseError) -> Cause {
        let cause = plan.causes.of(Trouble::Parse(error), plan.file.name);
        if matches!(error, ParseError::Missing(_)) {
            let lacks = &mut self.lacks.get_or_insert_default().0;
            lacks.resize(plan.rows.len(), None);
            lacks[row] = Some(cause.clone());
        }
        cause
    }
}

fn miss(plan: &Plan, trouble: Trouble, values: &mut Values) {
    let cause = plan.causes.of(trouble, plan.file.name);
    plan.rows.iter().for_each(|(metric, rank, _)| values.miss(*metric, *rank, cause.clone()));
}

impl Upwards {
    /// The smallest number of a cgroup's own file and of those around it, as it is or was of late; none where none is there.
    fn smallest(&mut self, own: &mut Level, wanted: Wanted<'_>, reader: &mut Reader) -> Result<Option<u64>, Trouble> {
        match self.smallest {
            Some((at, found)) if wanted.is_fresh(at, reader.now) => found,
            _ => {
                let found = self.look(own, wanted, reader);
                self.smallest = Some((reader.now, found));
                found
            }
        }
    }

    fn look(&mut self, own: &mut Level, wanted: Wanted<'_>, reader: &mut Reader) -> Result<Option<u64>, Trouble> {
        let (mut smallest, mut missing) = (None, None);
        let own = match self.own {
            Some((token, number)) if wanted.is_same(token) => Ok(number),
            _ => own.number(wanted, reader),
        };
        self.own = wanted.token.zip(own.ok());
        // What others look at too stays open, whoever comes first.
        let keep = std::mem::replace(&mut reader.keep, true);
        let above = self.above.iter().map(|shared| lock(shared).number(wanted, reader));
        for found in std::iter::once(own).chain(above) {
            match found {
                Ok(value) => smallest = Some(smallest.map_or(value, |smallest: u64| smallest.min(value))),
                Err(Trouble::Os(Errno::NOENT)) => {}
                Err(trouble) => missing = Some(trouble),
            }
        }
        reader.keep = keep;
        missing.map_or(Ok(smallest), Err)
    }
}

fn note((metric, rank, _): &(Metric, u8, File), number: &Result<u64, Cause>, values: &mut Values) {
    match number {
        Ok(value) => values.put(*metric, *rank, *value),
        Err(cause) => values.miss(*metric, *rank, cause.clone()),
    }
}

fn scaled(value: u64, scale: u64) -> u64 {
    if value == NO_LIMIT { NO_LIMIT } else { value.saturating_mul(scale) }
}

/// What can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Os(Errno),
    Parse(ParseError),
}

impl Trouble {
    fn kind(self) -> CauseKind {
        match self {
            Self::Os(errno) => CauseKind::of_error(&errno.into()),
            Self::Parse(ParseError::Missing(_)) => CauseKind::Missing,
            Self::Parse(_) => CauseKind::Invalid,
        }
    }

    fn describe(self, file: &str) -> String {
        match self {
            Self::Os(Errno::NOENT) => {
                format!("{file}: not there (an older kernel, or the controller is off for this cgroup)")
            }
            Self::Os(Errno::NODEV) => format!("{file}: the cgroup has ended"),
            Self::Os(Errno::OPNOTSUPP) => {
                format!("{file}: switched off in this kernel (for pressure: boot with psi=1)")
            }
            Self::Os(errno) => format!("{file}: {}", io::Error::from(errno)),
            Self::Parse(error) => format!("{file} {error}"),
        }
    }
}

#[derive(Debug)]
struct Level {
    file: OpenFile,
    companion: Option<OpenFile>,
}

impl Level {
    fn new(plan: &Plan) -> Self {
        Self { file: OpenFile::default(), companion: plan.file.companion.map(|_| OpenFile::default()) }
    }

    fn files(&self) -> impl Iterator<Item = &OpenFile> {
        self.companion.iter().chain([&self.file])
    }

    fn count_open(&self) -> usize {
        self.files().filter(|file| file.handle.is_some()).count()
    }

    fn close(&mut self) {
        self.companion.iter_mut().chain([&mut self.file]).for_each(|file| file.handle = None);
    }

    fn number(&mut self, wanted: Wanted<'_>, reader: &mut Reader) -> Result<u64, Trouble> {
        let length = self.text(wanted, reader)?;
        parse::number(wanted.plan.file.format, &reader.buffer[..length]).map_err(Trouble::Parse)
    }

    /// The text of the file, and of its companion behind a space; its length in `buffer`.
    fn text(&mut self, wanted: Wanted<'_>, reader: &mut Reader) -> Result<usize, Trouble> {
        let File { name, companion, .. } = wanted.plan.file;
        let length = self.file.read(name, wanted, reader, 0).map_err(Trouble::Os)?;
        let Some((name, companion)) = companion.zip(self.companion.as_mut()) else { return Ok(length) };
        reader.buffer[length] = b' ';
        companion.read(name, wanted, reader, length + 1).map_err(Trouble::Os)
    }
}

/// A file that is opened at its first reading. Where it is, is said at each: there are dozens per cgroup.
#[derive(Debug, Default)]
struct OpenFile {
    handle: Option<Handle>,
    /// Whether it was ever wanted: where a better origin has all its numbers, it is not.
    is_used: bool,
    /// Why it could not be opened, or read, the last time.
    missing: Option<Errno>,
}

impl OpenFile {
    /// Reads all of it behind the first `at` bytes of the buffer; returns where it ends. There is room for one more byte
    /// behind it.
    fn read(&mut self, name: &str, wanted: Wanted<'_>, reader: &mut Reader, at: usize) -> Result<usize, Errno> {
        if let Some(handle) = &self.handle {
            return read_all(handle, &mut reader.buffer, at).inspect_err(|errno| {
                self.missing = Some(*errno);
                self.handle = None;
                reader.room += 1;
            });
        }
        self.is_used = true;
        if let Some(errno) = self.missing.filter(|_| !wanted.retry) {
            return Err(errno);
        }
        let handle = wanted.open(name);
        // A lack of descriptors says nothing about the file.
        self.missing = handle.as_ref().err().copied().filter(|errno| ![Errno::MFILE, Errno::NFILE].contains(errno));
        let handle = handle?;
        let end = read_all(&handle, &mut reader.buffer, at).inspect_err(|errno| self.missing = Some(*errno))?;
        if reader.keep && reader.room > 0 {
            reader.room -= 1;
            self.handle = Some(handle);
        } else {
            reader.is_short |= reader.keep;
        }
        Ok(end)
    }
}

fn read_all(handle: &Handle, buffer: &mut Vec<u8>, at: usize) -> Result<usize, Errno> {
    let mut end = at;
    loop {
        if buffer.len() < end + 4096 {
            buffer.resize(end + 8192, 0);
        }
        let room = buffer.len() - 1;
        match rustix::io::pread(handle, &mut buffer[end..room], (end - at) as u64) {
            // A file of a cgroup is written in one go: when there is room left, that was all of it.
            Ok(read) if read < room - end => return Ok(end + read),
            Ok(read) => end += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if end - at >= LONGEST {
            return Err(Errno::FBIG);
        }
    }
}

/// The files of the cgroups that containers lie in, each read once in a reading however many lie there.
#[derive(Debug, Default)]
pub(super) struct Above(HashMap<(usize, PathBuf), Arc<Mutex<Shared>>>);

impl Above {
    /// The file of a plan in a directory.
    fn share(&mut self, at: usize, plan: &Plan, dir: &Path) -> Arc<Mutex<Shared>> {
        let shared = self.0.entry((at, dir.to_owned())).or_insert_with(|| {
            let (dir, level) = (dir.to_owned(), Level::new(plan));
            Arc::new(Mutex::new(Shared { dir, level, found: None }))
        });
        Arc::clone(shared)
    }

    /// Forgets the files around containers that are gone; how many were open.
    pub(super) fn leave(&mut self) -> usize {
        let mut closed = 0;
        self.0.retain(|_, shared| {
            let stays = Arc::strong_count(shared) > 1;
            if !stays {
                closed += lock(shared).level.count_open();
            }
            stays
        });
        closed
    }
}

/// A file that many look at, and what was found in it in which turn.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    level: Level,
    found: Option<(u64, Result<u64, Trouble>)>,
}

impl Shared {
    fn number(&mut self, wanted: Wanted<'_>, reader: &mut Reader) -> Result<u64, Trouble> {
        match self.found {
            Some((turn, found)) if turn == reader.turn => found,
            _ => {
                let found = self.level.number(Wanted { place: Place::In(&self.dir), ..wanted }, reader);
                self.found = Some((reader.turn, found));
                found
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What files are read with.
#[derive(Debug)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// How many more files may be kept open.
    pub(super) room: usize,
    /// Whether those of the cgroup that is read may be, …
    pub(super) keep: bool,
    /// … and whether there was no room for one.
    pub(super) is_short: bool,
    /// Counts the readings, those of what has ended too.
    pub(super) turn: u64,
    /// When this one began.
    pub(super) now: Duration,
}

impl Reader {
    pub(super) fn new(room: usize) -> Self {
        Self { buffer: vec![0; 8192], room, keep: true, is_short: false, turn: 0, now: Duration::ZERO }
    }
}
