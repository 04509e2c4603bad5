use super::*;
use crate::containers::owners::{Reply, StepKind};
use crate::timer;

impl Machine {
    /// One that claims its names.
    fn claiming(dirs: &[&str]) -> (Self, Owners) {
        let mut machine = Self::new(Rules::default(), &[]);
        fs::create_dir_all(machine.dir.path().join("proc/sys/kernel")).unwrap();
        fs::write(machine.dir.path().join("proc/sys/kernel/hostname"), "machine").unwrap();
        let owners = Owners::new(&Roots { proc: machine.dir.path().join("proc"), ..Roots::default() });
        machine.registry.owners = Some(owners.clone());
        dirs.iter().for_each(|dir| machine.make(dir));
        (machine, owners)
    }
}

/// Answers all claims like a server on which another machine has these names.
fn answer(owners: &Owners, taken: &[&str]) {
    loop {
        let mut table = owners.table();
        let (steps, ours) = (table.urgent(timer::now(), 250), table.value());
        if steps.is_empty() {
            return;
        }
        for step in steps {
            let is_taken = taken.contains(&step.claimed.as_str());
            let reply = match step.kind {
                StepKind::Take if !is_taken => Reply::Done,
                StepKind::Read if is_taken => Reply::Owner(b"other 0".to_vec()),
                StepKind::Read => Reply::Owner(ours.clone().into()),
                _ => Reply::Nothing,
            };
            table.answered(&step, &reply);
        }
    }
}

#[test]
fn a_container_whose_name_another_machine_has_is_reported_with_the_host_until_it_ends() {
    let (mut machine, owners) = Machine::claiming(&["docker/{A}", "docker/{B}"]);
    machine.call("docker/{A}", "web");
    assert_eq!(machine.names(Coverage::All), [], "nobody has answered");
    answer(&owners, &["web"]);
    assert_eq!(machine.names(Coverage::All), running(&["bbbbbbbbbbbb", "machine", "web@machine"]));
    let identity = |machine: &mut Machine| {
        let id = machine.id("docker/{A}");
        Arc::clone(&machine.read(Coverage::All).cgroups[&id].identity)
    };
    let (first, second) = (identity(&mut machine), identity(&mut machine));
    assert!(Arc::ptr_eq(&first, &second), "its files stay open");
    machine.remove("docker/{A}");
    assert_eq!(machine.names(Coverage::Exited), ended(&["web@machine"]));
    machine.make("docker/{A}");
    machine.call("docker/{A}", "web");
    answer(&owners, &[]);
    assert_eq!(machine.names(Coverage::All), running(&["bbbbbbbbbbbb", "machine", "web"]));
}

#[test]
fn a_container_that_has_ended_before_its_claim_was_answered_waits_for_it() {
    let (mut machine, owners) = Machine::claiming(&["docker/{A}"]);
    answer(&owners, &[]);
    machine.call("docker/{A}", "brief");
    machine.remove("docker/{A}");
    assert_eq!(machine.names(Coverage::Exited), []);
    assert_eq!(machine.names(Coverage::All), running(&["machine"]));
    answer(&owners, &["brief"]);
    assert_eq!(machine.names(Coverage::Exited), ended(&["brief@machine"]));
    machine.names(Coverage::All);
    assert!(owners.table().claimed().eq(["machine"]), "nothing else is kept");
}

#[test]
fn names_that_are_left_out_are_not_claimed_and_patterns_do_not_see_the_host() {
    let (mut machine, owners) = Machine::claiming(&[]);
    machine.registry.rules = Rules::default().with_names("web").unwrap();
    machine.make("lxc.payload.web");
    machine.make("lxc.payload.db");
    answer(&owners, &["web", "machine"]);
    assert_eq!(machine.names(Coverage::All), running(&["machine@machine", "web@machine"]));
    assert!(owners.table().claimed().eq(["machine@machine", "web@machine"]));
    machine.remove("lxc.payload.web");
    assert_eq!(machine.names(Coverage::Exited), ended(&["web@machine"]));
}
