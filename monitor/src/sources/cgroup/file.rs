//! Open file of a cgroup: kept open within the budget, read whole.

use std::fs::File as Handle;
use std::path::Path;

use rustix::io::Errno;

use super::context::{ReadContext, ReadRequest};
use super::error::FileError;
use super::plan::FilePlan;
use crate::metrics::{File, Format};
use crate::sources::parse;

/// Longest file of a cgroup; a longer one is truncated.
pub(super) const LONGEST: usize = 1 << 20;

/// A limit of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) value: u64,
    /// The period of a quota, in microseconds.
    pub(super) period: Option<u64>,
}

/// A file of one cgroup, with its companion if it needs one.
#[derive(Debug)]
pub(super) struct Level {
    file: OpenFile,
    companion: Option<OpenFile>,
}

impl Level {
    pub(super) fn new(plan: &FilePlan) -> Self {
        Self { file: OpenFile::default(), companion: plan.file.companion.map(|_| OpenFile::default()) }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &OpenFile> {
        self.companion.iter().chain([&self.file])
    }

    pub(super) fn count_open(&self) -> usize {
        self.files().filter(|file| file.handle.is_some()).count()
    }

    pub(super) fn close(&mut self) {
        self.companion.iter_mut().chain([&mut self.file]).for_each(|file| file.handle = None);
    }

    /// Reads the value, and the period of a quota.
    pub(super) fn limit(&mut self, request: ReadRequest<'_>, context: &mut ReadContext) -> Result<Limit, FileError> {
        let length = self.text(request, context)?;
        let (format, text) = (request.plan.file.format, &context.buffer[..length]);
        let value = parse::number(format, text).map_err(FileError::Parse)?;
        let period = (format == Format::Quota).then(|| parse::period(text)).flatten();
        Ok(Limit { value, period })
    }

    /// Reads the file, and its companion behind a space; returns their length in `buffer`.
    pub(super) fn text(&mut self, request: ReadRequest<'_>, context: &mut ReadContext) -> Result<usize, FileError> {
        let File { name, companion, .. } = request.plan.file;
        let length = self.file.read(name, request, context, 0).map_err(FileError::Os)?;
        let Some((name, companion)) = companion.zip(self.companion.as_mut()) else { return Ok(length) };
        context.buffer[length] = b' ';
        companion.read(name, request, context, length + 1).map_err(FileError::Os)
    }
}

/// A file that is opened at its first read. The path is passed to each read, not stored: there are dozens per cgroup.
#[derive(Debug, Default)]
pub(super) struct OpenFile {
    handle: Option<Handle>,
    /// True once it was needed; a file whose metrics all have a better origin is not.
    pub(super) is_used: bool,
    /// The error of the last attempt to open or read it.
    pub(super) missing: Option<Errno>,
    /// True once it was read. If it is missing then, its controller was switched off, and may be switched on again at
    /// any time.
    was_there: bool,
}

impl OpenFile {
    /// Reads the whole file into the buffer from `at` on; returns the end, behind which one more byte fits.
    fn read(
        &mut self,
        name: &str,
        request: ReadRequest<'_>,
        context: &mut ReadContext,
        at: usize,
    ) -> Result<usize, Errno> {
        let mut is_removed = false;
        if let Some(handle) = &self.handle {
            let read = read_all(handle, &mut context.buffer, at).inspect_err(|errno| {
                self.missing = Some(*errno);
                self.handle = None;
                context.room += 1;
            });
            is_removed = read == Err(Errno::NODEV);
            if !is_removed {
                return read;
            }
        }
        self.is_used = true;
        if let Some(errno) = self.missing.filter(|_| !request.retry && !self.was_there) {
            return Err(errno);
        }
        let handle = request.open(name);
        // With its directory, the file has ended for good.
        if is_removed && handle.is_err() && !request.directory().is_some_and(Path::exists) {
            return Err(Errno::NODEV);
        }
        // Running out of descriptors is not an error of the file.
        self.missing = handle.as_ref().err().copied().filter(|errno| ![Errno::MFILE, Errno::NFILE].contains(errno));
        let handle = handle?;
        let end = read_all(&handle, &mut context.buffer, at).inspect_err(|errno| self.missing = Some(*errno))?;
        self.was_there = true;
        if context.keep && context.room > 0 {
            context.room -= 1;
            self.handle = Some(handle);
        } else {
            context.lacked_room |= context.keep;
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
            // The kernel writes a cgroup's file in one piece: a short read was all of it.
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
