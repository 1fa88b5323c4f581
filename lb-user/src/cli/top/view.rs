//! The picture of a [`Top`]. Pure; readable from 80 columns and 24 lines on.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Sparkline, Table, TableState};

use super::rates::{Rates, RefusedRates, short};
use super::state::{Mode, Row, Top};
use crate::api::types::{
    AdminState, BackendStatus, Health, Protection, Role, ServiceStatus, Status, VirtualRouter, XdpMode,
};

/// From here on there is room for addresses and for why a backend is up or down.
const WIDE: u16 = 110;

const LOUD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const ODD: Style = Style::new().fg(Color::Yellow);
const QUIET: Style = Style::new().fg(Color::DarkGray);
const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);

pub(super) fn draw(top: &Top, socket: &str, frame: &mut Frame<'_>) {
    let warnings = warnings(top, socket);
    let lines = |n: usize| Constraint::Length(u16::try_from(n).unwrap_or(u16::MAX));
    let roles = roles(top, frame.area().width.into());
    let [head, curve, warned, routers, table, drops, foot] = Layout::vertical([
        lines(1),
        lines(2),
        lines(warnings.len().min(4)),
        lines(roles.iter().len()),
        Constraint::Min(1),
        lines(1),
        lines(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(top)), head);
    // The newest at the right.
    let width = usize::from(curve.width);
    let skipped = top.history.len().saturating_sub(width);
    let values = std::iter::repeat_n(0, width.saturating_sub(top.history.len()));
    let values: Vec<u64> = values.chain(top.history.iter().skip(skipped).copied()).collect();
    frame.render_widget(Sparkline::default().data(values).style(Color::Cyan), curve);
    frame.render_widget(Paragraph::new(warnings), warned);
    frame.render_widget(Paragraph::new(roles.unwrap_or_default()), routers);
    draw_table(top, frame, table);
    frame.render_widget(Paragraph::new(dropped(top)), drops);
    frame.render_widget(Paragraph::new(footer(top)), foot);
}

fn header(top: &Top) -> Line<'static> {
    let Some((status, _)) = &top.status else {
        return Line::styled("fulcrum top", HEAD);
    };
    let Rates { packets, bits, flows } = top.between.total;
    let interfaces = status.interfaces.iter().map(|i| match i.mode {
        XdpMode::Native => i.name.clone(),
        XdpMode::Generic => format!("{} (generic)", i.name),
    });
    let interfaces = interfaces.collect::<Vec<_>>().join(" ");
    let mut line = Line::from(vec![
        Span::styled(status.node.clone(), HEAD),
        Span::styled(format!(" {interfaces}  "), QUIET),
        Span::raw(format!(
            "{} pkt/s  {}bit/s  {} new flows/s",
            short(packets),
            spaced(bits),
            short(flows)
        )),
    ]);
    let RefusedRates { dropped, observed } = top.between.refused_total;
    for (rate, what) in [(dropped, "refused"), (observed, "only observed")] {
        if rate > 0.0 {
            line.push_span(Span::styled(format!("  {} {what}/s", short(rate)), ODD));
        }
    }
    line
}

/// As in `12.3 M`, for a unit to follow.
fn spaced(number: f64) -> String {
    let text = short(number);
    match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(unit) => format!("{} {}", &text[..unit], &text[unit..]),
        None => format!("{text} "),
    }
}

/// What is not as it should be.
fn warnings(top: &Top, socket: &str) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(reason) = &top.lost {
        let old = if top.status.is_some() {
            "; what is below is old"
        } else {
            ""
        };
        lines.push(Line::styled(format!("no answer{old}: {reason}"), LOUD));
    } else if top.status.is_none() {
        lines.push(Line::styled(format!("asking {socket} ..."), QUIET));
    }
    let Some((status, _)) = &top.status else { return lines };
    for interface in &status.unattached_interfaces {
        let text = format!("not attached to {}: {}", interface.name, interface.reason);
        lines.push(Line::styled(text, LOUD));
    }
    if let Some(fault) = &status.fault {
        lines.push(Line::styled(format!("fault: {fault}"), LOUD));
    }
    if status.protection.as_ref().is_some_and(Protection::only_observes) {
        let text = "protection only observes: what would be refused goes on";
        lines.push(Line::styled(text, ODD));
    }
    if status.refused_reload.is_some() {
        let text = "the file was refused, an older one runs: `fulcrum reload` says why";
        lines.push(Line::styled(text, LOUD));
    }
    lines
}

/// What the node is in its virtual routers, and why, where all of that has room in one line; `None` without any.
fn roles(top: &Top, width: usize) -> Option<Line<'static>> {
    let (Status { virtual_routers, .. }, _) = top.status.as_ref()?;
    let line = |why: bool| {
        let span = |router: &VirtualRouter| {
            let rival = if router.rival { " beside another" } else { "" };
            let why = if why {
                format!(": {}", router.reason)
            } else {
                String::new()
            };
            let text = format!("  {} {}{rival}{why}", router.name, router.role.to_uppercase());
            let is_wrong = router.rival || router.role == "fault";
            Span::styled(text, if is_wrong { LOUD } else { Style::new() })
        };
        let spans = virtual_routers.iter().map(span);
        Line::from_iter(std::iter::once(Span::raw("vrrp")).chain(spans))
    };
    let full = line(true);
    let line = if full.width() <= width { full } else { line(false) };
    (!virtual_routers.is_empty()).then_some(if top.lost.is_some() { line.style(QUIET) } else { line })
}

fn draw_table(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let wide = area.width >= WIDE;
    let rows = top.rows();
    let mut names = vec!["NAME", "HEALTH", "SHARE", "PKT/S", "BIT/S", "NEW/S", "FLOWS"];
    let mut widths = vec![
        Constraint::Fill(2),
        Constraint::Length(12),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    let protected = top
        .status
        .as_ref()
        .is_some_and(|(status, _)| status.protection.is_some());
    if protected {
        names.push("REFUSED");
        widths.push(Constraint::Length(7));
    }
    let numbers = names.len();
    if wide {
        names.extend(["ADDRESS", "REASON"]);
        widths.extend([Constraint::Length(24), Constraint::Fill(2)]);
    }
    let head = names
        .into_iter()
        .enumerate()
        .map(|(at, name)| aligned(at, name.to_owned(), numbers));
    let lines = rows.iter().map(|row| match row {
        Row::Service(service, rates, flows) => {
            let down = service.backends.iter().filter(|b| b.health == Health::Down).count();
            let health = match down {
                _ if !service.healthy => "NO QUORUM".to_owned(),
                0 if !service.unresolved.is_empty() => format!("{} unresolved", service.unresolved.len()),
                0 => format!("{} backends", service.backends.len()),
                down => format!("{down} of {} DOWN", service.backends.len()),
            };
            let addresses = service.vips.iter().map(|vip| vip.address.to_string());
            let addresses = if service.is_pool() {
                "pool".to_owned()
            } else {
                addresses.collect::<Vec<_>>().join(" ")
            };
            let more = wide.then(|| [addresses, format!("{} {}", service.mode, service.balance)]);
            let refused = protected.then(|| refused(service, top.between.refused.get(&service.name)));
            let more = refused.into_iter().chain(more.into_iter().flatten());
            let cells = cells(&service.name, health, String::new(), *rates, *flows, more, numbers);
            Cells::new(cells).style(HEAD)
        }
        Row::Backend(service, backend, rates) => {
            let share = share(service, backend);
            let (health, style) = health(backend);
            let name = format!("  {}", backend.name);
            let reason = backend.next_hop_reason.as_ref().unwrap_or(&backend.health_reason);
            let more = wide.then(|| [backend.address.to_string(), reason.clone()]);
            let refused = protected.then(String::new);
            let more = refused.into_iter().chain(more.into_iter().flatten());
            let cells = cells(&name, health, share, *rates, backend.flows(), more, numbers);
            Cells::new(cells).style(if top.lost.is_some() { QUIET } else { style })
        }
    });
    let table = Table::new(lines, widths)
        .header(Cells::new(head).style(Style::new().add_modifier(Modifier::REVERSED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(top.at(&rows));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Packets per second that are refused to a service; in brackets those that would be, while that is only observed.
fn refused(service: &ServiceStatus, rates: Option<&RefusedRates>) -> String {
    let Some(protection) = &service.protection else {
        return "-".to_owned();
    };
    let rates = rates.copied().unwrap_or_default();
    if protection.only_observes() {
        format!("({})", short(rates.observed))
    } else {
        short(rates.dropped)
    }
}

/// Of a ring; the proxy has none.
fn share(service: &ServiceStatus, backend: &BackendStatus) -> String {
    if backend.proxy.is_some() {
        return "-".to_owned();
    }
    let share = f64::from(backend.slots) * 100.0 / f64::from(service.table_size.max(1));
    format!("{share:.1}%")
}

/// The cells of a row, with `more` behind them; columns of numbers end before `end`.
fn cells(
    name: &str,
    health: String,
    share: String,
    rates: Rates,
    flows: u64,
    more: impl Iterator<Item = String>,
    end: usize,
) -> Vec<Cell<'static>> {
    let numbers = [rates.packets, rates.bits, rates.flows, flows as f64].map(short);
    let mut cells = vec![name.to_owned(), health, share];
    cells.extend(numbers);
    cells.extend(more);
    cells
        .into_iter()
        .enumerate()
        .map(|(at, text)| aligned(at, text, end))
        .collect()
}

/// Columns of numbers, which end before `end`, are aligned to the right.
fn aligned(column: usize, text: String, end: usize) -> Cell<'static> {
    let text = Text::from(text);
    Cell::from(if (2..end).contains(&column) {
        text.right_aligned()
    } else {
        text
    })
}

fn health(backend: &BackendStatus) -> (String, Style) {
    let word = match (backend.state, backend.health) {
        (AdminState::Disabled, _) => return ("disabled".to_owned(), QUIET),
        (_, Health::Down) => return ("DOWN".to_owned(), LOUD),
        (AdminState::Drain, _) if backend.leaving => "leaving",
        (AdminState::Drain, _) => "draining",
        (AdminState::Active, Health::Unknown) => "unknown",
        (AdminState::Active, Health::Up) if backend.is_unreachable() => "unreachable",
        (AdminState::Active, Health::Up) if backend.role == Role::Backup && !backend.serves() => {
            return ("standby".to_owned(), QUIET);
        }
        (AdminState::Active, Health::Up) if backend.proxy.is_some_and(|proxy| proxy.ejected) => "set aside",
        (AdminState::Active, Health::Up) => match backend.slow_start_tenths {
            Some(tenths) => return (format!("up, {tenths}0%"), ODD),
            None => return ("up".to_owned(), Style::new()),
        },
    };
    (word.to_owned(), ODD)
}

/// Drops that there have been, those that go on first.
fn dropped(top: &Top) -> Line<'static> {
    let Some((Status { drops, .. }, _)) = &top.status else {
        return Line::default();
    };
    let rate = |reason: &String| top.between.drops.get(reason).copied().unwrap_or_default();
    let mut seen: Vec<_> = drops.iter().filter(|(_, count)| **count > 0).collect();
    seen.sort_by(|(a, m), (b, n)| rate(b).total_cmp(&rate(a)).then(n.cmp(m)));
    if seen.is_empty() {
        return Line::styled("no drops", QUIET);
    }
    let seen = seen
        .into_iter()
        .map(|(reason, &count)| format!("{reason} {}/s ({})", short(rate(reason)), short(count as f64)));
    Line::raw(format!("drops  {}", seen.collect::<Vec<_>>().join("  ")))
}

fn footer(top: &Top) -> Line<'static> {
    match &top.mode {
        Mode::Filter => Line::raw(format!("filter: {}_   Enter keeps it, Esc ends it", top.filter)),
        Mode::Confirm(target, state) => {
            let (verb, what) = match state {
                AdminState::Drain => ("drain", "it gets no new flows"),
                AdminState::Active => ("enable", "it serves while it is healthy"),
                AdminState::Disabled => ("disable", "its flows are cut"),
            };
            let text = format!(
                "{verb} {}/{}: {what}. y does it, all else does not",
                target.service, target.name
            );
            Line::styled(text, ODD)
        }
        Mode::Table => match &top.message {
            Some(message) => Line::raw(message.clone()),
            None => {
                let filter = match top.filter.as_str() {
                    "" => String::new(),
                    filter => format!(" \"{filter}\", Esc ends it"),
                };
                let sort = top.sort.label();
                Line::styled(
                    format!("q quit  s sort: {sort}  / filter{filter}  ↑↓ select  d drain  e enable"),
                    QUIET,
                )
            }
        },
    }
}
