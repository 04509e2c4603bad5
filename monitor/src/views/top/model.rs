//! The state of the view: rows, their order, the filter, the selection, the history. Pure: updates and keys change it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use ratatui::layout::Rect;

use super::history::History;
use super::tree::{Branch, grow};
use crate::events::LogEntry;
use crate::findings::Level;
use crate::snapshot::{Coverage, Status};
use crate::views::columns::Column;
use crate::views::lines::Layout;
use crate::views::row::Row;

/// An update of the view.
#[derive(Clone, Debug)]
pub struct Update {
    /// The time at which it was read.
    pub taken: SystemTime,
    /// The containers that it covers: all, or those that have exited.
    pub coverage: Coverage,
    /// The containers.
    pub rows: Vec<Row>,
    /// Log entries by container, oldest first.
    pub entries: Vec<(String, LogEntry)>,
}

/// Extent of the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// Its line alone.
    Closed,
    /// A pane below the list.
    Pane,
    /// The whole window.
    Full,
}

/// The areas that were drawn, which the mouse may hit.
#[derive(Clone, Debug, Default)]
pub struct Areas {
    /// The titles of the columns.
    pub header: Rect,
    /// The rows.
    pub list: Rect,
    /// The place of the row that each line of the list belongs to.
    pub places: Vec<usize>,
    /// The pane of details.
    pub details: Rect,
    /// The columns.
    pub layout: Layout,
    /// The number of lines of the details.
    pub details_lines: usize,
}

/// Time for which an exited container is shown.
const LINGER: Duration = Duration::from_secs(15);
/// Updates about exited containers that wait while the view is paused.
const WAITING: usize = 100;
/// Log entries that are kept of a container.
const ENTRIES: usize = 50;

/// The state of the view.
#[derive(Debug)]
pub struct Model {
    /// The machine or the server that is shown.
    pub subject: String,
    /// The time between two updates.
    pub interval: Duration,
    /// The time at which the rows were read.
    pub taken: Option<SystemTime>,
    /// The column that is sorted by, and true if the largest value comes first.
    pub sort: (Column, bool),
    /// Rows without these words are not shown.
    pub filter: String,
    /// True while the filter is being typed.
    pub is_editing: bool,
    /// True if containers are shown below those that contain them.
    pub is_tree: bool,
    /// True while updates wait.
    pub is_paused: bool,
    /// True while the help is shown.
    pub is_help: bool,
    /// The extent of the details of one container.
    pub details: Details,
    /// The first line of the details that is shown.
    pub scroll: usize,
    /// The first row that is shown.
    pub first: usize,
    /// The message in the last line.
    pub note: Option<String>,
    /// The areas that were drawn last.
    pub areas: Areas,
    rows: BTreeMap<String, Row>,
    histories: BTreeMap<String, History>,
    entries: BTreeMap<String, VecDeque<LogEntry>>,
    visible: Vec<(String, String)>,
    selected: Option<String>,
    waiting: Vec<Update>,
    behind: usize,
}

impl Model {
    /// Creates an empty model.
    pub fn new(subject: impl Into<String>, interval: Duration) -> Self {
        Self {
            subject: subject.into(),
            interval,
            taken: None,
            sort: (Column::Why, true),
            filter: String::new(),
            is_editing: false,
            is_tree: false,
            is_paused: false,
            is_help: false,
            details: Details::Closed,
            scroll: 0,
            first: 0,
            note: None,
            areas: Areas::default(),
            rows: BTreeMap::new(),
            histories: BTreeMap::new(),
            entries: BTreeMap::new(),
            visible: Vec::new(),
            selected: None,
            waiting: Vec::new(),
            behind: 0,
        }
    }

    /// Applies an update. The history grows while the view is paused, the rows do not.
    pub fn update(&mut self, update: Update) {
        for row in &update.rows {
            self.histories.entry(row.name.clone()).or_default().push(row);
        }
        for (name, entry) in update.entries.iter().cloned() {
            let entries = self.entries.entry(name).or_default();
            if entries.iter().any(|known| *known == entry) {
                continue;
            }
            if entries.len() == ENTRIES {
                entries.pop_front();
            }
            entries.push_back(entry);
        }
        if self.is_paused {
            self.behind += 1;
            self.wait(update);
        } else {
            self.replace(update);
        }
    }

    /// Queues an update until the view resumes. An update about every container replaces those before it.
    fn wait(&mut self, update: Update) {
        if update.coverage == Coverage::All || self.waiting.len() > WAITING {
            self.waiting.clear();
        }
        self.waiting.push(update);
    }

    fn replace(&mut self, update: Update) {
        let mut rows = BTreeMap::new();
        for mut row in update.rows {
            if let Some(history) = self.histories.get(&row.name) {
                row.judge(history.timeline(), update.taken);
            }
            // An exited container and a new one of the same name may be in one report.
            if row.status != Some(Status::Exited) || !rows.contains_key(&row.name) {
                rows.insert(row.name.clone(), row);
            }
        }
        if update.coverage == Coverage::Exited {
            self.rows.extend(rows);
        } else {
            let lingers = |row: &Row| {
                row.status == Some(Status::Exited)
                    && update.taken.duration_since(row.taken).unwrap_or_default() < LINGER
            };
            for (name, mut row) in std::mem::take(&mut self.rows).into_iter().filter(|(_, row)| lingers(row)) {
                if let Some(history) = self.histories.get(&name) {
                    row.judge(history.timeline(), update.taken);
                }
                rows.entry(name).or_insert(row);
            }
            self.rows = rows;
            self.taken = Some(update.taken);
            self.histories.retain(|name, _| self.rows.contains_key(name));
            self.entries.retain(|name, _| self.rows.contains_key(name));
        }
        self.arrange();
    }

    /// Pauses or resumes.
    pub fn pause(&mut self) {
        self.is_paused = !self.is_paused;
        if !self.is_paused {
            self.behind = 0;
            for update in std::mem::take(&mut self.waiting) {
                self.replace(update);
            }
        }
    }

    /// Selects and sorts the rows that are shown.
    pub fn arrange(&mut self) {
        let place = self.place();
        let (column, descending) = self.sort;
        let words = self.filter.to_lowercase();
        let mut rows: Vec<&Row> = self.rows.values().filter(|row| matches(row, &words)).collect();
        rows.sort_by(|a, b| column.compare(a, b, descending));
        let branches = if self.is_tree {
            grow(&rows)
        } else {
            (0..rows.len()).map(|row| Branch { row, prefix: String::new() }).collect()
        };
        self.visible = branches.into_iter().map(|branch| (rows[branch.row].name.clone(), branch.prefix)).collect();
        // The selected row is gone, and another one has its place.
        if self.selected.is_some() && self.place().is_none() {
            let place = place.unwrap_or(0).min(self.visible.len().saturating_sub(1));
            self.selected = self.visible.get(place).map(|(name, _)| name.clone());
        }
        if self.visible.is_empty() {
            self.selected = None;
        }
    }

    /// The place of the selected row among those that are shown.
    pub fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.visible.iter().position(|(name, _)| name == selected)
    }

    /// Selects the row at a place, or the nearest.
    pub fn select(&mut self, place: usize) {
        let place = place.min(self.visible.len().saturating_sub(1));
        let selected = self.visible.get(place).map(|(name, _)| name.clone());
        if selected != self.selected {
            self.selected = selected;
            self.scroll = 0;
        }
    }

    /// Moves the selection. The first move selects the first row.
    pub fn step(&mut self, by: isize) {
        let to =
            self.place().map_or(if by > 1 { by - 1 } else { 0 }, |place| place.saturating_add_signed(by).cast_signed());
        self.select(to.max(0).cast_unsigned());
    }

    /// Clears the selection, so that the list begins with its first row.
    pub fn unselect(&mut self) {
        self.selected = None;
        self.first = 0;
    }

    /// Sorts by a column; a second time in reverse order.
    pub fn sort_by(&mut self, column: Column) {
        self.sort = if self.sort.0 == column { (column, !self.sort.1) } else { (column, column.is_descending()) };
        self.arrange();
    }

    /// Sorts by the column beside the one that is sorted by, among those that are drawn.
    pub fn sort_beside(&mut self, forward: bool) {
        let drawn: Vec<Column> = self.areas.layout.columns.iter().map(|(column, ..)| *column).collect();
        let Some(now) = drawn.iter().position(|column| *column == self.sort.0) else { return };
        let next = (now + if forward { 1 } else { drawn.len() - 1 }) % drawn.len();
        if drawn[next] != self.sort.0 {
            self.sort_by(drawn[next]);
        }
    }

    /// The rows that are shown, each with the branches of the tree before its name.
    pub fn visible(&self) -> impl Iterator<Item = (&Row, &str)> {
        self.visible.iter().filter_map(|(name, prefix)| Some((self.rows.get(name)?, prefix.as_str())))
    }

    /// The number of rows that are shown.
    pub fn shown(&self) -> usize {
        self.visible.len()
    }

    /// All rows, shown or not.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The row that is selected, else the first.
    pub fn current(&self) -> Option<&Row> {
        self.rows.get(self.selected.as_ref().or_else(|| Some(&self.visible.first()?.0))?)
    }

    /// The container whose details are shown.
    pub fn wanted(&self) -> Option<&str> {
        let current = self.current().filter(|_| self.details != Details::Closed || !self.areas.details.is_empty())?;
        Some(&current.name)
    }

    /// The history of a container, and the number of its samples that are newer than the rows shown.
    pub fn history(&self, name: &str) -> Option<(&History, usize)> {
        Some((self.histories.get(name)?, self.behind))
    }

    /// The log entries of a container, oldest first.
    pub fn entries(&self, name: &str) -> impl DoubleEndedIterator<Item = &LogEntry> {
        self.entries.get(name).into_iter().flatten()
    }

    /// The number of containers whose worst finding has a level.
    pub fn count(&self, level: Level) -> usize {
        self.rows().filter(|row| row.worst().is_some_and(|finding| finding.level == level)).count()
    }

    /// The machines.
    pub fn hosts(&self) -> BTreeSet<&str> {
        self.rows().map(|row| row.host.as_str()).filter(|host| !host.is_empty()).collect()
    }
}

/// True if a row contains all the words in any of its texts.
fn matches(row: &Row, words: &str) -> bool {
    let about = row.about.iter().map(|(_, text)| text.as_str());
    let findings = row.findings.iter().map(|finding| finding.text.as_str());
    let all = [row.name.as_str(), &row.host, &row.cgroup, row.status()];
    let text = all.into_iter().chain(about).chain(findings).collect::<Vec<_>>().join("\n").to_lowercase();
    words.split_whitespace().all(|word| text.contains(word))
}
