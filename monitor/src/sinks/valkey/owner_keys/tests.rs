use super::*;
use crate::containers::Roots;
use crate::timer;

fn fault(text: &str, kind: FaultKind) -> Fault {
    Fault { text: text.to_owned(), kind }
}

/// The claims of a machine.
fn keys() -> OwnerKeys {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("1/root/etc")).unwrap();
    std::fs::create_dir_all(dir.path().join("sys/kernel")).unwrap();
    std::fs::write(dir.path().join("sys/kernel/hostname"), "hosta\n").unwrap();
    std::fs::write(dir.path().join("1/root/etc/machine-id"), "abc\n").unwrap();
    let owners = Owners::new(&Roots { proc: dir.path().to_owned(), ..Roots::default() });
    owners.want(["web"]);
    OwnerKeys::new(Some(owners))
}

fn texts(commands: &[(Command, Request)]) -> Vec<String> {
    commands.iter().map(|(_, request)| request.text()).collect()
}

fn answer(keys: &mut OwnerKeys, commands: Vec<(Command, Request)>, answer: &Answer) {
    for (command, _) in commands {
        let Command::Owner(step) = command else { panic!("not a claim") };
        _ = keys.answered(&step, answer.clone());
    }
}

#[test]
fn claims_are_commands_that_every_server_has() {
    let (mut keys, now) = (keys(), timer::now());
    let looks = keys.urgent(now);
    assert_eq!(texts(&looks), ["GET system:owner:web@hosta", "GET system:owner:web@ba7816bf8f01cfea"]);
    answer(&mut keys, looks, &Ok(Value::Nil));
    let mut claim = keys.urgent(now);
    let take = "SET system:owner:web hosta ba7816bf8f01cfea NX PX 60000";
    assert_eq!(texts(&claim), [take, "GET system:owner:web"]);
    let read = claim.split_off(1);
    answer(&mut keys, claim, &Ok(Value::Okay));
    answer(&mut keys, read, &Ok(Value::BulkString(b"hosta ba7816bf8f01cfea".to_vec())));
    let later = now + std::time::Duration::from_secs(20);
    assert_eq!((texts(&keys.urgent(later)), keys.routine(now).len()), (Vec::new(), 0));
    assert_eq!(texts(&keys.routine(later)), [take.replace("NX", "XX")]);
    keys.owners.as_ref().unwrap().end("web");
    assert_eq!(texts(&keys.routine(later)), ["DEL system:owner:web"]);
}

#[test]
fn a_key_of_another_type_is_taken_and_a_refusal_ends_the_claims() {
    for (text, kind, next) in [
        ("WRONGTYPE Operation against a key", FaultKind::Refused, 2),
        ("TOOLONG the answer is longer", FaultKind::Refused, 2),
        ("NOPERM User monitor has no permissions", FaultKind::Forbidden, 0),
        ("OOM command not allowed", FaultKind::Refused, 0),
    ] {
        let (mut keys, now) = (keys(), timer::now());
        let looks = keys.urgent(now);
        answer(&mut keys, looks, &Err(fault(text, kind)));
        assert_eq!(keys.urgent(now).len(), next, "{text}");
    }
}

#[test]
fn long_texts_under_the_keys_end_one_connection_and_not_every_one() {
    let (mut keys, now) = (keys(), timer::now());
    let looks = keys.urgent(now);
    answer(&mut keys, looks, &Err(fault("too large", FaultKind::RefusedReply)));
    keys.connected(true);
    assert_eq!((keys.most, keys.urgent(now).len()), (FEWEST_NAMES, 2));
    let longest = crate::valkey::answers::LONGEST_TEXT * 2 * FEWEST_NAMES as u64;
    assert!(longest < crate::valkey::answers::Limits::WRITER.bytes);
}

#[test]
fn an_agent_without_claims_sends_none() {
    let keys = OwnerKeys::new(None);
    let now = timer::now();
    assert!(keys.urgent(now).is_empty() && keys.routine(now).is_empty() && keys.next_due().is_none());
}
