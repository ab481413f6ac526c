//! Schematic of a stack of modules: layers, losses, and the gradient blocks between them.

use gim_core::Result;

use super::axes::{BLUE, LABEL, MUTED, ORANGE, RED, TEXT};
use super::canvas::{Align, Ink, Picture, Type, text_width, wrap};
use super::{Figure, count, nothing_to_draw};

/// Input of [`architecture`].
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Title.
    pub title: String,
    /// What enters the stack, e.g. `sound, 20 480 samples (1.28 s)`.
    pub input: String,
    /// The modules, first one first.
    pub modules: Vec<ModuleBox>,
}

/// One module of the schematic.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleBox {
    /// Its name, e.g. `Module 1`.
    pub name: String,
    /// Its layers, first one first, e.g. `conv 10/5, 512 + ReLU`.
    pub layers: Vec<String>,
    /// Its loss, e.g. `InfoNCE`.
    pub loss: String,
    /// What it gives to the next, e.g. `z¹: 4095 × 512`.
    pub output: String,
}

const SMALL_BOLD: Type = Type::bold(14.0, TEXT);
const LAYER_HEIGHT: f64 = 30.0;
const LAYER_GAP: f64 = 16.0;
const HEAD: f64 = 30.0;
/// From the top of a module to the bottom of the next: the arrow, its label and the gradient block.
const BETWEEN: f64 = 74.0;
const MARGIN: f64 = 24.0;

/// Draws the stack, input at the bottom: what is learned stays inside a module, only activations go up.
pub fn architecture(spec: &Architecture) -> Result<Figure> {
    if spec.modules.is_empty() {
        return Err(nothing_to_draw("architecture", "there are no modules", "describe at least one module"));
    }
    let names = widest(spec.modules.iter().map(|m| &m.name), SMALL_BOLD)?;
    let layers = widest(spec.modules.iter().flat_map(|m| &m.layers), LABEL)?;
    let losses = widest(spec.modules.iter().map(|m| &m.loss), SMALL_BOLD)?;
    let outputs = widest(spec.modules.iter().map(|m| &m.output), LABEL)?;
    let input = text_width(&spec.input, LABEL)?;
    // Outputs are written right of the middle, and must end before the losses; the input is centred below.
    let layer_width = (layers + 36.0).max(names).max(2.0 * outputs - 20.0).max(input - 44.0).max(200.0);
    let module_width = layer_width + 44.0;
    let loss_width = losses + 36.0;
    // The key's longest line stands right of the bar's label.
    let width = (2.0 * MARGIN + module_width + 110.0 + loss_width + 20.0).max(720.0);

    let height_of = |m: &ModuleBox| {
        let n = m.layers.len().max(1) as f64;
        HEAD + n * LAYER_HEIGHT + (n - 1.0) * LAYER_GAP + 16.0
    };
    let title = wrap(&spec.title, Type::bold(19.0, TEXT), width - 2.0 * MARGIN)?;
    let header = 16.0 + 25.0 * title.len() as f64 + 24.0 + 12.0;
    let stack: f64 = spec.modules.iter().map(height_of).sum::<f64>() + BETWEEN * (spec.modules.len() - 1) as f64;
    // Above the topmost module its output, below the lowest the input.
    let height = header + 44.0 + stack + 62.0 + 12.0;
    let mut picture = Picture::new(width, height);
    for (i, line) in title.iter().enumerate() {
        picture.text((MARGIN, 34.0 + 25.0 * i as f64), Align::Start, line.as_str(), Type::bold(19.0, TEXT));
    }
    draw_key(&mut picture, 16.0 + 25.0 * title.len() as f64 + 12.0, spec.modules.len() > 1)?;

    let left = (width - (module_width + 110.0 + loss_width)) / 2.0;
    let middle = left + module_width / 2.0;
    let mut bottom = height - 12.0 - 62.0;
    picture.text((middle, bottom + 58.0), Align::Middle, spec.input.as_str(), LABEL);
    arrow(&mut picture, (middle, bottom + 40.0), (middle, bottom + 2.0), TEXT);
    for (i, module) in spec.modules.iter().enumerate() {
        let top = bottom - height_of(module);
        draw_module(&mut picture, module, left, top, (module_width, bottom - top), layer_width);

        // The loss looks at the module's output and its gradient goes back into the module, no further.
        let loss_left = left + module_width + 110.0;
        let loss_middle = top + (bottom - top) / 2.0;
        picture.boxed((loss_left, loss_middle - 21.0, loss_width, 42.0), ORANGE.faint(0.25), ORANGE, 1.5);
        let at = (loss_left + loss_width / 2.0, loss_middle + 5.0);
        picture.text(at, Align::Middle, module.loss.as_str(), SMALL_BOLD);
        let edge = left + module_width;
        arrow(&mut picture, (edge + 2.0, loss_middle - 10.0), (loss_left - 3.0, loss_middle - 10.0), TEXT);
        dashed_arrow(&mut picture, (loss_left - 3.0, loss_middle + 10.0), (edge + 2.0, loss_middle + 10.0), RED);

        let last = i + 1 == spec.modules.len();
        let up = if last { 38.0 } else { BETWEEN - 2.0 };
        arrow(&mut picture, (middle, top), (middle, top - up), TEXT);
        let label_y = if last { top - 16.0 } else { top - 14.0 };
        picture.text((middle + 12.0, label_y), Align::Start, module.output.as_str(), LABEL);
        if !last {
            // Drawn over the arrow's tail but under its head: activations pass, the bar is for gradients.
            let bar = (middle - module_width / 2.0, top - 46.0);
            picture.rect(bar.0, bar.1, module_width, 12.0, RED);
            picture.line(vec![(middle, bar.1 - 1.0), (middle, bar.1 + 13.0)], Ink::WHITE, 6.0);
            picture.line(vec![(middle, bar.1 - 1.0), (middle, bar.1 + 13.0)], TEXT, 1.8);
            let at = (edge + 12.0, bar.1 + 11.0);
            picture.text(at, Align::Start, "gradient block", Type::new(14.0, RED));
        }
        bottom = top - BETWEEN;
    }

    let blocks = spec.modules.len() - 1;
    let caption = match blocks {
        0 => "The network: one module, trained end to end by its loss.".to_owned(),
        _ => format!(
            "The network: {}, each trained by its own loss; activations go up, {} between modules let no gradient down.",
            count(spec.modules.len(), "module"),
            count(blocks, "gradient block"),
        ),
    };
    Ok(Figure { picture, caption })
}

fn widest<'a>(mut texts: impl Iterator<Item = &'a String>, look: Type) -> Result<f64> {
    texts.try_fold(0.0, |width: f64, text| Ok(width.max(text_width(text, look)?)))
}

fn draw_module(
    picture: &mut Picture,
    module: &ModuleBox,
    left: f64,
    top: f64,
    (width, height): (f64, f64),
    layer_width: f64,
) {
    picture.boxed((left, top, width, height), BLUE.faint(0.1), BLUE, 1.8);
    picture.text((left + 14.0, top + 20.0), Align::Start, module.name.as_str(), SMALL_BOLD);
    let middle = left + width / 2.0;
    let mut bottom = top + height - 16.0;
    for (i, layer) in module.layers.iter().enumerate() {
        let layer_top = bottom - LAYER_HEIGHT;
        if i > 0 {
            arrow(picture, (middle, bottom + LAYER_GAP), (middle, bottom + 1.0), MUTED);
        }
        picture.boxed(
            (middle - layer_width / 2.0, layer_top, layer_width, LAYER_HEIGHT),
            Ink::WHITE,
            BLUE.faint(0.6),
            1.2,
        );
        picture.text((middle, layer_top + 20.0), Align::Middle, layer.as_str(), LABEL);
        bottom = layer_top - LAYER_GAP;
    }
}

fn draw_key(picture: &mut Picture, y: f64, blocks: bool) -> Result<()> {
    let mut x = MARGIN;
    arrow(picture, (x, y), (x + 34.0, y), TEXT);
    x += 42.0;
    picture.text((x, y + 5.0), Align::Start, "activations", LABEL);
    x += text_width("activations", LABEL)? + 28.0;
    dashed_arrow(picture, (x, y), (x + 34.0, y), RED);
    x += 42.0;
    picture.text((x, y + 5.0), Align::Start, "gradients of the module's own loss", LABEL);
    x += text_width("gradients of the module's own loss", LABEL)? + 28.0;
    if blocks {
        picture.rect(x, y - 6.0, 34.0, 12.0, RED);
        picture.text((x + 42.0, y + 5.0), Align::Start, "no gradient passes", LABEL);
    }
    Ok(())
}

fn arrow(picture: &mut Picture, from: (f64, f64), to: (f64, f64), ink: Ink) {
    picture.line(vec![from, before_head(from, to)], ink, 1.8);
    head(picture, from, to, ink);
}

fn dashed_arrow(picture: &mut Picture, from: (f64, f64), to: (f64, f64), ink: Ink) {
    picture.dashes(from, before_head(from, to), ink, 1.8, 6.0, 4.0);
    head(picture, from, to, ink);
}

const HEAD_LENGTH: f64 = 9.0;

fn before_head(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    let length = (to.0 - from.0).hypot(to.1 - from.1).max(1e-9);
    let part = (length - HEAD_LENGTH + 1.0) / length;
    (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part)
}

fn head(picture: &mut Picture, from: (f64, f64), to: (f64, f64), ink: Ink) {
    let length = (to.0 - from.0).hypot(to.1 - from.1).max(1e-9);
    let (ux, uy) = ((to.0 - from.0) / length, (to.1 - from.1) / length);
    let base = (to.0 - ux * HEAD_LENGTH, to.1 - uy * HEAD_LENGTH);
    let half = 4.6;
    picture.polygon(vec![to, (base.0 - uy * half, base.1 + ux * half), (base.0 + uy * half, base.1 - ux * half)], ink);
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    fn module(i: usize, layers: &[&str]) -> ModuleBox {
        ModuleBox {
            name: format!("Module {i}"),
            layers: layers.iter().map(|&l| l.to_owned()).collect(),
            loss: "InfoNCE".into(),
            output: format!("z{i}: 512 channels"),
        }
    }

    fn spec(modules: Vec<ModuleBox>) -> Architecture {
        Architecture { title: "The audio network".into(), input: "sound, 20 480 samples".into(), modules }
    }

    #[test]
    fn six_modules_have_five_blocks() {
        let modules = (1..=6).map(|i| module(i, &["conv 4/2, 512 + ReLU"])).collect();
        let figure = architecture(&spec(modules)).unwrap();
        check_figure(&figure, &["Module 1", "Module 6", "sound, 20 480 samples", "InfoNCE"]);
        assert_eq!(figure.picture.texts().iter().filter(|t| **t == "gradient block").count(), 5);
    }

    #[test]
    fn one_module_has_no_block() {
        let figure = architecture(&spec(vec![module(1, &["conv 10/5", "conv 8/4", "GRU 256"])])).unwrap();
        check_figure(&figure, &["GRU 256"]);
        assert!(!figure.picture.texts().contains(&"gradient block"));
        assert!(figure.caption.contains("end to end"));
        assert!(architecture(&spec(vec![])).is_err());
    }
}
