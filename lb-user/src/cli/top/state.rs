//! What is on the screen, and what keys do to it. Pure: time and answers come in, a picture and wishes go out.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rates::{Between, Rates};
use crate::api::types::{AdminState, BackendStatus, Health, ServiceStatus, Status};

/// Looks that the curve remembers: more than any terminal is wide.
const HISTORY: usize = 512;

/// By what rows are sorted: services among each other, and the backends of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As in the file.
    #[default]
    File,
    Packets,
    Bits,
    NewFlows,
    Flows,
    /// What is down comes first.
    Health,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::File => Self::Packets,
            Self::Packets => Self::Bits,
            Self::Bits => Self::NewFlows,
            Self::NewFlows => Self::Flows,
            Self::Flows => Self::Health,
            Self::Health => Self::File,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Packets => "packets",
            Self::Bits => "bits",
            Self::NewFlows => "new flows",
            Self::Flows => "flows",
            Self::Health => "health",
        }
    }
}

/// A backend, as commands name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) address: SocketAddr,
    /// Its name, for people.
    pub(super) name: String,
}

/// What keys wish for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Set(Target, AdminState),
}

/// What keys go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// The filter is being typed.
    Filter,
    /// Shall this be done?
    Confirm(Target, AdminState),
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) enum Row<'a> {
    /// With the sums of its backends.
    Service(&'a ServiceStatus, Rates, u64),
    Backend(&'a ServiceStatus, &'a BackendStatus, Rates),
}

impl Row<'_> {
    fn is(&self, selected: &Selected) -> bool {
        match self {
            Self::Service(service, ..) => selected.service == service.name && selected.backend.is_none(),
            Self::Backend(service, backend, _) => {
                selected.service == service.name && selected.backend == Some(backend.address)
            }
        }
    }

    fn select(&self) -> Selected {
        match self {
            Self::Service(service, ..) => Selected {
                service: service.name.clone(),
                backend: None,
            },
            Self::Backend(service, backend, _) => Selected {
                service: service.name.clone(),
                backend: Some(backend.address),
            },
        }
    }
}

/// A row by what it shows, so that it stays selected when rows move.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selected {
    service: String,
    backend: Option<SocketAddr>,
}

/// The screen.
#[derive(Debug, Default)]
pub(super) struct Top {
    /// The last answer, and when it came, since the start.
    pub(super) status: Option<(Status, Duration)>,
    pub(super) between: Between,
    /// Packets per second of all backends, the newest last.
    pub(super) history: VecDeque<u64>,
    /// Why there is no newer answer.
    pub(super) lost: Option<String>,
    /// What came of the last command.
    pub(super) message: Option<String>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) mode: Mode,
    selected: Option<Selected>,
}

impl Top {
    /// The daemon has answered, or why it has not, `now` after the start.
    pub(super) fn answered(&mut self, answer: Result<Status, String>, now: Duration) {
        match answer {
            Ok(status) => {
                self.lost = None;
                if let Some((old, then)) = &self.status {
                    self.between = Between::new(old, &status, now.saturating_sub(*then));
                    self.history.push_back(self.between.total.packets.round() as u64);
                    if self.history.len() > HISTORY {
                        self.history.pop_front();
                    }
                }
                self.status = Some((status, now));
            }
            Err(reason) => {
                self.lost = Some(reason);
                // They are of a time that is over.
                self.between = Between::default();
            }
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Wish::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Filter => self.type_filter(key.code),
            Mode::Confirm(target, state) => match key.code {
                KeyCode::Char('y') => return Some(Wish::Set(target, state)),
                _ => self.message = Some("nothing was done".to_owned()),
            },
            Mode::Table => {
                self.message = None;
                match key.code {
                    KeyCode::Char('q') => return Some(Wish::Quit),
                    KeyCode::Char('s') => self.sort = self.sort.next(),
                    KeyCode::Char('/') => self.mode = Mode::Filter,
                    KeyCode::Esc => self.filter.clear(),
                    KeyCode::Char('d') => self.ask(AdminState::Drain),
                    KeyCode::Char('e') => self.ask(AdminState::Active),
                    KeyCode::Up | KeyCode::Char('k') => self.step(-1),
                    KeyCode::Down | KeyCode::Char('j') => self.step(1),
                    KeyCode::PageUp => self.step(-10),
                    KeyCode::PageDown => self.step(10),
                    KeyCode::Home => self.step(isize::MIN),
                    KeyCode::End => self.step(isize::MAX),
                    _ => {}
                }
            }
        }
        None
    }

    fn type_filter(&mut self, code: KeyCode) {
        self.mode = Mode::Filter;
        match code {
            KeyCode::Char(c) => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            _ => {}
        }
    }

    fn ask(&mut self, state: AdminState) {
        let rows = self.rows();
        let target = self.at(&rows).and_then(|at| match rows[at] {
            Row::Backend(service, backend, _) => Some(Target {
                service: service.name.clone(),
                address: backend.address,
                name: backend.name.clone(),
            }),
            Row::Service(..) => None,
        });
        match target {
            Some(target) => self.mode = Mode::Confirm(target, state),
            None => self.message = Some("select a backend first".to_owned()),
        }
    }

    fn step(&mut self, by: isize) {
        let rows = self.rows();
        let Some(last) = rows.len().checked_sub(1) else { return };
        let to = match self.at(&rows) {
            Some(at) => at.saturating_add_signed(by).min(last),
            None => 0,
        };
        self.selected = Some(rows[to].select());
    }

    /// Which of these rows is selected.
    pub(super) fn at(&self, rows: &[Row<'_>]) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        rows.iter().position(|row| row.is(selected))
    }

    /// The rows, filtered and sorted. A service whose name has the filter's text in it is shown whole.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some((status, _)) = &self.status else {
            return Vec::new();
        };
        let has = |text: &str| text.to_lowercase().contains(&self.filter.to_lowercase());
        let mut groups = Vec::new();
        for service in &status.services {
            let whole = has(&service.name);
            let shown = |b: &&BackendStatus| whole || has(&b.name) || has(&b.address.to_string());
            let (mut total, mut flows, mut backends) = (Rates::default(), 0, Vec::new());
            for backend in &service.backends {
                let rates = self.between.of(&service.name, backend.address);
                total += rates;
                flows += backend.flows();
                if shown(&backend) {
                    backends.push(Row::Backend(service, backend, rates));
                }
            }
            if whole || !backends.is_empty() {
                // Equal ones stay as in the file.
                backends.sort_by(|a, b| self.order(a, b));
                groups.push((Row::Service(service, total, flows), backends));
            }
        }
        groups.sort_by(|(a, _), (b, _)| self.order(a, b));
        let rows = groups.into_iter();
        rows.flat_map(|(service, backends)| std::iter::once(service).chain(backends))
            .collect()
    }

    fn order(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let key = |row: &Row<'_>| {
            let (rates, flows, down) = match row {
                Row::Service(service, rates, flows) => {
                    let down = service.backends.iter().filter(|b| b.health == Health::Down).count();
                    (*rates, *flows, down)
                }
                Row::Backend(_, backend, rates) => {
                    (*rates, backend.flows(), usize::from(backend.health == Health::Down))
                }
            };
            match self.sort {
                Sort::File => 0.0,
                Sort::Packets => rates.packets,
                Sort::Bits => rates.bits,
                Sort::NewFlows => rates.flows,
                Sort::Flows => flows as f64,
                Sort::Health => down as f64,
            }
        };
        key(b).total_cmp(&key(a))
    }
}
