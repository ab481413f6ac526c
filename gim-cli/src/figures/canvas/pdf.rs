//! PDF documents, made from the SVG.

use gim_core::Result;
use svg2pdf::usvg::{Options, Tree};
use svg2pdf::{ConversionOptions, PageOptions, to_pdf};

use super::text::FONT_FILES;
use super::{Canvas, defect};

/// CSS pixels per inch.
const DPI: f32 = 96.0;

impl Canvas {
    /// The canvas as a PDF document of one page. Its texts are texts, in the committed font.
    pub(crate) fn pdf(&self) -> Result<Vec<u8>> {
        let mut options = Options::default();
        for font in FONT_FILES {
            options.fontdb_mut().load_font_data(font.to_vec());
        }
        let tree = Tree::from_str(&self.svg()?, &options).map_err(defect)?;
        let page = PageOptions { dpi: DPI };
        to_pdf(&tree, ConversionOptions::default(), page).map_err(|e| defect(format_args!("the PDF: {e}")))
    }
}
