//! Control groups where Docker would make them.

use std::process::{Child, Command, Stdio};

use tests::cgroup::Group;

/// Beyond this number of containers only every tenth has a process.
const MOST_PROCESSES: usize = 1000;

/// Control groups of containers, most of them with a process.
pub struct Containers {
    pub number: usize,
    _groups: Vec<Group>,
    processes: Vec<Child>,
}

impl Containers {
    pub fn start(number: usize) -> Self {
        println!("{number} containers are being made");
        let groups: Vec<Group> = (0..number).map(|_| Group::docker().unwrap().0).collect();
        let every = if number > MOST_PROCESSES { 10 } else { 1 };
        let process = |group: &Group| {
            let mut command = Command::new("busybox");
            command.args(["sleep", "100000"]).stdin(Stdio::null()).env_clear();
            group.enter(&mut command);
            command.spawn().unwrap()
        };
        let processes = groups.iter().step_by(every).map(process).collect();
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
