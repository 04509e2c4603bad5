//! Lifecycle events of cgroups, from a ring buffer.

use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use monitor_common::{CgroupEvent, CgroupEventKind};

use super::counters::lost_events;
use super::load::{Host, Target, load};
use super::objects::LIFECYCLE;
use super::part::Part;
use crate::containers::change::{Change, ChangeFeed};
use crate::programs::{ProgramState, State};
use crate::refusal::Refusal;
use crate::snapshot::CgroupId;

/// The reader of the ring buffer, while the programs that fill it are attached.
pub struct CgroupEvents {
    /// Keeps programs and links alive.
    _ebpf: Ebpf,
    messages: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    known_lost: u64,
}

/// Attaches the programs: all or none, since events of only some kinds would be misleading.
pub(super) fn open(part: &Part, host: &Host, programs: &mut Vec<ProgramState>) -> Option<CgroupEvents> {
    let cgroup = part.top.as_deref().filter(|_| part.cgroup_events)?;
    let loaded = load(&LIFECYCLE, host, &Target { cgroup, scope: 0 }, None, |_| Ok(()));
    let whole = loaded.programs.iter().all(|(_, result)| result.is_ok());
    let events = loaded.ebpf.filter(|_| whole).and_then(CgroupEvents::take);
    let broken = Refusal { cause: "its messages cannot be read".to_owned(), remedy: None };
    programs.extend(loaded.programs.into_iter().map(|(name, result)| {
        let state = match result {
            Err(refusal) => State::Refused(refusal),
            Ok(()) if events.is_some() => State::Attached,
            Ok(()) => State::Refused(broken.clone()),
        };
        ProgramState { name, state }
    }));
    events
}

impl CgroupEvents {
    fn take(mut ebpf: Ebpf) -> Option<Self> {
        let messages = RingBuf::try_from(ebpf.take_map(LIFECYCLE.counters)?).ok()?;
        let lost = PerCpuArray::try_from(ebpf.take_map("LOST")?).ok()?;
        Some(Self { _ebpf: ebpf, messages, lost, known_lost: 0 })
    }
}

impl ChangeFeed for CgroupEvents {
    fn take(&mut self) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        while let Some(message) = self.messages.next() {
            if message.len() == size_of::<CgroupEvent>() {
                changes.extend(change(&bytemuck::pod_read_unaligned(&message)));
            }
        }
        let lost = lost_events(&self.lost).unwrap_or(self.known_lost);
        (lost == std::mem::replace(&mut self.known_lost, lost)).then_some(changes)
    }
}

/// Decodes an event; `None` if this version does not know its kind.
fn change(event: &CgroupEvent) -> Option<Change> {
    let id = CgroupId(event.id);
    Some(match event.kind()? {
        CgroupEventKind::Created => Change::Created { id, parent: CgroupId(event.parent), name: None },
        CgroupEventKind::Populated => Change::Populated(id),
        CgroupEventKind::Emptied => Change::Emptied(id),
        CgroupEventKind::Removed => Change::Removed(id),
    })
}

impl AsFd for CgroupEvents {
    /// Readable while events wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.messages.as_fd()
    }
}
