//! `top` as a person uses it: in a terminal, with keys, a mouse, and checks of the screen.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::process::{Child, Stdio};
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::cgroup::Group;
use tests::tmux::Window;
use tests::valkey::Valkey;
use tests::{binary, eventually, fleet, skip};

/// A view of the own container with a low cost.
const OWN: &str = "top --scope self --container-name web --disk-interval 0s --ebpf off --interval 500ms";
const GIVEN_BACK: &str = "screen 0 cursor 1 mouse 0";
const TAKEN: &str = "screen 1 cursor 0 mouse 1";

macro_rules! window {
    ($columns:expr, $rows:expr, $environment:expr) => {
        match Window::open($columns, $rows, $environment) {
            Some(window) => window,
            None => skip!("tmux is not installed"),
        }
    };
}

/// Starts the binary in the window.
fn start(window: &Window, arguments: &str) {
    window.line(&format!("{} {arguments}; echo it ended with $?", binary().display()));
}

/// The row of a container; waits until it is shown.
fn row(window: &Window, name: &str) -> String {
    // Behind the mark and its space.
    let is_it = |line: &&str| line.chars().skip(2).collect::<String>().starts_with(name);
    // Below the titles: the shell's own line wraps somewhere, and may begin like it.
    let find = |screen: String| screen.lines().skip_while(|line| !line.contains("NAME")).find(is_it).map(str::to_owned);
    eventually(Duration::from_secs(20), || find(window.screen()))
        .unwrap_or_else(|| panic!("no {name}: {}", window.screen()))
}

#[test]
fn a_person_looks_closer_filters_asks_for_help_and_resizes_the_window() {
    let window = window!(80, 24, &[]);
    start(&window, OWN);
    row(&window, "web ");
    assert_eq!(window.modes(), TAKEN);
    assert!(window.shows("TROUBLE▼") && !window.screen().contains("PROCS"), "{}", window.screen());
    window.press(&["Enter"]);
    assert!(window.shows("more lines: PgDn") && window.shows("the last"), "{}", window.screen());
    window.press(&["PageDown"]);
    assert!(window.shows("memory_usage_bytes") || window.shows("cpu_percent"), "{}", window.screen());
    window.resize(200, 60);
    window.press(&["PageUp"]);
    assert!(window.shows("PROCS") && window.shows("working_set_bytes"), "{}", window.screen());
    // Where there is room the details stay.
    window.press(&["Escape"]);
    assert!(window.shows("more lines: Enter") && window.shows("working_set_bytes"), "{}", window.screen());
    window.resize(80, 24);
    assert!(window.until(|screen| !screen.contains("working_set_bytes")), "{}", window.screen());
    window.types("?");
    assert!(window.shows("select a container"), "{}", window.screen());
    window.types("?");
    window.types("/nobody");
    assert!(window.shows("filter: nobody") && window.shows("no container has \"nobody\""), "{}", window.screen());
    window.press(&["Escape"]);
    row(&window, "web ");
    window.types("n");
    assert!(window.shows("NAME▲"), "{}", window.screen());
    window.types("r");
    assert!(window.shows("NAME▼"), "{}", window.screen());
    window.types("p");
    assert!(window.shows("paused"), "{}", window.screen());
    window.resize(30, 6);
    assert!(window.shows("columns and"), "{}", window.screen());
    window.resize(80, 24);
    row(&window, "web ");
    window.types("q");
    assert!(window.shows("it ended with 0"), "{}", window.screen());
    assert_eq!(window.modes(), GIVEN_BACK);
}

#[test]
fn a_click_on_a_title_sorts_and_one_on_a_row_selects() {
    let window = window!(80, 24, &[]);
    start(&window, OWN);
    row(&window, "web ");
    // The bytes of a click in a terminal (xterm's SGR mode): button, column, row, from 1.
    let click = |column: u16, row: u16| {
        window.types(&format!("\x1b[<0;{column};{row}M"));
        window.types(&format!("\x1b[<0;{column};{row}m"));
    };
    click(4, 3);
    assert!(window.shows("NAME▲"), "{}", window.screen());
    click(4, 4);
    click(4, 4);
    assert!(window.shows("the last"), "{}", window.screen());
}

/// Turns the wheel over a row by one notch: button 65 of that mode is down, 64 up.
fn wheel(window: &Window, button: u8, row: u16) {
    window.types(&format!("\x1b[<{button};10;{row}M"));
}

#[test]
fn the_wheel_moves_what_it_is_over() {
    let window = window!(80, 24, &[]);
    start(&window, OWN);
    row(&window, "web ");
    window.press(&["Enter", "Enter"]);
    let details = || window.screen().lines().nth(3).unwrap_or_default().to_owned();
    assert!(window.shows("more lines: PgDn"), "{}", window.screen());
    let first = details();
    wheel(&window, 65, 10);
    assert!(window.until(|_| details() != first), "{}", window.screen());
    wheel(&window, 64, 10);
    assert!(window.until(|_| details() == first), "{}", window.screen());
    // Over the help the wheel does the same as any key.
    window.types("?");
    assert!(window.shows("select a container"), "{}", window.screen());
    wheel(&window, 65, 10);
    assert!(window.until(|screen| !screen.contains("select a container")), "{}", window.screen());
}

#[test]
fn the_help_has_every_key_in_the_smallest_window_that_is_promised() {
    let window = window!(80, 24, &[]);
    start(&window, OWN);
    row(&window, "web ");
    window.types("?");
    assert!(window.shows("select a container"), "{}", window.screen());
    let screen = window.screen();
    for words in ["this help; quit", "wheel: move", "n  name", "M  memory in bytes", "w  trouble, the worst first"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
}

#[test]
fn what_is_in_a_container_is_below_it_in_the_tree_and_the_wheel_goes_through_it() {
    let pid = std::process::id();
    let name = format!("tree-{pid}");
    let Some(outer) = Group::container(&name) else { skip!("this process may make no control groups") };
    let inner = [0xfff1, 0xfff2].map(|number| outer.numbered_container(number));
    let _processes = inner.each_ref().map(Group::occupy);
    let names = [format!("{pid:08x}fff1"), format!("{pid:08x}fff2")];
    let window = window!(80, 24, &[]);
    start(&window, "top --scope host --disk-interval 0s --ebpf off --interval 500ms");
    assert!(window.shows("TROUBLE▼"), "{}", window.screen());
    // The machine has other containers too; the filter matches a cgroup by its path.
    window.types(&format!("/{name}"));
    window.press(&["Enter"]);
    window.types("n");
    let are = |rows: [&str; 3]| {
        window.until(|screen| {
            let mut shown = screen.lines().skip(3).map(|line| line.chars().skip(2).collect::<String>());
            rows.iter().all(|row| shown.next().is_some_and(|shown| shown.starts_with(&format!("{row} "))))
        })
    };
    assert!(are([&names[0], &names[1], &name]), "{}", window.screen());
    window.types("t");
    assert!(are([&name, &format!("├ {}", names[0]), &format!("└ {}", names[1])]), "{}", window.screen());
    wheel(&window, 65, 5);
    wheel(&window, 65, 5);
    assert!(window.shows(&format!("▸└ {}", names[1])), "the last: {}", window.screen());
    wheel(&window, 64, 5);
    assert!(window.shows(&format!("▸{name} ")), "the first: {}", window.screen());
    window.types("q");
    assert!(window.shows("it ended with 0"), "{}", window.screen());
}

#[test]
fn more_containers_than_descriptors_are_all_seen_and_the_view_is_no_trouble_itself() {
    const MANY: u64 = 150;
    let pid = std::process::id();
    let name = format!("many-{pid}");
    let Some(outer) = Group::container(&name) else { skip!("this process may make no control groups") };
    let inner: Vec<Group> = (1..=MANY).map(|number| outer.numbered_container(number)).collect();
    let _processes: Vec<Child> = inner.iter().map(Group::occupy).collect();
    let window = window!(80, 24, &[]);
    // Fewer descriptors than eBPF needs, and fewer than its files.
    for most in [128, 2048] {
        let view = "top --scope host --disk-interval 0s --interval 500ms";
        window.line(&format!(
            "clear; prlimit --nofile={most}:{most} {} {view}; echo {most} ended with $?",
            binary().display()
        ));
        assert!(window.shows("TROUBLE▼"), "{}", window.screen());
        window.types(&format!("/{name}"));
        window.press(&["Enter"]);
        window.types("n");
        row(&window, &format!("{pid:08x}0001 "));
        window.press(&["End", "Up"]);
        let last = row(&window, &format!("{pid:08x}{MANY:04x} "));
        assert!(last.contains("0%"), "its memory is known: {last}");
        let open = std::fs::read_dir(format!("/proc/{}/fd", window.child())).unwrap().count();
        assert!(open * 10 < most * 9, "{open} of {most}");
        window.types("q");
        assert!(window.shows(&format!("{most} ended with 0")), "{}", window.screen());
    }
}

#[test]
fn the_terminal_is_given_back_at_every_end() {
    let window = window!(80, 24, &[]);
    type End = (&'static str, fn(&Window));
    let ends: [End; 4] = [
        ("q", |window| window.types("q")),
        ("Ctrl-C", |window| window.press(&["C-c"])),
        ("SIGTERM", |window| signal(window.child(), libc::SIGTERM)),
        ("SIGINT", |window| signal(window.child(), libc::SIGINT)),
    ];
    for (place, (what, end)) in ends.into_iter().enumerate() {
        window.line("clear; before=$(stty -g)");
        start(&window, OWN);
        row(&window, "web ");
        assert_eq!(window.modes(), TAKEN);
        end(&window);
        assert!(window.shows("it ended with 0"), "{what}: {}", window.screen());
        assert_eq!(window.modes(), GIVEN_BACK, "{what}");
        window.line(&format!("[ \"$(stty -g)\" = \"$before\" ] && echo the same {place}"));
        assert!(
            window.until(|screen| screen.lines().any(|line| line == format!("the same {place}"))),
            "{what}: {}",
            window.screen()
        );
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: the process is a child of the test's own shell.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn it_stops_and_goes_on_like_every_program_on_a_terminal_alone_and_in_a_script() {
    for script in [false, true] {
        let window = window!(80, 24, &[]);
        if script {
            window.line(&format!("sh -c '{} {OWN}; true'", binary().display()));
        } else {
            start(&window, OWN);
        }
        row(&window, "web ");
        window.press(&["C-z"]);
        assert!(window.shows("Stopped"), "{}", window.screen());
        assert_eq!(window.modes(), GIVEN_BACK);
        window.line("fg");
        row(&window, "web ");
        assert_eq!(window.modes(), TAKEN);
        window.types("q");
        assert!(window.until(|screen| screen.trim_end().ends_with("ready>")), "{}", window.screen());
    }
}

#[test]
fn it_ends_in_order_when_the_terminal_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let (script, end) = (dir.path().join("script"), dir.path().join("end"));
    let text = format!("trap '' HUP\n{} {OWN}\necho $? > {}\n", binary().display(), end.display());
    std::fs::write(&script, text).unwrap();
    let window = window!(80, 24, &[]);
    window.line(&format!("sh {}", script.display()));
    row(&window, "web ");
    drop(window);
    let code =
        eventually(Duration::from_secs(20), || std::fs::read_to_string(&end).ok().filter(|text| text.ends_with('\n')));
    assert!(matches!(code.as_deref(), Some("0\n" | "1\n")), "{code:?}: 101 is a panic");
}

#[test]
fn colours_are_those_of_the_terminal_and_go_with_no_color() {
    let styled = |environment: &[(&str, &str)]| {
        let window = Window::open(80, 24, environment)?;
        window.records();
        start(&window, OWN);
        row(&window, "web ");
        // The selection, the details and the help have looks of their own.
        window.press(&["Down", "Enter"]);
        assert!(window.shows("the last"), "{}", window.screen());
        Some((window.styled(), window.recorded()))
    };
    let (Some((with, written)), Some((without, plainly))) = (styled(&[]), styled(&[("NO_COLOR", "1")])) else {
        skip!("tmux is not installed")
    };
    // Colours as tmux writes them: `38;5;` and a colour of the terminal's palette, `48;5;` for a background.
    let colors = |text: &str, what: &str| {
        let numbers = text.split(what).skip(1).filter_map(|rest| rest.split(['m', ';']).next()?.parse::<u8>().ok());
        numbers.collect::<Vec<_>>()
    };
    let fore = colors(&with, "38;5;");
    assert!(fore.contains(&2) && fore.iter().all(|color| *color < 16), "{with:?}");
    let behind = colors(&with, "48;5;");
    assert!(!behind.is_empty() && behind.iter().all(|color| *color == 8), "the selected row: {with:?}");
    assert_eq!(colors(&without, "48;5;"), Vec::<u8>::new(), "{without:?}");
    assert_eq!(colors(&without, "38;5;"), Vec::<u8>::new(), "{without:?}");
    assert!(without.contains("\x1b[1m"), "what is bold stays: {without:?}");
    // The same for everything that was written, however the terminal rendered it.
    let colored = |written: &str| {
        let sequences = written.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
        let numbers: Vec<String> = sequences.flat_map(|(inner, _)| inner.split(';').map(str::to_owned)).collect();
        let is_color = |number: &u8| matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107);
        numbers.iter().filter_map(|number| number.parse().ok()).filter(is_color).count()
    };
    assert!(colored(&written) > 0);
    assert_eq!(colored(&plainly), 0, "{plainly:?}");
    assert!(plainly.contains("\x1b[4m"), "what is selected is underlined: {plainly:?}");
}

#[test]
fn a_fleet_is_seen_through_valkey_with_who_is_silent_and_whose_name_is_hostile() {
    let Some(valkey) = Valkey::start(&["--requirepass", "hunter2"]) else { skip!("valkey-server is not installed") };
    let window = window!(120, 28, &[("VALKEY_PASSWORD", "hunter2")]);
    let arguments = ["--interval", "200ms", "--disk-interval", "0s", "--metrics-ttl", "2s", "--ebpf", "off"];
    let hostile = "evil\x1b[2J\x1b]0;\x07日本";
    let agent =
        |name| Agent::start(valkey.port, &arguments, &[("CONTAINER_NAME", name), ("VALKEY_PASSWORD", "hunter2")]);
    let (web, evil) = (agent("web"), agent(hostile));
    start(&window, &format!("top --from valkey://127.0.0.1:{} --interval 300ms", valkey.port));
    row(&window, "web ");
    row(&window, "evil\u{fffd}[2J\u{fffd}]0;\u{fffd}日本");
    assert!(window.shows("2 containers"), "{}", window.screen());
    window.types("/web");
    window.press(&["Enter", "Enter"]);
    assert!(window.shows("sources: cpu from") && window.shows("INFO"), "the log: {}", window.screen());
    assert!(window.shows("cpu  from cgroup"), "the sources: {}", window.screen());
    window.press(&["Escape"]);
    assert!(window.until(|screen| !screen.contains("sources: ")), "{}", window.screen());
    window.press(&["Escape"]);
    row(&window, "evil");

    // One exits regularly and disappears; the other one is killed, which is a finding.
    assert_eq!(evil.end(libc::SIGTERM).status.code(), Some(0));
    web.signal(libc::SIGKILL);
    assert!(window.shows("no report for") && row(&window, "web ").starts_with('✗'), "{}", window.screen());
    assert!(window.until(|screen| !screen.contains("evil")), "{}", window.screen());
    drop(valkey);
    assert!(window.shows("Valkey: "), "what is wrong is said: {}", window.screen());
    row(&window, "web ");
    window.types("q");
    assert!(window.shows("it ended with 0"), "{}", window.screen());
}

#[test]
fn causes_of_both_schemas_are_shown_in_one_fleet() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    // Where there is room the details are shown unasked.
    let window = window!(160, 120, &[]);
    fleet::write_forms(&valkey);
    start(&window, &format!("top --from valkey://127.0.0.1:{}", valkey.port));
    row(&window, &fleet::form_name(0));
    for (at, (form, cause)) in fleet::FORMS.iter().enumerate() {
        let name = fleet::form_name(at);
        window.types("/");
        window.press(&["C-u"]);
        window.types(&name);
        window.press(&["Enter"]);
        assert!(window.shows(&format!("{name}  running")), "{form}: {}", window.screen());
        let screen = window.screen();
        let lines: Vec<&str> = screen.lines().map(str::trim).collect();
        match cause {
            Some(cause) => {
                let of = lines.iter().position(|line| line.contains(cause)).and_then(|at| lines.get(at - 1));
                assert_eq!(of, Some(&"disk_usage_bytes"), "{form}: {screen}");
            }
            None => assert!(!screen.contains("another"), "{form}: {screen}"),
        }
    }
}

#[test]
fn several_machines_have_a_column() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let window = window!(120, 40, &[]);
    let arguments = ["--interval", "200ms", "--disk-interval", "0s", "--ebpf", "off"];
    let _agent = Agent::start(valkey.port, &arguments, &[("CONTAINER_NAME", "near")]);
    let report = String::from_utf8(valkey.report("near", Duration::from_secs(20)).unwrap()).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&report).unwrap();
    document["container_name"] = "far".into();
    document["host"] = "another-host".into();
    let now: Vec<String> = valkey.query(&["TIME"]);
    let _: () = valkey.query(&["SET", "system:metrics:far", &document.to_string()]);
    let _: () = valkey.query(&["ZADD", "system:containers", &format!("{}000", now[0]), "far"]);
    start(&window, &format!("top --from valkey://127.0.0.1:{}", valkey.port));
    assert!(window.shows("on 2 machines") && window.shows("HOST"), "{}", window.screen());
    assert!(row(&window, "far ").contains("another-host"), "{}", window.screen());
    window.types("/another\n");
    assert!(window.until(|screen| !screen.contains("near ")), "{}", window.screen());
}

#[test]
fn without_a_terminal_or_with_nonsense_it_says_what_to_do() {
    let said = |arguments: &[&str]| {
        let output = command(arguments, &[]).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = said(&["top"]);
    assert!(code == Some(1) && words.contains("needs a terminal") && words.contains("once"), "{words}");
    let (code, words) = said(&["top", "--from", "http://user:hunter2@h"]);
    assert!(code == Some(2) && words.contains("--from: has another scheme") && !words.contains("hunter2"), "{words}");
}
