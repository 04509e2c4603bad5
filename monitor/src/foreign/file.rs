//! Files whose length somebody else controls, read in pieces and up to a bound.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use memchr::memchr;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Longest record that is handed over whole; of a longer one only the beginning is.
const LONGEST_RECORD: usize = 64 << 10;

/// Flags under which no open waits: for the writer of a pipe, for a lease, or for a terminal.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// Returns the error of the system call; [`io::ErrorKind::FileTooLarge`] for a longer file.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    read_open(open(path)?, most)
}

/// Returns the number of an error, `EIO` for one that no system call returned.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Opens a file for reading. Nothing is waited for: neither the writer of a pipe nor a lease.
///
/// # Errors
/// Returns the error of the system call.
pub fn open(path: &Path) -> io::Result<File> {
    Ok(rustix::fs::open(path, READ, Mode::empty())?.into())
}

/// Reads an open file of at most `most` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_open(file: File, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(most.min(4096));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(too_long(most as u64)) } else { Ok(bytes) }
}

/// Hands over the records of a file one by one, in constant memory, until `each` breaks off. Of a record that is longer
/// than 64 KiB only the beginning is handed over.
///
/// # Errors
/// Returns the error of the system call; [`io::ErrorKind::FileTooLarge`] if more than `most` bytes were read.
pub fn records(
    path: &Path,
    separator: u8,
    most: u64,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut file = open(path)?;
    let mut buffer = vec![0; LONGEST_RECORD];
    // The bytes of a record that has not ended yet, the bytes read, and whether the current record was handed over.
    let (mut kept, mut read, mut is_told) = (0, 0, false);
    loop {
        let new = match file.read(&mut buffer[kept..]) {
            Ok(0) => {
                if kept > 0 && !is_told {
                    _ = each(&buffer[..kept]);
                }
                return Ok(());
            }
            Ok(new) => new,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = kept + new;
        let mut start = 0;
        while let Some(length) = memchr(separator, &buffer[start..filled]) {
            let is_new = !std::mem::take(&mut is_told);
            if is_new && each(&buffer[start..start + length]).is_break() {
                return Ok(());
            }
            start += length + 1;
        }
        if start == 0 && filled == buffer.len() {
            if !std::mem::replace(&mut is_told, true) && each(&buffer).is_break() {
                return Ok(());
            }
            kept = 0;
        } else {
            buffer.copy_within(start..filled, 0);
            kept = filled - start;
        }
        read += new as u64;
        if read > most {
            return Err(too_long(most));
        }
    }
}

fn too_long(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than the {most} bytes that are read of it"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn all(path: &Path, most: u64) -> (Vec<Vec<u8>>, Option<io::ErrorKind>) {
        let mut told = Vec::new();
        let end = records(path, b'\n', most, |record| {
            told.push(record.to_vec());
            ControlFlow::Continue(())
        });
        (told, end.err().map(|error| error.kind()))
    }

    #[test]
    fn a_file_without_an_end_is_left_at_its_bound() {
        let endless = Path::new("/dev/zero");
        assert_eq!(read(endless, 1 << 16).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (told, error) = all(endless, 1 << 20);
        assert_eq!((told.len(), told[0].len(), error), (1, LONGEST_RECORD, Some(io::ErrorKind::FileTooLarge)));
    }

    #[test]
    fn nobody_waits_for_the_writer_of_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"");
    }

    #[test]
    fn of_a_long_record_the_beginning_is_told_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; 3 * LONGEST_RECORD + 7];
        text.extend_from_slice(b"\nnext\n\nlast");
        let (_dir, path) = file(&text);
        let (told, error) = all(&path, 1 << 20);
        let lengths: Vec<usize> = told.iter().map(Vec::len).collect();
        assert_eq!((lengths, error), (vec![LONGEST_RECORD, 4, 0, 4], None));
    }

    #[test]
    fn whoever_has_found_what_he_looks_for_reads_no_further() {
        let (_dir, path) = file(b"a\nb\nc\n");
        let mut told = 0;
        let end = records(&path, b'\n', 100, |record| {
            told += 1;
            if record == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((told, end.is_ok()), (2, true));
    }

    proptest! {
        #[test]
        fn the_records_are_the_parts_between_separators(text in "[ab\n]{0,200}") {
            let (_dir, path) = file(text.as_bytes());
            let expected: Vec<Vec<u8>> = text.strip_suffix('\n').unwrap_or(&text).split('\n').map(|part| part.as_bytes().to_vec()).collect();
            let expected = if text.is_empty() { Vec::new() } else { expected };
            prop_assert_eq!(all(&path, 1000).0, expected);
            prop_assert_eq!(read(&path, 200).unwrap(), text.as_bytes());
        }
    }
}
