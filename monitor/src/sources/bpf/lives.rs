//! What the kernel tells of cgroups that come and go.

use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use monitor_common::Life;

use super::load::{Host, Target, load};
use super::objects::LIFECYCLE;
use super::{Part, ProgramState, State};
use crate::refusal::Refusal;

/// The messages, while the programs that send them are attached.
pub struct Lives {
    /// Keeps programs and links alive.
    _ebpf: Ebpf,
    messages: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    known_lost: u64,
}

/// Attaches the programs; all of them, or what they tell would be half of the truth.
pub(super) fn open(part: &Part, host: &Host, programs: &mut Vec<ProgramState>) -> Option<Lives> {
    let cgroup = part.top.as_deref().filter(|_| part.lives)?;
    let loaded = load(&LIFECYCLE, host, &Target { cgroup, scope: 0 }, None, |_| Ok(()));
    let whole = loaded.programs.iter().all(|(_, result)| result.is_ok());
    let lives = loaded.ebpf.filter(|_| whole).and_then(Lives::take);
    let broken = Refusal { cause: "its messages cannot be read".to_owned(), cure: None };
    programs.extend(loaded.programs.into_iter().map(|(name, result)| {
        let state = match result {
            Err(refusal) => State::Refused(refusal),
            Ok(()) if lives.is_some() => State::Attached,
            Ok(()) => State::Refused(broken.clone()),
        };
        ProgramState { name, state }
    }));
    lives
}

impl Lives {
    fn take(mut ebpf: Ebpf) -> Option<Self> {
        let messages = RingBuf::try_from(ebpf.take_map(LIFECYCLE.counters)?).ok()?;
        let lost = PerCpuArray::try_from(ebpf.take_map("LOST")?).ok()?;
        Some(Self { _ebpf: ebpf, messages, lost, known_lost: 0 })
    }

    /// Takes the messages that are there, in the order in which things happened.
    pub fn take_messages(&mut self, mut each: impl FnMut(Life)) {
        while let Some(message) = self.messages.next() {
            if message.len() == size_of::<Life>() {
                each(bytemuck::pod_read_unaligned(&message));
            }
        }
    }

    /// Whether messages have been lost since the last call, because too many waited.
    pub fn lost_some(&mut self) -> bool {
        let lost = self.lost.get(&0, 0).map_or(0, |values| values.iter().sum());
        lost != std::mem::replace(&mut self.known_lost, lost)
    }
}

impl AsFd for Lives {
    /// Readable while messages wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.messages.as_fd()
    }
}
