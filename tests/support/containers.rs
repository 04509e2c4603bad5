//! Groups that an agent of the machine takes for containers, each with a load in it.

use crate::cgroup::Group;
use crate::watched::Load;

/// A container to be made.
pub struct Plan<'a> {
    /// Its name.
    pub name: &'a str,
    /// Prepares its group before the load starts.
    pub prepare: fn(&Group),
    /// The load.
    pub load: &'a [&'a str],
}

/// Containers, and the group around them; removed when dropped.
pub struct Containers {
    loads: Vec<Load>,
    groups: Vec<Group>,
    _around: Group,
}

impl Containers {
    /// Makes them. `None` if this process may not.
    pub fn new(name: &str, plans: &[Plan<'_>]) -> Option<Self> {
        let around = Group::new(name)?;
        let (mut groups, mut loads) = (Vec::new(), Vec::new());
        for (number, plan) in (0..).zip(plans) {
            let group = around.numbered_container(number);
            (plan.prepare)(&group);
            loads.push(Load::start_as(&group, plan.load, plan.name));
            groups.push(group);
        }
        Some(Self { loads, groups, _around: around })
    }

    /// Starts another load in the container with a number.
    pub fn burden(&mut self, number: usize, load: &[&str]) {
        self.loads.push(Load::start(&self.groups[number], load));
    }
}
