//! The screen as text: a function of what it shows.

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{self, Canvas, Points};
use ratatui::widgets::{Paragraph, Wrap};

use super::screen::{Point, Screen, Seen};
use crate::experiment::progress::duration;
use crate::experiment::status::{RunStatus, State};
use crate::figures::short;

/// The least terminal that can show curves, in columns and rows.
const LEAST: (u16, u16) = (40, 10);
/// Columns from which on the list of runs stands beside the curves, and its own.
const WITH_LIST: u16 = 90;
const LIST: u16 = 34;
/// Columns for the numbers of an axis, and for those of modules at the ends of curves.
const AXIS: u16 = 8;
const ENDS: u16 = 3;

/// Draws the screen.
pub(super) fn draw(frame: &mut Frame, screen: &Screen) {
    let area = frame.area();
    let (width, height) = LEAST;
    if area.width < width || area.height < height {
        let text =
            format!("{} × {} is too small: gim watch needs {width} × {height}. q: leave", area.width, area.height);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let has_list = screen.names.len() > 1 && area.width >= WITH_LIST;
    let list = Constraint::Length(if has_list { LIST } else { 0 });
    let [left, area] = Layout::horizontal([list, Constraint::Min(0)]).areas(area);
    if has_list {
        draw_list(frame, screen, left);
    }
    let rows = [1, 1, 0, 2, 1].map(|n| if n == 0 { Constraint::Min(0) } else { Constraint::Length(n) });
    let [title, progress, curves, modules, keys] = Layout::vertical(rows).areas(area);
    frame.render_widget(Line::styled(title_of(screen, title.width), Modifier::BOLD), title);
    match &screen.seen {
        Seen::Nothing => frame.render_widget("reading …", progress),
        Seen::Unreadable(why) => {
            let area = Rect { height: progress.height + curves.height, ..progress };
            frame.render_widget(Paragraph::new(format!("cannot be read: {why}")).wrap(Wrap { trim: true }), area);
        }
        Seen::Read(status, rows) => {
            frame.render_widget(progress_of(status), progress);
            let of = screen.measure.curves(rows);
            draw_curves(frame, screen, &of, curves);
            frame.render_widget(Paragraph::new(legend(screen, &of)).wrap(Wrap { trim: true }), modules);
        }
    }
    let runs = if screen.names.len() > 1 { " · Tab: next run" } else { "" };
    let text = format!("q: leave · m: measure · 1-9: modules{runs}");
    frame.render_widget(Line::styled(text, Modifier::DIM), keys);
}

/// The run's name, and its number where there are several.
fn title_of(screen: &Screen, width: u16) -> String {
    let (at, n) = (screen.selected(), screen.names.len());
    let number = if n > 1 { format!(" ({} of {n})", at + 1) } else { String::new() };
    let room = usize::from(width).saturating_sub(number.chars().count());
    format!("{}{number}", end_of(&screen.names[at], room))
}

/// As much of the end of a name as there is room for: the folders above say less.
fn end_of(name: &str, room: usize) -> String {
    let n = name.chars().count();
    if n <= room { name.to_owned() } else { format!("…{}", name.chars().skip(n + 1 - room).collect::<String>()) }
}

/// How far the run is.
fn progress_of(status: &RunStatus) -> String {
    let total = status.total.map_or("?".into(), |total| total.to_string());
    let mut out = format!("{}: step {} of {total}", word(status.state), status.step);
    if let Some(total) = status.total.filter(|total| *total > 0) {
        out += &format!(" ({:.0} %)", 100.0 * status.step as f64 / total as f64);
    }
    // The end is what a narrow terminal cuts off.
    if let Some(left) = status.seconds_left {
        out += &format!(", {} left", duration(Duration::from_secs_f64(left.min(1e9))));
    }
    if let Some(pace) = status.steps_per_second {
        out += &format!(", {} steps/s", short(pace));
    }
    out
}

fn word(state: State) -> &'static str {
    match state {
        State::Training => "training",
        State::Evaluating => "evaluating",
        State::Trained => "trained",
        State::Stopped => "stopped",
    }
}

/// The runs, as many as there is room for around the selected one.
fn draw_list(frame: &mut Frame, screen: &Screen, area: Rect) {
    let rows = usize::from(area.height);
    let first = (screen.selected() + 1).saturating_sub(rows.div_ceil(2)).min(screen.names.len().saturating_sub(rows));
    let lines =
        screen.names.iter().zip(&screen.states).enumerate().skip(first).take(rows).map(|(at, (name, state))| {
            let mark = if at == screen.selected() { '›' } else { ' ' };
            let state = state.map_or("", word);
            let room = usize::from(area.width).saturating_sub(state.chars().count() + 5);
            let style = if at == screen.selected() { Style::from(Modifier::BOLD) } else { Style::new() };
            Line::styled(format!("{mark} {:<room$} {state}", end_of(name, room)), style)
        });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// Modules with their newest values.
fn legend<'a>(screen: &Screen, curves: &BTreeMap<usize, Vec<Point>>) -> Line<'a> {
    let entry = |(module, points): (&usize, &Vec<Point>)| {
        let newest = points.last().map_or(String::new(), |p| format!("{:.3}", p.1));
        match screen.hidden.contains(module) {
            true => Span::styled(format!("{module}: hidden  "), Modifier::DIM),
            false => Span::styled(format!("{module}: {newest}  "), color(screen, *module)),
        }
    };
    let modules = if curves.is_empty() { "" } else { "module  " };
    std::iter::once(Span::raw(modules)).chain(curves.iter().map(entry)).collect()
}

/// The color of a module, if modules have one.
fn color(screen: &Screen, module: usize) -> Color {
    const COLORS: [Color; 6] =
        [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::LightBlue, Color::LightRed];
    if screen.is_colorful { COLORS[module.saturating_sub(1) % COLORS.len()] } else { Color::Reset }
}

/// The curves between their axes, with the number of each module at its end.
fn draw_curves(frame: &mut Frame, screen: &Screen, curves: &BTreeMap<usize, Vec<Point>>, area: Rect) {
    let rows = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [head, middle, foot] = Layout::vertical(rows).areas(area);
    let columns = [Constraint::Length(AXIS), Constraint::Min(0), Constraint::Length(ENDS)];
    let [axis, plot, ends] = Layout::horizontal(columns).areas(middle);
    frame.render_widget(Line::raw(screen.measure.title()).centered(), head);
    let shown: Vec<(usize, &Vec<Point>)> =
        curves.iter().filter(|(m, _)| !screen.hidden.contains(m)).map(|(m, points)| (*m, points)).collect();
    let points = || shown.iter().flat_map(|(_, points)| points.iter());
    let (Some(x), Some(y)) = (range(points().map(|p| p.0)), range(points().map(|p| p.1))) else {
        let what = if curves.is_empty() { "no rows yet" } else { "all modules are hidden; 0 shows them" };
        frame.render_widget(Line::raw(what).centered(), plot);
        return;
    };
    let canvas = Canvas::default().marker(Marker::Braille).x_bounds(x).y_bounds(y).paint(|out| {
        for (module, points) in &shown {
            let color = color(screen, *module);
            out.draw(&Points { coords: points, color });
            for ends in points.windows(2) {
                let [(x1, y1), (x2, y2)] = [ends[0], ends[1]];
                out.draw(&canvas::Line { x1, y1, x2, y2, color });
            }
        }
    });
    frame.render_widget(canvas, plot);
    draw_axes(frame, [axis, foot], plot, x, y);
    let last_row = usize::from(ends.height.saturating_sub(1));
    let row = |value: f64| ((y[1] - value) / (y[1] - y[0]) * last_row as f64).round() as usize;
    let wanted: Vec<usize> = shown.iter().filter_map(|(_, points)| Some(row(points.last()?.1))).collect();
    for ((module, _), row) in shown.iter().zip(spread(&wanted, usize::from(ends.height))) {
        let Some(row) = row.and_then(|row| u16::try_from(row).ok()) else { continue };
        let area = Rect { y: ends.y + row, height: 1, ..ends };
        frame.render_widget(Span::styled(format!(" {module}"), color(screen, *module)), area);
    }
}

/// The least and the largest value of each axis, and the value half way up.
fn draw_axes(frame: &mut Frame, [axis, foot]: [Rect; 2], plot: Rect, x: [f64; 2], y: [f64; 2]) {
    let width = usize::from(AXIS - 1);
    // As many digits as tell the marks apart.
    let digits = (2.0 - (y[1] - y[0]).log10().floor()).clamp(0.0, 5.0) as usize;
    let marks =
        [(0, y[1]), (axis.height.saturating_sub(1) / 2, (y[0] + y[1]) / 2.0), (axis.height.saturating_sub(1), y[0])];
    for (row, value) in marks {
        let area = Rect { y: axis.y + row, height: 1, ..axis };
        frame.render_widget(Span::raw(format!("{value:>width$.digits$}")), area);
    }
    let foot = Rect { x: plot.x, width: plot.width, ..foot };
    frame.render_widget(Line::raw(format!("step {}", x[0])), foot);
    frame.render_widget(Line::raw(format!("{}", x[1])).right_aligned(), foot);
}

/// The least and the largest value, made to differ; none without values.
fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let [least, most] = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], v| [a.min(v), b.max(v)]);
    match least.total_cmp(&most) {
        std::cmp::Ordering::Less => Some([least, most]),
        std::cmp::Ordering::Equal => Some([least, least + 0.1 * least.abs().max(1.0)]),
        std::cmp::Ordering::Greater => None,
    }
}

/// Rows of labels, each as near to the wanted one as others leave it; none for labels without room.
fn spread(wanted: &[usize], rows: usize) -> Vec<Option<usize>> {
    let mut free = vec![true; rows];
    let place = |row: &usize| {
        let nearest = (0..rows).filter(|r| free[*r]).min_by_key(|r| r.abs_diff(*row))?;
        free[nearest] = false;
        Some(nearest)
    };
    wanted.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use gim_eval::TrainRow;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    use super::*;
    use crate::experiment::run_dir::RowsSoFar;

    fn rows() -> RowsSoFar {
        let row = |step: u64, module: usize| TrainRow {
            step,
            epoch: 0,
            module,
            loss: 4.0 - module as f64 * (step as f64 / 100.0).sqrt(),
            accuracy: Some(0.1 * module as f64),
            seconds: Some(step as f64 / 8.0),
        };
        let train = (1..=10).flat_map(|n| [1, 2].map(|module| row(10 * n, module))).collect();
        RowsSoFar { train, ..RowsSoFar::default() }
    }

    fn status() -> RunStatus {
        RunStatus {
            folder: "runs/a".into(),
            state: State::Training,
            held_by: None,
            step: 100,
            total: Some(400),
            checkpoint: Some(80),
            losses: vec![3.0, 2.0],
            steps_per_second: Some(8.0),
            seconds_left: Some(37.5),
            probes: None,
        }
    }

    fn screen(names: &[&str]) -> Screen {
        let mut screen = Screen::new(names.iter().map(|n| (*n).to_owned()).collect(), false);
        screen.show(Seen::Read(Box::new(status()), rows()));
        screen
    }

    fn shown(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, screen)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(usize::from(width));
        cells.map(|row| row.iter().map(|c| c.symbol()).collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn curves_stand_between_their_axes() {
        let lines = [
            "runs/a",
            "training: step 100 of 400 (25 %), 38 s left, 8.0",
            "                 training loss",
            "   3.68 ⠉⠑⠒⠢⠤⢄⣀⡀",
            "        ⠒⠤⣀    ⠈⠉⠉⠑⠒⠒⠒⠢⠤⠤⠤⢄⣀⣀⣀⣀",
            "           ⠉⠒⠤⢄⡀               ⠉⠉⠉⠉⠒⠒⠒⠒⠤⠤⠤⠤⣀⣀ 1",
            "   2.84        ⠈⠉⠒⠢⢄⣀",
            "                     ⠉⠑⠢⠤⢄⣀⡀",
            "                           ⠈⠉⠉⠒⠒⠤⠤⣀⣀",
            "   2.00                             ⠉⠉⠉⠒⠒⠒⠤⠤⣀ 2",
            "        step 10                           100",
            "module  1: 3.000  2: 2.000",
            "",
            "q: leave · m: measure · 1-9: modules",
        ];
        assert_eq!(shown(&screen(&["runs/a"]), 48, 14), lines);
    }

    #[test]
    fn keys_change_what_is_shown() {
        let mut screen = screen(&["runs/a", "runs/b"]);
        let press = |screen: &mut Screen, key| screen.press(KeyCode::Char(key).into());
        press(&mut screen, '2');
        let text = shown(&screen, 60, 14).join("\n");
        assert!(text.contains("runs/a (1 of 2)") && text.contains("1: 3.000  2: hidden"), "{text}");
        press(&mut screen, '1');
        assert!(shown(&screen, 60, 14).join("\n").contains("all modules are hidden; 0 shows them"));
        press(&mut screen, '0');
        press(&mut screen, 'm');
        let text = shown(&screen, 60, 14).join("\n");
        assert!(text.contains("training accuracy") && text.contains("1: 0.100  2: 0.200"), "{text}");
    }

    #[test]
    fn a_wide_screen_lists_the_runs_and_a_small_one_says_so() {
        let names: Vec<String> = (1..=30).map(|n| format!("a/long/way/to/the/folder/of/run-{n}")).collect();
        let mut screen = screen(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let lines = shown(&screen, 100, 12);
        assert!(lines[0].starts_with("› …/the/folder/of/run-1 training  a/long/way"), "{lines:?}");
        for _ in 0..20 {
            screen.press(KeyCode::Tab.into());
        }
        let lines = shown(&screen, 100, 12);
        assert!(lines.iter().any(|line| line.starts_with("› ") && line.contains("run-21 ")), "{lines:?}");
        for (width, height) in [(39, 20), (80, 9), (10, 3), (1, 1)] {
            let text = shown(&screen, width, height).join(" ");
            assert!(width < 20 || text.contains("too small: gim watch needs 40 × 10"), "{text}");
        }
        screen.show(Seen::Unreadable("it is damaged".into()));
        assert!(shown(&screen, 60, 12)[1].contains("cannot be read: it is damaged"));
        screen.show(Seen::Read(Box::new(status()), RowsSoFar::default()));
        assert!(shown(&screen, 60, 12).join("\n").contains("no rows yet"));
    }

    #[test]
    fn labels_keep_apart() {
        assert_eq!(spread(&[2, 2, 2], 4), [Some(2), Some(1), Some(3)]);
        assert_eq!(spread(&[0, 9], 1), [Some(0), None]);
        assert_eq!((range([2.0, 1.0].into_iter()), range(std::iter::empty())), (Some([1.0, 2.0]), None));
        assert_eq!(range([0.0].into_iter()), Some([0.0, 0.1]));
    }
}
