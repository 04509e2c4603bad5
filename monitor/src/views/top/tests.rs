//! The view as drawn, and as keys change it.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::draw::draw;
use super::feed::Own;
use super::keys::{self, Next};
use super::model::{Details, Model, Update};
use crate::events::LogEntry;
use crate::findings::Level;
use crate::metrics::Metric;
use crate::report::Report;
use crate::snapshot::{Coverage, Status};
use crate::views::columns::Column;
use crate::views::sample::{self, Sample};
use crate::views::table::ABSENT;
use crate::views::theme::Theme;

const PLAIN: Theme = Theme { color: false };

/// A model after some seconds of a host.
fn model() -> Model {
    let mut model = Model::new("host1", Duration::from_secs(1));
    let mut own = Own::default();
    for second in 100..110 {
        model.update(own.update(&sample::some(second)));
    }
    model
}

fn screen(model: &mut Model, (columns, rows): (u16, u16), theme: Theme) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, model, theme)).unwrap();
    terminal
}

fn drawn(model: &mut Model, size: (u16, u16)) -> String {
    screen(model, size, PLAIN).backend().to_string()
}

/// The drawn text without the parts that grow with the table of metrics: absent numbers, and the count of lines.
fn stable(model: &mut Model, size: (u16, u16)) -> String {
    let text = drawn(model, size);
    let mut end = usize::MAX;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(place) = line.find(ABSENT) {
            end = line[..place].chars().count();
        }
        let line: String = line.chars().take(end).collect();
        let count = line.find(" more lines").and_then(|place| Some((line[..place].rfind(' ')?, place)));
        lines.push(count.map_or(line.clone(), |(from, to)| format!("{} N{}", &line[..from], &line[to..])));
    }
    lines.join("\n")
}

fn press(model: &mut Model, keys: &str) {
    for letter in keys.chars() {
        let code = match letter {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            '→' => KeyCode::Right,
            '←' => KeyCode::Left,
            '⇞' => KeyCode::PageUp,
            '⇟' => KeyCode::PageDown,
            '⇱' => KeyCode::Home,
            '⇲' => KeyCode::End,
            letter => KeyCode::Char(letter),
        };
        assert_eq!(keys::key(model, KeyEvent::new(code, KeyModifiers::NONE)), Next::Draw);
    }
}

fn names(model: &Model) -> Vec<&str> {
    model.visible().map(|(row, _)| row.name.as_str()).collect()
}

#[test]
fn the_list_is_drawn_in_windows_of_every_size() {
    for size in [(80, 24), (120, 40), (200, 60)] {
        insta::assert_snapshot!(format!("list_{}x{}", size.0, size.1), stable(&mut model(), size));
    }
    assert!(drawn(&mut model(), (30, 5)).contains("columns and"));
}

#[test]
fn details_are_drawn_as_a_pane_and_in_the_whole_window() {
    for size in [(80, 24), (120, 40), (200, 60)] {
        let mut model = model();
        press(&mut model, "\n");
        insta::assert_snapshot!(format!("details_{}x{}", size.0, size.1), stable(&mut model, size));
    }
    let mut model = model();
    press(&mut model, "\n\n");
    insta::assert_snapshot!("details_full_80x24", stable(&mut model, (80, 24)));
}

#[test]
fn tree_filter_help_and_emptiness_are_drawn() {
    let mut tree = model();
    press(&mut tree, "tn");
    insta::assert_snapshot!("tree_80x24", drawn(&mut tree, (80, 24)));
    let mut filtered = model();
    press(&mut filtered, "/db");
    insta::assert_snapshot!("filter_80x24", drawn(&mut filtered, (80, 24)));
    let mut help = model();
    press(&mut help, "?");
    let drawn_help = drawn(&mut help, (80, 24));
    assert!(Column::ALL.iter().all(|column| drawn_help.contains(column.spec().help)), "{drawn_help}");
    insta::assert_snapshot!("help_80x24", drawn_help);
    insta::assert_snapshot!("empty_80x24", drawn(&mut Model::new("host1", Duration::from_secs(1)), (80, 24)));
}

#[test]
fn colours_are_the_terminals_own_and_go_with_no_color() {
    use ratatui::style::Color;
    let colors = |theme| {
        let mut model = model();
        press(&mut model, "↓\n");
        let terminal = screen(&mut model, (120, 40), theme);
        let cells = terminal.backend().buffer().content.clone();
        let selected = if theme.color { Color::DarkGray } else { Color::Reset };
        // The background is that of the selected row alone.
        assert_eq!(cells.iter().filter(|cell| cell.bg != Color::Reset).count(), if theme.color { 120 } else { 0 });
        assert!(cells.iter().all(|cell| [Color::Reset, selected].contains(&cell.bg)));
        let mut colors: Vec<String> = cells.iter().map(|cell| cell.fg.to_string()).collect();
        colors.sort();
        colors.dedup();
        colors
    };
    assert_eq!(colors(PLAIN), ["Reset"]);
    assert_eq!(colors(Theme { color: true }), ["Cyan", "Green", "Red", "Reset", "White", "Yellow"]);
}

#[test]
fn a_thousand_containers_are_drawn_and_walked_through() {
    let names: Vec<String> = (0..1000).map(|number| format!("web-{number:04}")).collect();
    let values: Vec<[(Metric, u64); 2]> =
        (0..1000).map(|n| [(Metric::CpuUsage, n * 1_000_000), (Metric::MemoryUsage, n << 20)]).collect();
    let samples: Vec<Sample<'_>> = (names.iter().zip(&values))
        .map(|(name, values)| Sample { name, path: "/docker/x", status: Status::Running, values })
        .collect();
    let mut model = Model::new("host1", Duration::from_secs(1));
    model.update(Own::default().update(&sample::report(100, &samples)));
    press(&mut model, "C");
    insta::assert_snapshot!("thousand_80x24", drawn(&mut model, (80, 24)));
    press(&mut model, "⇲");
    assert!(drawn(&mut model, (80, 24)).contains("web-0000"));
    press(&mut model, "⇞⇞↑");
    assert!(drawn(&mut model, (80, 24)).contains(&model.current().unwrap().name));
    press(&mut model, "/0042\n");
    assert_eq!(self::names(&model), ["web-0042"]);
}

#[test]
fn a_hostile_name_is_drawn_harmless() {
    let text = drawn(&mut model(), (120, 40));
    assert!(text.contains("日本\u{fffd}[2J\u{fffd}name"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn the_worst_comes_first_and_says_why() {
    let model = model();
    assert_eq!(names(&model)[..2], ["web", "db"]);
    assert_eq!(model.current().unwrap().worst().unwrap().text, "throttled 75 % at 0.25 cores");
}

#[test]
fn columns_sort_by_key_by_arrow_and_by_click_and_turn_round() {
    let mut model = model();
    drawn(&mut model, (80, 24));
    press(&mut model, "n");
    assert_eq!(names(&model)[0], "db");
    press(&mut model, "r");
    assert_eq!(names(&model)[0], "日本\u{fffd}[2J\u{fffd}name");
    press(&mut model, "→");
    assert_eq!((model.sort, names(&model)[0]), ((Column::Cpu, true), "web"));
    let (_, start, _) = model.areas.layout.columns.iter().find(|(column, ..)| *column == Column::Memory).unwrap();
    let click = |column: usize, row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: u16::try_from(column).unwrap(),
        row,
        modifiers: KeyModifiers::NONE,
    };
    let (header, list, start) = (model.areas.header.y, model.areas.list.y, *start);
    keys::mouse(&mut model, click(start + 1, header));
    assert_eq!((model.sort, names(&model)[0]), ((Column::Memory, true), "db"));
    // A row without the number comes last in either order.
    let absent = |model: &Model| names(model)[4..].contains(&"job");
    assert!(absent(&model));
    keys::mouse(&mut model, click(start + 1, header));
    assert!(!model.sort.1 && absent(&model));
    // The reason stands below the first row, and belongs to it.
    keys::mouse(&mut model, click(3, list + 1));
    assert_eq!((model.place(), model.details), (Some(0), Details::Closed));
    keys::mouse(&mut model, click(3, list + 2));
    assert_eq!((model.place(), model.details), (Some(1), Details::Closed));
    keys::mouse(&mut model, click(3, list + 2));
    assert_eq!(model.details, Details::Pane);
}

#[test]
fn the_column_that_is_sorted_by_is_seen_in_a_small_window() {
    let mut model = model();
    press(&mut model, "D");
    assert!(drawn(&mut model, (80, 24)).contains("FDS▼"));
}

#[test]
fn a_filter_is_typed_and_taken_back_step_by_step() {
    let mut model = model();
    press(&mut model, "/DB\n");
    assert_eq!(names(&model), ["db", "db-backup"]);
    press(&mut model, "/-\n");
    assert_eq!(names(&model), ["db-backup"]);
    press(&mut model, "/\x08");
    assert_eq!(names(&model).len(), 2);
    press(&mut model, "\x1b");
    assert_eq!(names(&model).len(), 6);
    press(&mut model, "/throttled\n");
    assert_eq!(names(&model), ["web"]);
    assert_eq!(keys::key(&mut model, KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)), Next::Quit);
}

#[test]
fn the_selection_stays_with_its_container() {
    let mut model = model();
    press(&mut model, "n↓↓");
    let name = model.current().unwrap().name.clone();
    press(&mut model, "wrt");
    assert_eq!(model.current().unwrap().name, name);
    let mut less = sample::some(111);
    less.containers.retain(|container| container.identity.name != name);
    let place = model.place().unwrap();
    model.update(Own::default().update(&less));
    assert_eq!(model.place(), Some(place.min(model.shown() - 1)), "another is where it was");
}

#[test]
fn a_pause_stops_the_rows_and_not_the_past() {
    let mut model = model();
    press(&mut model, "p");
    model.update(Own::default().update(&sample::report(200, &[])));
    assert_eq!(names(&model).len(), 6);
    assert!(drawn(&mut model, (80, 24)).contains("paused"));
    press(&mut model, "p");
    assert_eq!(names(&model).len(), 0);
}

#[test]
fn what_has_ended_lingers_and_goes() {
    let mut model = Model::new("host1", Duration::from_secs(1));
    let ended = Sample { name: "job", path: "/docker/a", status: Status::Exited, values: &[] };
    let update = |report: &Report| Own::default().update(report);
    model.update(update(&sample::report(100, &[ended])));
    model.update(update(&sample::report(105, &[])));
    assert_eq!(names(&model), ["job"]);
    model.update(update(&sample::report(116, &[])));
    assert!(names(&model).is_empty());
}

#[test]
fn what_ends_between_two_reports_is_shown_at_once_and_nothing_else_goes() {
    let mut model = model();
    let mut ended = sample::some(110);
    ended.containers.retain(|container| container.identity.name == "db");
    ended.containers[0].status = Status::Exited;
    ended.coverage = Coverage::Exited;
    let update = Own::default().update(&ended);
    press(&mut model, "p");
    model.update(update.clone());
    assert_eq!(names(&model).len(), 6);
    press(&mut model, "p");
    let db = model.rows().find(|row| row.name == "db").unwrap();
    assert_eq!((db.status, model.shown()), (Some(Status::Exited), 6));
}

#[test]
fn an_out_of_memory_kill_is_the_worst_and_is_in_the_log() {
    let mut model = Model::new("host1", Duration::from_secs(1));
    let mut own = Own::default();
    for (second, kills) in [(100, 2), (101, 3)] {
        let values = [(Metric::OomKills, kills)];
        let web = Sample { name: "web", path: "/docker/a", status: Status::Running, values: &values };
        model.update(own.update(&sample::report(second, &[web])));
    }
    let worst = model.current().unwrap().worst().unwrap();
    assert_eq!((worst.level, worst.text.as_str()), (Level::Error, "OOM kill just now"));
    press(&mut model, "\n");
    assert!(drawn(&mut model, (120, 40)).contains("ERROR out of memory"));
}

#[test]
fn log_entries_that_are_read_again_are_shown_once() {
    let mut model = model();
    let entry = LogEntry::written(std::time::UNIX_EPOCH, Level::Warn, "Valkey was away");
    for second in [120, 121] {
        let rows = Own::default().update(&sample::some(second)).rows;
        let entries = vec![("web".to_owned(), entry.clone())];
        model.update(Update { taken: std::time::UNIX_EPOCH, coverage: Coverage::All, rows, entries });
    }
    assert_eq!(model.entries("web").filter(|known| **known == entry).count(), 1);
}

#[test]
fn no_two_columns_have_the_same_key_and_none_has_one_of_the_view() {
    for (place, column) in Column::ALL.iter().enumerate() {
        assert!(!"q?/rtpjkgG <>,.".contains(column.spec().key), "{column:?}");
        assert_eq!(Column::ALL.iter().position(|other| other.spec().key == column.spec().key), Some(place));
    }
}

/// A name, a path, true if it has exited, and readings by the positions of their rows.
type Any = (String, String, bool, Vec<(usize, u64)>);

fn any_container() -> impl Strategy<Value = Any> {
    (
        "\\PC{0,20}|.{0,4}",
        "(/[ab]{0,2}){0,4}",
        any::<bool>(),
        proptest::collection::vec((0..Metric::COUNT, any::<u64>()), 0..20),
    )
}

fn any_report(containers: &[Any], second: u64) -> Report {
    let readable = |metric: Metric| !metric.spec().origins().is_empty() && !metric.is_shared();
    let values: Vec<Vec<(Metric, u64)>> = containers
        .iter()
        .map(|(.., values)| {
            values
                .iter()
                .map(|(place, value)| (Metric::ALL[*place], *value))
                .filter(|(metric, _)| readable(*metric))
                .collect()
        })
        .collect();
    let samples: Vec<Sample<'_>> = containers
        .iter()
        .zip(&values)
        .map(|((name, path, ended, _), values)| Sample {
            name,
            path,
            status: if *ended { Status::Exited } else { Status::Running },
            values,
        })
        .collect();
    sample::report(second, &samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_reported_and_typed_the_selection_is_one_of_the_rows_and_everything_can_be_drawn(
        reports in proptest::collection::vec(proptest::collection::vec(any_container(), 0..6), 1..5),
        keys in proptest::collection::vec("[nHcCTmMOioRWPDxauw?/rtpjkgG<> ab\n\x1b\x08↓↑→←⇞⇟⇱⇲]{0,12}", 1..5),
        clicks in proptest::collection::vec((0u16..130, 0u16..50, 0u8..3), 0..8),
        size in (1u16..130, 1u16..50),
    ) {
        let mut model = Model::new("any", Duration::from_secs(1));
        let mut own = Own::default();
        let steps = (100..).zip(reports.iter().zip(keys.iter().chain(std::iter::repeat(&keys[0]))));
        for (second, (containers, keys)) in steps {
            model.update(own.update(&any_report(containers, second)));
            press(&mut model, keys);
            drawn(&mut model, size);
            for &(column, row, kind) in &clicks {
                let kind = [MouseEventKind::Down(MouseButton::Left), MouseEventKind::ScrollUp, MouseEventKind::ScrollDown][usize::from(kind)];
                keys::mouse(&mut model, MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
            }
            drawn(&mut model, size);
            prop_assert!(model.place().is_none_or(|place| place < model.shown()));
            prop_assert_eq!(model.current().is_some(), model.shown() > 0);
            prop_assert_eq!(model.visible().count(), model.shown());
        }
    }
}
