//! The report of a comparison: one self-contained HTML page, and the same tables in Markdown.

use std::path::Path;

use askama::Template;
use gim_core::Result;

use super::figure_file::{FigureFile, ShownFigure};
use super::tables::{self, Section};
use crate::comparison::claims::{Claim, Verdict};
use crate::comparison::memory::Peak;
use crate::comparison::summary::{Ablation, Summary};
use crate::experiment::environment::Environment;
use crate::output::count;
use crate::template::rendered;

/// How a run was made.
#[derive(Debug, Clone)]
pub(crate) struct RunProvenance {
    /// Name of the run.
    pub(crate) run: String,
    /// Program, machine, command, seed.
    pub(crate) environment: Environment,
    /// Seconds of training.
    pub(crate) seconds: Option<f64>,
}

/// Contents of a report.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// Title of the page.
    pub(crate) title: String,
    /// How the runs were made.
    pub(crate) environments: Vec<RunProvenance>,
    /// Every probe.
    pub(crate) summary: &'a [Summary],
    /// The ablations.
    pub(crate) ablations: &'a [Ablation],
    /// Memory by method and schedule.
    pub(crate) peaks: &'a [Peak],
    /// The paper's claims.
    pub(crate) claims: &'a [Claim],
    /// The comparison's folder.
    pub(crate) folder: &'a Path,
    /// Figures in the folder.
    pub(crate) figures: &'a [FigureFile],
    /// Title, name and TOML of every run's configuration.
    pub(crate) configurations: Vec<(String, String, String)>,
}

/// A report as text: the input of both templates.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    verdict: String,
    claims: Vec<ShownClaim>,
    sections: Vec<Section>,
    figures: Vec<ShownFigure>,
    runs: Section,
    configurations: Vec<(String, String, String)>,
}

/// A claim of the paper and its verdict here.
#[derive(Debug)]
struct ShownClaim {
    text: String,
    verdict: &'static str,
    /// Class of the verdict in the style sheet.
    class: &'static str,
    evidence: String,
}

/// How a claim gets its verdict.
const CLAIMS_NOTES: [&str; 5] = [
    "Held: the whole 95 % interval of the difference over seeds lies on the claim's side.",
    "Did not hold: the whole interval lies on the other side.",
    "Can't tell: the interval lies on both sides, or there is only one seed.",
    "Each module: held if every difference holds; did not hold if any one does not.",
    "Differences are in points of accuracy. Peaks of memory are counted exactly and have no interval.",
];

/// Terms in the tables, and what they mean.
const READING: [(&str, &str); 8] = [
    ("accuracy", "percent of test rows, mean ± half-width of the 95 % interval over seeds"),
    ("macro", "mean over classes, so that rare classes count as much as common ones"),
    ("over random", "points above the random encoder at the same module"),
    ("paper", "what the paper reports, for its own networks and datasets"),
    ("M and ~", "a value of the paper that is recalled, not checked"),
    ("S", "a value seen in a public source"),
    ("F", "a value read off a figure of the paper"),
    ("C", "a value read in the published code"),
];

#[derive(Template)]
#[template(path = "report.html")]
struct HtmlPage<'a> {
    page: &'a Page,
    claims_notes: &'a [&'static str],
    reading: &'a [(&'static str, &'static str)],
}

#[derive(Template)]
#[template(path = "report.md")]
struct MarkdownPage<'a> {
    page: &'a Page,
    claims_notes: &'a [&'static str],
    reading: &'a [(&'static str, &'static str)],
}

impl Page {
    /// Builds the page of a report. Figures are embedded.
    ///
    /// # Errors
    /// When a figure cannot be read.
    pub(crate) fn new(report: Report<'_>) -> Result<Self> {
        Ok(Self {
            verdict: verdict(report.claims),
            claims: report.claims.iter().map(ShownClaim::new).collect(),
            sections: tables::sections(report.summary, report.ablations, report.peaks),
            figures: report.figures.iter().map(|f| f.read(report.folder)).collect::<Result<_>>()?,
            runs: tables::runs(&report.environments),
            title: report.title,
            configurations: report.configurations,
        })
    }

    /// The page in HTML.
    pub(crate) fn html(&self) -> String {
        rendered(&HtmlPage { page: self, claims_notes: &CLAIMS_NOTES, reading: &READING })
    }

    /// The page in Markdown, without the configurations.
    pub(crate) fn markdown(&self) -> String {
        rendered(&MarkdownPage { page: self, claims_notes: &CLAIMS_NOTES, reading: &READING })
    }
}

impl ShownClaim {
    fn new(claim: &Claim) -> Self {
        let class = match claim.verdict {
            Verdict::Held => "held",
            Verdict::DidNotHold => "not",
            Verdict::CannotTell => "open",
        };
        Self { text: claim.text.clone(), verdict: claim.verdict.words(), class, evidence: claim.evidence.clone() }
    }
}

/// How many of the claims held.
fn verdict(claims: &[Claim]) -> String {
    let of = |verdict| claims.iter().filter(|c| c.verdict == verdict).count();
    format!(
        "{} of {} of the paper held, {} did not, {} cannot be told at this scale.",
        of(Verdict::Held),
        count(claims.len(), "claim"),
        of(Verdict::DidNotHold),
        of(Verdict::CannotTell)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_escapes_what_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("a.png");
        std::fs::write(&png, b"not looked into").unwrap();
        let claim = Claim { text: "a < b | c".into(), verdict: Verdict::Held, evidence: "+1".into() };
        let report = Report {
            title: "T".into(),
            environments: Vec::new(),
            summary: &[],
            ablations: &[],
            peaks: &[],
            claims: &[claim],
            folder: folder.path(),
            figures: &[FigureFile { path: png, earlier: true }],
            configurations: vec![("A".into(), "a".into(), "x = \"<\"".into())],
        };
        let page = Page::new(report).unwrap();
        let html = page.html();
        assert!(html.contains("a &#60; b | c") && html.contains("x = &#34;&#60;&#34;"), "{html}");
        assert!(html.contains("data:image/png;base64,bm90") && html.ends_with("</html>"), "{html}");
        assert!(html.contains("a</b> Drawn earlier") && html.contains("1 of 1 claim of the paper held"));
        assert!(!html.contains("://") && html.contains("default-src 'none'"), "nothing is fetched");
        let markdown = page.markdown();
        assert!(markdown.contains("| a \\< b \\| c | held | +1 |"), "{markdown}");
        assert!(markdown.contains("![a](<a.png>)\n\n**a** Drawn earlier"), "{markdown}");
    }
}
