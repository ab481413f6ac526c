//! Diagram of the network: modules with their layers and losses, and the gradient blocks between
//! modules.

use gim_core::Result;

use super::canvas::{Align, Canvas, Color, TextStyle, text_width};
use super::heading::Heading;
use super::palette::{BLUE, FRAME, GREEN, LABEL, MUTED, ORANGE, RED, TEXT};
use super::{Figure, nothing_to_draw};
use crate::experiment::domain::Compared;
use crate::output::count;

/// Input of [`architecture`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Architecture {
    /// Title.
    pub title: String,
    /// What enters the stack, e.g. `audio: 20 480 samples (1.28 s)`.
    pub input: String,
    /// The modules, first one first.
    pub modules: Vec<ModuleBox>,
    /// Modules that learn from each loss. Gradients are blocked between modules where it is 1.
    pub modules_per_loss: usize,
}

/// One module of the diagram.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModuleBox {
    /// Its name, e.g. `Module 1`.
    pub name: String,
    /// Its layers, first one first, e.g. `conv1d, kernel 10, stride 5, 512 + ReLU`.
    pub layers: Vec<String>,
    /// Its loss, e.g. `InfoNCE`.
    pub loss: String,
    /// Its output, the input of the next module, e.g. `z¹: 4095 × 512`.
    pub output: String,
    /// What the loss compares, if it is InfoNCE.
    pub contrast: Option<Contrast>,
}

/// What InfoNCE compares in a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contrast {
    /// Whether contexts come from a context network; else features are their own contexts.
    pub network: bool,
    /// How far the positive lies ahead, and how many negatives there are.
    pub compared: Compared,
}

impl Contrast {
    /// The compared features: the color of each, and what they are.
    fn parts(&self) -> [(Color, String); 3] {
        let context = if self.network { "context c" } else { "context: z itself" };
        let ahead = match self.compared.prediction_steps {
            1 => "positive z, 1 ahead".to_owned(),
            k => format!("positive z, 1 to {k} ahead"),
        };
        [(BLUE, context.to_owned()), (GREEN, ahead), (FRAME, count(self.compared.negatives, "negative") + " z")]
    }
}

const SMALL_BOLD: TextStyle = TextStyle::bold(14.0, TEXT);
const LAYER_HEIGHT: f64 = 30.0;
const LAYER_GAP: f64 = 16.0;
/// Height of a module's name.
const HEAD: f64 = 30.0;
/// From the top of a module to the bottom of the next: the arrow, its label and the gradient
/// block.
const BETWEEN: f64 = 74.0;
/// From a module to its loss.
const TO_LOSS: f64 = 110.0;
/// Height of a loss, and of each line on what it compares.
const LOSS: f64 = 42.0;
const PART: f64 = 21.0;
/// From the left edge of a loss to the text beside a part's disc.
const TO_PART: f64 = 34.0;
/// Heights of the key below the heading, of the last output above the modules, of the input below
/// them, and of the free space at the end.
const KEY: f64 = 26.0;
const OUTPUT: f64 = 44.0;
const INPUT: f64 = 62.0;
const BELOW: f64 = 12.0;
const MARGIN: f64 = 24.0;

/// Draws the stack, input at the bottom: activations go up, gradients stay inside their module.
///
/// # Errors
/// When there is no module.
pub(crate) fn architecture(spec: &Architecture) -> Result<Figure> {
    if spec.modules.is_empty() {
        return Err(nothing_to_draw("architecture", "there are no modules", "describe at least one module"));
    }
    let layout = Layout::of(spec)?;
    let mut canvas = Canvas::new(layout.width, layout.height);
    layout.heading.draw(&mut canvas, MARGIN);
    let blocked = spec.modules_per_loss <= 1;
    draw_key(&mut canvas, layout.heading.height() + 2.0, blocked && spec.modules.len() > 1)?;

    let middle = layout.middle();
    let mut bottom = layout.height - BELOW - INPUT;
    canvas.text((middle, bottom + 58.0), Align::Middle, spec.input.as_str(), LABEL);
    arrow(&mut canvas, (middle, bottom + 40.0), (middle, bottom + 2.0), TEXT);
    for (i, module) in spec.modules.iter().enumerate() {
        let top = bottom - height_of(module);
        draw_module(&mut canvas, &layout, module, top, bottom - top);
        draw_loss(&mut canvas, &layout, module, top + (bottom - top) / 2.0);
        let above = if i + 1 == spec.modules.len() { Above::Nothing } else { Above::Module { blocked } };
        draw_output(&mut canvas, &layout, module, top, above);
        bottom = top - BETWEEN;
    }

    let caption = match spec.modules.len() {
        1 => "The network: one module, trained end to end by its loss.".to_owned(),
        n if !blocked => format!(
            "The network: {n} modules, each with a loss. A loss trains its own module and up to {} below it.",
            spec.modules_per_loss - 1
        ),
        n => format!(
            "The network: {n} modules, each trained by its own loss. Activations go up; no gradient passes from module \
             to module.",
        ),
    };
    let contrast = spec.modules.iter().any(|m| m.contrast.is_some());
    let how = " From a context, InfoNCE tells the features that lie ahead (the positive) from others (the negatives).";
    let caption = if contrast { caption + how } else { caption };
    Ok(Figure { canvas, caption })
}

/// Sizes and places in the diagram, in pixels.
struct Layout {
    heading: Heading,
    width: f64,
    height: f64,
    /// Left edge of the modules.
    left: f64,
    module_width: f64,
    layer_width: f64,
    loss_width: f64,
}

impl Layout {
    fn of(spec: &Architecture) -> Result<Self> {
        let names = widest(spec.modules.iter().map(|m| &m.name), SMALL_BOLD)?;
        let layers = widest(spec.modules.iter().flat_map(|m| &m.layers), LABEL)?;
        let losses = widest(spec.modules.iter().map(|m| &m.loss), SMALL_BOLD)?;
        let parts: Vec<String> =
            spec.modules.iter().flat_map(|m| m.contrast).flat_map(|c| c.parts().map(|p| p.1)).collect();
        let losses = losses.max(widest(parts.iter(), LABEL)? + TO_PART - 18.0);
        let outputs = widest(spec.modules.iter().map(|m| &m.output), LABEL)?;
        let input = text_width(&spec.input, LABEL)?;
        // Outputs are written right of the middle and must end before the losses; the input is
        // centered below.
        let layer_width = (layers + 36.0).max(names).max(2.0 * outputs - 20.0).max(input - 44.0).max(200.0);
        let module_width = layer_width + 44.0;
        let loss_width = losses + 36.0;
        let stack_width = module_width + TO_LOSS + loss_width;
        // The key's longest line stands right of the bar's label.
        let width = (2.0 * MARGIN + stack_width + 20.0).max(720.0);
        let heading = Heading::new(&spec.title, "", width - 2.0 * MARGIN)?;
        let stack: f64 = spec.modules.iter().map(height_of).sum::<f64>() + BETWEEN * (spec.modules.len() - 1) as f64;
        let height = heading.height() + KEY + OUTPUT + stack + INPUT + BELOW;
        let left = (width - stack_width) / 2.0;
        Ok(Self { heading, width, height, left, module_width, layer_width, loss_width })
    }

    /// The middle of the modules.
    fn middle(&self) -> f64 {
        self.left + self.module_width / 2.0
    }

    /// Right edge of the modules.
    fn right(&self) -> f64 {
        self.left + self.module_width
    }
}

/// Height of a module's box.
fn height_of(module: &ModuleBox) -> f64 {
    let n = module.layers.len().max(1) as f64;
    HEAD + n * LAYER_HEIGHT + (n - 1.0) * LAYER_GAP + 16.0
}

/// The loss takes the module's output; its gradient goes back into this module and no further.
fn draw_loss(canvas: &mut Canvas, layout: &Layout, module: &ModuleBox, middle: f64) {
    let left = layout.right() + TO_LOSS;
    let parts = module.contrast.map_or(Vec::new(), |c| c.parts().to_vec());
    let height = LOSS + PART * parts.len() as f64;
    let top = middle - height / 2.0;
    canvas.framed_rect((left, top, layout.loss_width, height), ORANGE.faint(0.25), ORANGE, 1.5);
    let at = (left + layout.loss_width / 2.0, top + 26.0);
    canvas.text(at, Align::Middle, module.loss.as_str(), SMALL_BOLD);
    for (i, (color, part)) in parts.into_iter().enumerate() {
        let y = top + LOSS + PART * i as f64 + 4.0;
        canvas.disc((left + 22.0, y), 5.0, color);
        canvas.text((left + TO_PART, y + 5.0), Align::Start, part, LABEL);
    }
    let edge = layout.right();
    arrow(canvas, (edge + 2.0, middle - 10.0), (left - 3.0, middle - 10.0), TEXT);
    dashed_arrow(canvas, (left - 3.0, middle + 10.0), (edge + 2.0, middle + 10.0), RED);
}

/// What is above a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    /// It is the last one.
    Nothing,
    /// Another module, behind a gradient block or not.
    Module { blocked: bool },
}

/// The arrow from a module's top upward, and what gradients find there.
fn draw_output(canvas: &mut Canvas, layout: &Layout, module: &ModuleBox, top: f64, above: Above) {
    let (middle, last) = (layout.middle(), above == Above::Nothing);
    let up = if last { 38.0 } else { BETWEEN - 2.0 };
    arrow(canvas, (middle, top), (middle, top - up), TEXT);
    let label_y = if last { top - 16.0 } else { top - 14.0 };
    canvas.text((middle + 12.0, label_y), Align::Start, module.output.as_str(), LABEL);
    if above == (Above::Module { blocked: false }) {
        dashed_arrow(canvas, (middle - 12.0, top - BETWEEN + 2.0), (middle - 12.0, top - 2.0), RED);
    }
    if above == (Above::Module { blocked: true }) {
        // Over the arrow's tail but under its head: activations pass, the bar is for gradients.
        let bar = (layout.left, top - 46.0);
        canvas.rect(bar.0, bar.1, layout.module_width, 12.0, RED);
        canvas.line(vec![(middle, bar.1 - 1.0), (middle, bar.1 + 13.0)], Color::WHITE, 6.0);
        canvas.line(vec![(middle, bar.1 - 1.0), (middle, bar.1 + 13.0)], TEXT, 1.8);
        let at = (layout.right() + 12.0, bar.1 + 11.0);
        canvas.text(at, Align::Start, "gradient block", TextStyle::new(14.0, RED));
    }
}

fn widest<'a>(mut texts: impl Iterator<Item = &'a String>, style: TextStyle) -> Result<f64> {
    texts.try_fold(0.0, |width: f64, text| Ok(width.max(text_width(text, style)?)))
}

fn draw_module(canvas: &mut Canvas, layout: &Layout, module: &ModuleBox, top: f64, height: f64) {
    canvas.framed_rect((layout.left, top, layout.module_width, height), BLUE.faint(0.1), BLUE, 1.8);
    canvas.text((layout.left + 14.0, top + 20.0), Align::Start, module.name.as_str(), SMALL_BOLD);
    let middle = layout.middle();
    let mut bottom = top + height - 16.0;
    for (i, layer) in module.layers.iter().enumerate() {
        let layer_top = bottom - LAYER_HEIGHT;
        if i > 0 {
            arrow(canvas, (middle, bottom + LAYER_GAP), (middle, bottom + 1.0), MUTED);
        }
        let area = (middle - layout.layer_width / 2.0, layer_top, layout.layer_width, LAYER_HEIGHT);
        canvas.framed_rect(area, Color::WHITE, BLUE.faint(0.6), 1.2);
        canvas.text((middle, layer_top + 20.0), Align::Middle, layer.as_str(), LABEL);
        bottom = layer_top - LAYER_GAP;
    }
}

/// The legend; `y` is its middle.
fn draw_key(canvas: &mut Canvas, y: f64, blocks: bool) -> Result<()> {
    let mut x = MARGIN;
    arrow(canvas, (x, y), (x + 34.0, y), TEXT);
    x += 42.0;
    canvas.text((x, y + 5.0), Align::Start, "activations", LABEL);
    x += text_width("activations", LABEL)? + 28.0;
    dashed_arrow(canvas, (x, y), (x + 34.0, y), RED);
    x += 42.0;
    canvas.text((x, y + 5.0), Align::Start, "gradients of the module's own loss", LABEL);
    x += text_width("gradients of the module's own loss", LABEL)? + 28.0;
    if blocks {
        canvas.rect(x, y - 6.0, 34.0, 12.0, RED);
        canvas.text((x + 42.0, y + 5.0), Align::Start, "no gradient passes", LABEL);
    }
    Ok(())
}

fn arrow(canvas: &mut Canvas, from: (f64, f64), to: (f64, f64), color: Color) {
    canvas.line(vec![from, before_head(from, to)], color, 1.8);
    head(canvas, from, to, color);
}

fn dashed_arrow(canvas: &mut Canvas, from: (f64, f64), to: (f64, f64), color: Color) {
    canvas.dashes(from, before_head(from, to), color, 1.8, 6.0, 4.0);
    head(canvas, from, to, color);
}

const HEAD_LENGTH: f64 = 9.0;

fn before_head(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    let length = (to.0 - from.0).hypot(to.1 - from.1).max(1e-9);
    let part = (length - HEAD_LENGTH + 1.0) / length;
    (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part)
}

fn head(canvas: &mut Canvas, from: (f64, f64), to: (f64, f64), color: Color) {
    let length = (to.0 - from.0).hypot(to.1 - from.1).max(1e-9);
    let (ux, uy) = ((to.0 - from.0) / length, (to.1 - from.1) / length);
    let base = (to.0 - ux * HEAD_LENGTH, to.1 - uy * HEAD_LENGTH);
    let half = 4.6;
    canvas.polygon(vec![to, (base.0 - uy * half, base.1 + ux * half), (base.0 + uy * half, base.1 - ux * half)], color);
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
            contrast: Some(Contrast { network: i == 6, compared: Compared { prediction_steps: 12, negatives: 10 } }),
        }
    }

    fn spec(modules: Vec<ModuleBox>) -> Architecture {
        let (title, input) = ("The audio network".into(), "audio: 20 480 samples".into());
        Architecture { title, input, modules, modules_per_loss: 1 }
    }

    #[test]
    fn six_modules_have_five_blocks() {
        let modules = (1..=6).map(|i| module(i, &["conv 4/2, 512 + ReLU"])).collect();
        let figure = architecture(&spec(modules)).unwrap();
        check_figure(&figure, &["Module 1", "Module 6", "audio: 20 480 samples", "InfoNCE"]);
        let texts = |text: &str| figure.canvas.texts().iter().filter(|t| **t == text).count();
        assert_eq!((texts("gradient block"), texts("10 negatives z"), texts("context c")), (5, 6, 1));
    }

    #[test]
    fn losses_that_train_several_modules_have_no_blocks() {
        let modules = (1..=3).map(|i| module(i, &["conv 4/2, 512 + ReLU"])).collect();
        let figure = architecture(&Architecture { modules_per_loss: 2, ..spec(modules) }).unwrap();
        assert!(!figure.canvas.texts().contains(&"gradient block"));
        assert!(figure.caption.contains("its own module and up to 1 below"), "{}", figure.caption);
    }

    #[test]
    fn one_module_has_no_block() {
        let figure = architecture(&spec(vec![module(1, &["conv 10/5", "conv 8/4", "GRU 256"])])).unwrap();
        check_figure(&figure, &["GRU 256"]);
        assert!(!figure.canvas.texts().contains(&"gradient block"));
        assert!(figure.caption.contains("end to end"));
        assert!(architecture(&spec(vec![])).is_err());
    }
}
