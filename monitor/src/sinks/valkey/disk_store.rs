//! The copy of the backlog on disk, which survives the process.
//!
//! The copy holds only the entries that could not be written at once: while the server answers, the disk is not
//! touched. Memory is authoritative; a failure of the disk costs the copy and nothing else.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::backlog::StreamEntry;
use super::stream::{EntryId, Stream, StreamKind};
use crate::unix_time::unix_millis;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
/// The format of an entry; another one is not read.
const VERSION: u64 = 1;
const FILE: &str = "backlog.redb";
/// Size of the store's own cache, whose default is a gigabyte.
const CACHE: usize = 1 << 20;
/// Size from which on a file without entries is compacted.
const LARGE: u64 = 4 << 20;

/// An open store.
#[derive(Debug)]
pub(super) struct DiskStore {
    database: Database,
    path: PathBuf,
}

/// Why there is no copy on disk.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub(super) struct DiskStoreError {
    path: String,
    cause: DiskFault,
}

#[derive(Debug, thiserror::Error)]
enum DiskFault {
    #[error("another agent uses it")]
    Busy,
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Disk(String),
}

impl<E: Into<redb::Error>> From<E> for DiskFault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Busy,
            // An error without a system error number is the library's own, about the contents of the file.
            redb::Error::Io(error) if error.raw_os_error().is_none() => Self::Unreadable(error.to_string()),
            error @ (redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_)) => {
                Self::Unreadable(error.to_string())
            }
            error => Self::Disk(error.to_string()),
        }
    }
}

/// The contents of the store at the start.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The entries that wait, oldest first, with the time of day at which they were made.
    pub(super) entries: Vec<(StreamEntry, SystemTime)>,
    /// The number of entries that could not be read.
    pub(super) damaged: u64,
    /// The path to which an unreadable file was moved.
    pub(super) aside: Option<String>,
}

impl DiskStore {
    /// Opens the store in a directory, which is made if it is not there, and reads what waits in it. A file that cannot
    /// be read is moved aside.
    pub(super) fn open(dir: &Path) -> Result<(Self, Loaded), DiskStoreError> {
        let path = dir.join(FILE);
        let failed = |cause: DiskFault| DiskStoreError { path: path.display().to_string(), cause };
        fs::create_dir_all(dir).map_err(|error| failed(DiskFault::Disk(error.to_string())))?;
        match Self::read(&path) {
            Err(DiskFault::Unreadable(why)) => {
                let other = path.with_extension("redb.aside");
                fs::rename(&path, &other).map_err(|error| failed(DiskFault::Disk(error.to_string())))?;
                let (store, loaded) = Self::read(&path).map_err(failed)?;
                let aside = Some(format!("{}: {why}; it is now {}", path.display(), other.display()));
                Ok((store, Loaded { aside, ..loaded }))
            }
            other => other.map_err(failed),
        }
    }

    fn read(path: &Path) -> Result<(Self, Loaded), DiskFault> {
        // The library panics on some damaged files.
        let read = AssertUnwindSafe(|| {
            let database = Builder::new().set_cache_size(CACHE).create(path)?;
            let store = Self { database, path: path.to_owned() };
            let loaded = store.load()?;
            Ok((store, loaded))
        });
        catch_unwind(read).unwrap_or_else(|_| Err(DiskFault::Unreadable("it is damaged".to_owned())))
    }

    fn load(&self) -> Result<Loaded, DiskFault> {
        let write = self.database.begin_write()?;
        {
            let mut format = write.open_table(FORMAT)?;
            let version = format.get("entries")?.map(|version| version.value());
            if version.is_some_and(|version| version != VERSION) {
                return Err(DiskFault::Unreadable("it was written by another version".to_owned()));
            }
            format.insert("entries", VERSION)?;
            write.open_table(ENTRIES)?;
        }
        write.commit()?;
        let mut loaded = Loaded { entries: Vec::new(), damaged: 0, aside: None };
        let read = self.database.begin_read()?;
        for row in read.open_table(ENTRIES)?.iter()? {
            let (seq, bytes) = row?;
            match decode(seq.value(), bytes.value()) {
                Some(entry) => loaded.entries.push(entry),
                None => loaded.damaged += 1,
            }
        }
        Ok(loaded)
    }

    /// Adds and removes entries in one transaction, after forgetting all that is there if `anew`.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), DiskStoreError> {
        catch_unwind(AssertUnwindSafe(|| self.change(change)))
            .unwrap_or_else(|_| Err(DiskFault::Unreadable("it is damaged".to_owned())))
            .map_err(|cause| DiskStoreError { path: self.path.display().to_string(), cause })
    }

    fn change(&mut self, change: &Change) -> Result<(), DiskFault> {
        let write = self.database.begin_write()?;
        let is_empty = {
            let mut table = write.open_table(ENTRIES)?;
            if change.anew {
                table.retain(|_, _| false)?;
            }
            for (entry, made) in &change.added {
                table.insert(entry.seq, &encode(entry, *made)[..])?;
            }
            for seq in &change.removed {
                table.remove(seq)?;
            }
            table.is_empty()?
        };
        write.commit()?;
        if is_empty && fs::metadata(&self.path).is_ok_and(|file| file.len() > LARGE) {
            self.database.compact().map_err(|error| DiskFault::Disk(error.to_string()))?;
        }
        Ok(())
    }
}

/// A change of the copy.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// True if the entries that are there are removed.
    pub(super) anew: bool,
    /// New entries, with the time of day at which they were made.
    pub(super) added: Vec<(StreamEntry, SystemTime)>,
    /// Entries that do not wait any more.
    pub(super) removed: Vec<u64>,
}

/// Checksum; then kind, time, id, length of the name, name, document.
fn encode(entry: &StreamEntry, made: SystemTime) -> Vec<u8> {
    let made = unix_millis(made);
    let name = entry.stream.name.as_bytes();
    let mut bytes = vec![0; 8];
    bytes.push(u8::from(entry.stream.kind == StreamKind::Log));
    for number in [made, entry.id.millis, entry.id.seq, name.len() as u64] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(name);
    bytes.extend(entry.json.as_bytes());
    let sum = checksum(&bytes[8..]);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(seq: u64, bytes: &[u8]) -> Option<(StreamEntry, SystemTime)> {
    let (sum, rest) = bytes.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != checksum(rest) {
        return None;
    }
    let (kind, mut rest) = rest.split_first()?;
    let mut number = || {
        let (number, tail) = rest.split_first_chunk::<8>()?;
        rest = tail;
        Some(u64::from_le_bytes(*number))
    };
    let (made, id) = (number()?, EntryId { millis: number()?, seq: number()? });
    let length = usize::try_from(number()?).ok()?;
    let (name, json) = rest.split_at_checked(length)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let stream =
        Stream { kind: if *kind == 0 { StreamKind::History } else { StreamKind::Log }, name: text(name)?.into() };
    let entry = StreamEntry { seq, stream, id, json: text(json)?.into(), made: Duration::ZERO, doubtful: true };
    Some((entry, SystemTime::UNIX_EPOCH + Duration::from_millis(made)))
}

/// FNV-1a, against silent corruption by the disk. The library verifies its own checksums only after an unclean
/// shutdown.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
