//! Control groups where Docker would make them.

use std::process::{Child, Command, Stdio};

use tests::cgroup::Group;

/// Control groups of containers, each with a process: an agent reports no container that has not had one.
pub struct Containers {
    pub number: usize,
    _groups: Vec<Group>,
    processes: Vec<Child>,
}

impl Containers {
    pub fn start(number: usize) -> Self {
        println!("{number} containers are being made");
        let groups: Vec<Group> = (0..number).map(|_| Group::docker().unwrap().0).collect();
        let process = |group: &Group| {
            let mut command = Command::new("busybox");
            command.args(["sleep", "100000"]).stdin(Stdio::null()).env_clear();
            group.enter(&mut command);
            command.spawn().unwrap()
        };
        let processes = groups.iter().map(process).collect();
        Self { number, _groups: groups, processes }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            _ = process.kill();
            _ = process.wait();
        }
    }
}
