//! Choice of the cgroups whose files stay open when descriptors are scarce: the most active ones. Pure.

use std::collections::HashSet;

use crate::snapshot::CgroupId;

/// Activity of a cgroup: its recent CPU time, where each interval counts half of the one after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Activity {
    used: Option<u64>,
    recent: u64,
}

impl Activity {
    /// Records the total CPU time used so far, in nanoseconds.
    pub(super) fn note(&mut self, used: u64) {
        let grown = self.used.replace(used).map_or(0, |before| used.saturating_sub(before));
        self.recent = self.recent / 2 + grown / 2;
    }
}

/// Chooses cgroups, the most active first, until their files fill `room`.
pub(super) fn choose(mut cgroups: Vec<(CgroupId, Activity, usize)>, mut room: usize) -> HashSet<CgroupId> {
    cgroups.sort_by_key(|(id, activity, _)| (std::cmp::Reverse(activity.recent), *id));
    let fits = cgroups.into_iter().filter(|(.., files)| match room.checked_sub(*files) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    fits.map(|(id, ..)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_active_keep_their_files_open() {
        let active = |readings: &[u64]| {
            let mut activity = Activity::default();
            readings.iter().for_each(|used| activity.note(*used));
            activity
        };
        let cgroups = vec![
            (CgroupId(1), active(&[500, 500, 500]), 2),
            (CgroupId(2), active(&[0, 100, 200]), 2),
            (CgroupId(3), active(&[0, 0, 90]), 3),
            (CgroupId(4), active(&[0, 100, 100]), 1),
        ];
        assert_eq!(choose(cgroups.clone(), 5), HashSet::from([CgroupId(2), CgroupId(3)]));
        assert_eq!(choose(cgroups.clone(), 3), HashSet::from([CgroupId(2), CgroupId(4)]), "what fits besides, fits");
        assert_eq!(choose(cgroups, 0), HashSet::new());
    }
}
