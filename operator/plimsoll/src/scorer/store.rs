//! Where the scorer's table outlives the process: a snapshot, and a journal of what has happened since, which is begun anew
//! with each snapshot. Files appear whole or not at all, and a record torn by a crash is left out: what it held is read from
//! Prometheus again. What is not of this version, or damaged, is refused, and the past is read as at a first start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use plimsoll_anomaly::journal::{Header, append, records};
use tokio::time::Instant;

use super::table::{Event, Table};
use crate::operator::gate::{Lease, NotLeading};

const SNAPSHOT: u64 = u64::from_le_bytes(*b"PLMSNAP\0");
const JOURNAL: u64 = u64::from_le_bytes(*b"PLMJRNL\0");
/// A snapshot is made at least every so many rounds, which are ten minutes ...
const ROUNDS: u32 = 20;
/// ... or when the journal has grown to so many bytes.
const JOURNAL_MAX: u64 = 32 << 20;
/// No file of ours is larger; ten thousand series and the network take a tenth of it.
const FILE_MAX: u64 = 1 << 30;

/// Why what is stored cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is nothing.
    #[error("there is none yet")]
    Nothing,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// Another version wrote it.
    #[error("another version of the operator has written it")]
    Version,
    /// It is not whole.
    #[error("it is damaged")]
    Damaged,
}

/// The files of one shard.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    shard: u32,
    /// Whoever else may hold the shard may write its files.
    lease: Lease,
    /// Of the present snapshot.
    generation: u64,
    /// Missing until there is a snapshot that it can go on from.
    journal: Option<File>,
    bytes: u64,
    rounds: u32,
}

/// Whether a folder can hold state, found out by writing.
///
/// # Errors
/// Names the folder and the cause.
pub fn check(folder: &Path) -> Result<(), String> {
    let probe = folder.join("probe.tmp");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| format!("{}: {error}; name a folder that the operator may write to", folder.display()))
}

impl Store {
    /// The files of a shard in this folder, and the table that they hold, as far as it can be gone on with.
    pub(crate) fn open(folder: &Path, shard: u32, lease: Lease) -> (Self, Result<Table, Refusal>) {
        let folder = folder.to_owned();
        let mut store = Self { folder, shard, lease, generation: 0, journal: None, bytes: 0, rounds: ROUNDS };
        let table = store.restore();
        (store, table)
    }

    fn path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("shard-{}.{what}", self.shard))
    }

    fn restore(&mut self) -> Result<Table, Refusal> {
        let bytes = read(&self.path("snapshot"))?;
        let (header, body) = Header::read(&bytes).ok_or(Refusal::Damaged)?;
        if header.format != SNAPSHOT {
            return Err(Refusal::Damaged);
        }
        if header.version != Table::version() {
            return Err(Refusal::Version);
        }
        let mut table = Table::restore(body).ok_or(Refusal::Damaged)?;
        self.generation = header.generation;
        // Without a journal that belongs to it the snapshot stands alone: the crash came between the two.
        if let Ok((events, length)) = self.read_journal() {
            events.iter().for_each(|event| table.apply(event));
            self.journal = OpenOptions::new().append(true).open(self.path("journal")).ok().filter(|file| {
                // Nothing may follow a torn record.
                file.set_len(length).is_ok()
            });
            (self.bytes, self.rounds) = (length, 0);
        }
        Ok(table)
    }

    fn read_journal(&self) -> Result<(Vec<Event>, u64), Refusal> {
        let bytes = read(&self.path("journal"))?;
        let (header, body) = Header::read(&bytes).ok_or(Refusal::Damaged)?;
        let Self { generation, .. } = *self;
        if header != (Header { format: JOURNAL, version: Table::version(), generation }) {
            return Err(Refusal::Version);
        }
        let (found, used) = records(body);
        let events: Vec<Event> = found.iter().map_while(|record| postcard::from_bytes(record).ok()).collect();
        if events.len() < found.len() {
            return Err(Refusal::Damaged);
        }
        let before = bytes.len() - body.len();
        Ok((events, (before + used) as u64))
    }

    /// Notes what is about to happen. A journal that cannot be written to ends here: the next snapshot begins another.
    pub(crate) fn note(&mut self, event: &Event) {
        let Some(journal) = &mut self.journal else { return };
        let mut bytes = Vec::new();
        let framed = postcard::to_allocvec(event).is_ok_and(|record| append(&record, &mut bytes));
        let written = match held(&self.lease) {
            Ok(()) if framed => journal.write_all(&bytes),
            Ok(()) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => self.bytes += bytes.len() as u64,
            Err(error) => {
                tracing::warn!(%error, path = %self.path("journal").display(), "the scorer's state cannot be kept");
                self.journal = None;
            }
        }
    }

    /// Counts a round; true when it is time for a snapshot. One that failed is tried again after as many rounds.
    pub(crate) fn is_due(&mut self) -> bool {
        self.rounds += 1;
        let due = self.rounds >= ROUNDS || self.bytes >= JOURNAL_MAX;
        if due {
            (self.rounds, self.bytes) = (0, 0);
        }
        due
    }

    /// What was noted reaches the disk, so that it outlives the machine too.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Replaces snapshot and journal.
    pub(crate) fn snapshot(&mut self, table: &[u8]) -> io::Result<()> {
        self.journal = None;
        // Never one that another process has used.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let generation = (nanos ^ u64::from(std::process::id()).rotate_right(16)).max(1);
        let header = |format| Header { format, version: Table::version(), generation };
        self.replace("snapshot", &[&header(SNAPSHOT).bytes(), table])?;
        self.generation = generation;
        let journal = header(JOURNAL).bytes();
        let file = self.replace("journal", &[&journal])?;
        (self.journal, self.bytes) = (Some(file), journal.len() as u64);
        Ok(())
    }

    /// The file whole or not at all, also when the machine stops.
    fn replace(&self, what: &str, parts: &[&[u8]]) -> io::Result<File> {
        let (path, new) = (self.path(what), self.path(&format!("{what}.tmp")));
        let mut file = File::create(&new)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        held(&self.lease)?;
        fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }
}

fn held(lease: &Lease) -> io::Result<()> {
    if lease.is_held(Instant::now()) { Ok(()) } else { Err(io::Error::other(NotLeading)) }
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refusal::Nothing),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX { Err(Refusal::Damaged) } else { Ok(bytes) }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
