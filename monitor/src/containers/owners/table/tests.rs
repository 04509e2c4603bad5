use proptest::prelude::*;

use super::*;
use crate::timer;

/// Keys of a server, each with its value and its expiry.
#[derive(Default)]
struct Server(BTreeMap<String, (Vec<u8>, Instant)>);

impl Server {
    fn answer(&mut self, step: &Step, value: &str, now: Instant) -> Reply {
        self.0.retain(|_, (_, until)| *until > now);
        let is_there = self.0.contains_key(&step.claimed);
        let sets = match step.kind {
            StepKind::Release => {
                self.0.remove(&step.claimed);
                return Reply::Done;
            }
            StepKind::Look | StepKind::Read => {
                return self.0.get(&step.claimed).map_or(Reply::Nothing, |(owner, _)| Reply::Owner(owner.clone()));
            }
            StepKind::Take => !is_there,
            StepKind::Renew => is_there,
        };
        if !sets {
            return Reply::Nothing;
        }
        self.0.insert(step.claimed.clone(), (value.into(), now + EXPIRY));
        Reply::Done
    }

    fn carry_out(&mut self, table: &mut OwnerTable, steps: &[Step], now: Instant) {
        for step in steps {
            let reply = self.answer(step, &table.value(), now);
            table.answered(step, &reply);
        }
    }

    /// Answers until nothing is urgent; returns the number of batches.
    fn settle(&mut self, table: &mut OwnerTable, now: Instant) -> usize {
        let batches = std::iter::from_fn(|| {
            let steps = table.urgent(now, 250);
            self.carry_out(table, &steps, now);
            (!steps.is_empty()).then_some(())
        });
        let batches = batches.take(20).count();
        assert!(batches < 20, "claims never end");
        batches
    }

    fn claim(&mut self, table: &mut OwnerTable, name: &str, now: Instant) -> String {
        table.want(name);
        self.settle(table, now);
        name_of(table, name)
    }
}

fn name_of(table: &mut OwnerTable, name: &str) -> String {
    table.reported(name, Duration::ZERO).expect("it waits").to_owned()
}

fn machine(host: &str) -> OwnerTable {
    OwnerTable::new(host, &format!("{host}0123"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn kinds(steps: &[Step]) -> Vec<StepKind> {
    steps.iter().map(|step| step.kind).collect()
}

#[test]
fn the_second_machine_appends_its_host_and_one_with_the_same_host_its_id() {
    let (mut server, now) = (Server::default(), timer::now());
    let (mut a, mut b) = (machine("a"), machine("b"));
    assert_eq!(server.claim(&mut a, "web", now), "web");
    assert_eq!(server.claim(&mut b, "web", now), "web@b");
    assert_eq!(server.claim(&mut OwnerTable::new("b", "77"), "web", now), "web@77");
    assert_eq!(String::from_utf8_lossy(&server.0["web"].0), "a a0123");
    assert_eq!(name_of(&mut a, "web"), "web");
}

#[test]
fn of_two_machines_that_start_at_the_same_time_one_has_the_name() {
    let (mut server, now) = (Server::default(), timer::now());
    let mut machines = [machine("a"), machine("b")];
    machines.iter_mut().for_each(|table| _ = table.want("web"));
    for _ in 0..4 {
        let steps: Vec<Vec<Step>> = machines.iter_mut().map(|table| table.urgent(now, 250)).collect();
        machines.iter_mut().zip(&steps).for_each(|(table, steps)| server.carry_out(table, steps, now));
    }
    let names = machines.each_mut().map(|table| name_of(table, "web"));
    assert_eq!(names, ["web", "web@b"]);
}

#[test]
fn a_name_stays_after_a_restart_of_the_agent_even_if_the_other_machine_has_gone() {
    let (mut server, now) = (Server::default(), timer::now());
    let (mut a, mut b) = (machine("a"), machine("b"));
    server.claim(&mut a, "web", now);
    server.claim(&mut b, "web", now);
    assert_eq!(server.claim(&mut machine("a"), "web", now), "web");
    server.0.remove("web");
    let mut again = machine("b");
    assert_eq!(server.claim(&mut again, "web", now), "web@b");
    assert_eq!(server.0["web@b"].1, now + EXPIRY);
}

#[test]
fn the_next_container_of_the_name_has_it_alone_once_it_is_free() {
    let (mut server, now) = (Server::default(), timer::now());
    let (mut a, mut b) = (machine("a"), machine("b"));
    server.claim(&mut a, "web", now);
    server.claim(&mut b, "web", now);
    assert_eq!(a.end("web"), Some("web".to_owned()));
    let steps = a.routine(now, 250);
    assert_eq!(kinds(&steps), [StepKind::Release]);
    server.carry_out(&mut a, &steps, now);
    assert_eq!(name_of(&mut b, "web"), "web@b", "for the life of the container");
    assert_eq!(b.end("web"), Some("web@b".to_owned()));
    assert_eq!(server.claim(&mut b, "web", now), "web");
    assert!(!server.0.contains_key("web@b"));
}

#[test]
fn a_claim_is_renewed_in_one_command_along_with_reports_and_alone_if_there_are_none() {
    let (mut server, now) = (Server::default(), timer::now());
    let mut a = machine("a");
    server.claim(&mut a, "web", now);
    for after in [0, 5, 19] {
        assert_eq!(kinds(&a.routine(now + seconds(after), 250)), []);
    }
    assert_eq!(kinds(&a.urgent(now + seconds(25), 250)), []);
    assert_eq!(kinds(&a.urgent(now + seconds(30), 250)), [StepKind::Renew]);
    assert_eq!(a.next_due(), Some(now + seconds(30)));
    let later = now + seconds(20);
    let steps = a.routine(later, 250);
    assert_eq!(kinds(&steps), [StepKind::Renew]);
    server.carry_out(&mut a, &steps, later);
    assert_eq!((server.0["web"].1, a.next_due()), (later + EXPIRY, Some(later + seconds(30))));
}

#[test]
fn a_machine_that_gets_its_name_late_keeps_its_claims() {
    let (mut server, now) = (Server::default(), timer::now());
    let mut a = machine("localhost");
    server.claim(&mut a, "web", now);
    a.set_hostname("a");
    a.connected();
    server.settle(&mut a, now);
    let steps = a.routine(now, 250);
    server.carry_out(&mut a, &steps, now);
    server.settle(&mut a, now);
    assert_eq!((name_of(&mut a, "web"), server.0["web"].0.clone()), ("web".to_owned(), b"a localhost0123".to_vec()));
    assert_eq!(server.claim(&mut OwnerTable::new("a", "localhost0123"), "web", now), "web");
}

#[test]
fn who_could_not_renew_a_claim_gives_way_to_whoever_has_it_now() {
    let (mut server, now) = (Server::default(), timer::now());
    let (mut a, mut b) = (machine("a"), machine("b"));
    server.claim(&mut a, "web", now);
    let later = now + seconds(90);
    assert_eq!(server.claim(&mut b, "web", later), "web");
    assert!(b.take_lost().is_empty());
    a.connected();
    server.settle(&mut a, later);
    assert_eq!(name_of(&mut a, "web"), "web@a");
    assert_eq!(a.take_lost(), ["web"]);
    b.end("web");
    assert_eq!(kinds(&b.routine(later + seconds(40), 250)), [], "it may have expired, and be somebody else's");
}

#[test]
fn a_server_that_has_lost_the_keys_is_told_again() {
    let (mut server, now) = (Server::default(), timer::now());
    let mut a = machine("a");
    server.claim(&mut a, "web", now);
    for (is_new_connection, later) in [(true, 25), (false, 50)] {
        let later = now + seconds(later);
        server.0.clear();
        if is_new_connection {
            a.connected();
        }
        for _ in 0..2 {
            let steps = a.routine(later, 250);
            server.carry_out(&mut a, &steps, later);
        }
        assert!(server.0.contains_key("web"), "{is_new_connection}");
        assert_eq!(name_of(&mut a, "web"), "web");
    }
}

#[test]
fn a_container_waits_for_the_answer_but_not_for_a_server_that_is_away_or_refuses() {
    let mut a = machine("a");
    a.want("web");
    assert_eq!(a.reported("web", seconds(7)), None);
    assert_eq!(a.reported("web", seconds(8)), None);
    assert_eq!(a.reported("web", seconds(9)), Some("web"));
    a.want("db");
    a.disconnected();
    assert_eq!(name_of(&mut a, "db"), "db");
    a.connected();
    assert_eq!(a.reported("db", seconds(9)), Some("db"), "what is shown stays, or gets another name");
    a.want("api");
    assert_eq!(a.reported("api", seconds(9)), None);
    a.refused();
    assert_eq!(name_of(&mut a, "api"), "api");
    let now = timer::now();
    assert_eq!(kinds(&a.urgent(now, 250)), []);
    assert_eq!(kinds(&a.routine(now, 250)), [StepKind::Look, StepKind::Look], "one name finds out");
    assert_eq!(name_of(&mut a, "nobody asked for"), "nobody asked for");
}

#[test]
fn a_node_that_does_not_answer_delays_no_reports() {
    let (mut server, now) = (Server::default(), timer::now());
    let mut a = machine("a");
    a.want("web");
    a.urgent(now, 250).iter().for_each(|step| a.unanswered(step));
    assert_eq!((kinds(&a.urgent(now, 250)), name_of(&mut a, "web").as_str()), (Vec::new(), "web"));
    let looks = a.routine(now, 250);
    assert_eq!(kinds(&looks), [StepKind::Look, StepKind::Look]);
    server.carry_out(&mut a, &looks, now);
    let claim = a.routine(now, 250);
    assert_eq!(kinds(&claim), [StepKind::Take, StepKind::Read]);
    a.answered(&claim[0], &Reply::Done);
    a.answered(&claim[1], &Reply::Nothing);
    assert_eq!((name_of(&mut a, "web").as_str(), a.next_due()), ("web", Some(now + OVERDUE)), "redirected in between");
}

#[test]
fn what_a_user_writes_under_a_key_costs_that_name_alone() {
    let (mut server, now) = (Server::default(), timer::now());
    let mut a = machine("a");
    for text in ["", "b", "a a0123 ", "\n\u{1b}[2J"] {
        server.0.insert(text.to_owned(), (text.into(), now + seconds(3600)));
        assert_eq!(server.claim(&mut a, text, now), format!("{text}@a"));
    }
    for taken in ["web", "web@a", "web@a0123"] {
        server.0.insert(taken.to_owned(), (b"x".to_vec(), now + seconds(3600)));
    }
    assert_eq!(server.claim(&mut a, "web", now), "web@a0123-3", "without a claim");
    assert_eq!(server.claim(&mut a, "db", now), "db");
}

#[test]
fn a_server_that_only_ever_says_no_is_asked_a_few_times() {
    for owner in ["a a0123", "b"] {
        let (mut a, mut now) = (machine("a"), timer::now());
        a.want("web");
        for _ in 0..10 {
            a.connected();
            for batch in 0.. {
                let steps = a.urgent(now, 250);
                if steps.is_empty() {
                    break;
                }
                assert!(batch < 6, "{owner}");
                for step in &steps {
                    let reads = matches!(step.kind, StepKind::Look | StepKind::Read);
                    let reply = if reads { Reply::Owner(owner.into()) } else { Reply::Nothing };
                    a.answered(step, &reply);
                }
            }
            now += seconds(40);
        }
        assert!(name_of(&mut a, "web").starts_with("web@a"));
    }
}

#[test]
fn a_batch_has_a_bounded_number_of_names() {
    let (mut a, now) = (machine("a"), timer::now());
    (0..100).for_each(|number| _ = a.want(&number.to_string()));
    assert_eq!(a.urgent(now, 7).len(), 14);
    let mut server = Server::default();
    assert_eq!(server.settle(&mut a, now), 2);
    assert_eq!(a.next_due(), Some(now + OVERDUE));
    a.retain(&BTreeSet::from(["1"]));
    assert_eq!((a.claims.len(), a.claimed.len(), a.routine(now, 250).len()), (1, 1, 99));
}

proptest! {
    /// Whatever other machines hold, no two containers of one machine are reported under one name, and nothing is kept
    /// of those that have ended.
    #[test]
    fn no_two_containers_of_a_machine_share_a_name(
        held in prop::collection::btree_set(0_usize..6, 0..6),
        steps in prop::collection::vec((0_usize..6, any::<bool>(), 0_u64..30), 1..40),
    ) {
        const NAMES: [&str; 6] = ["web", "web@a", "web@a0123", "web@a@a", "db", "db@a"];
        let (mut server, mut now) = (Server::default(), timer::now());
        held.iter().for_each(|at| _ = server.0.insert(NAMES[*at].to_owned(), (b"x".to_vec(), now + seconds(100))));
        let mut a = machine("a");
        for (at, is_wanted, later) in steps {
            now += seconds(later);
            if is_wanted {
                a.want(NAMES[at]);
            } else {
                a.end(NAMES[at]);
            }
            server.settle(&mut a, now);
            let routine = a.routine(now, 250);
            server.carry_out(&mut a, &routine, now);
            let names: BTreeSet<&String> = a.claims.values().map(|claim| &claim.claimed).collect();
            prop_assert_eq!(names.len(), a.claims.len());
        }
        a.retain(&BTreeSet::new());
        a.routine(now, 250);
        prop_assert!(a.claims.is_empty() && a.claimed.is_empty() && a.released.is_empty());
    }
}
