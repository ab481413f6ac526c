//! The report of a comparison: one self-contained HTML page, and the same tables in Markdown.

use std::path::Path;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gim_core::Result;
use sha2::{Digest, Sha256};

use super::figure_file::{Drawing, FigureFile, ShownFigure};
use super::links::{Links, SeedFiles};
use super::runs_table;
use super::tables::{self, Section};
use crate::comparison::ablations::Ablation;
use crate::comparison::claims::{Claim, Verdict};
use crate::comparison::memory::Peak;
use crate::comparison::paper::MARKS;
use crate::comparison::summary::Summary;
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
    /// Sentences that the page begins with.
    pub(crate) lead: Vec<String>,
    /// The paper's claims.
    pub(crate) claims: &'a [Claim],
    /// Sections after those of probes, ablations and memory.
    pub(super) further: Vec<Section>,
    /// Files of the runs.
    pub(crate) links: Links,
    /// The comparison's folder.
    pub(crate) folder: &'a Path,
    /// Figures in the folder, the most telling first.
    pub(crate) figures: &'a [FigureFile],
    /// Title, name and TOML of every run's configuration.
    pub(crate) configurations: Vec<(String, String, String)>,
}

/// A report as text: the input of both templates.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    /// The findings, a sentence or two each.
    summary: Vec<String>,
    links: Links,
    hero: Option<ShownFigure>,
    claims: Vec<ShownClaim>,
    sections: Vec<Section>,
    figures: Vec<ShownFigure>,
    runs: Section,
    configurations: Vec<ShownConfiguration>,
}

/// The configuration of a run.
#[derive(Debug)]
struct ShownConfiguration {
    title: String,
    run: String,
    toml: String,
    files: Vec<SeedFiles>,
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
    MARKS[0],
    MARKS[1],
    MARKS[2],
    MARKS[3],
];

/// Sorts tables by a column. The page allows this script alone, by its digest.
const SCRIPT: &str = include_str!("../../templates/report.js");

/// Why a page of single seeds states no verdict.
const ONE_SEED: &str = "No claim of the paper is evaluated: each run has one seed, so a difference has no 95 % interval \
                        and nothing tells it from chance. Train two or more seeds for verdicts.";

#[derive(Template)]
#[template(path = "report.html")]
struct HtmlPage<'a> {
    page: &'a Page,
    script: &'static str,
    digest: String,
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
    /// Builds the page of a report. Drawings are embedded; large bitmaps as previews.
    ///
    /// # Errors
    /// When a figure cannot be read.
    pub(crate) fn new(report: Report<'_>) -> Result<Self> {
        let mut sections = tables::sections(report.summary, report.ablations, report.peaks, &report.links);
        sections.extend(report.further);
        let mut summary = report.lead;
        summary.extend(
            sections.iter().filter(|s| s.leading).filter_map(|s| Some(format!("{}. {}", s.title, s.finding.as_ref()?))),
        );
        let mut figures = report.figures.iter().map(|f| f.read(report.folder));
        let hero = figures.next().transpose()?;
        let configuration = |(title, run, toml): (String, String, String)| {
            let files = report.links.of(&run);
            ShownConfiguration { title, run, toml, files }
        };
        Ok(Self {
            summary,
            claims: report.claims.iter().map(ShownClaim::new).collect(),
            sections,
            hero,
            figures: figures.collect::<Result<_>>()?,
            runs: runs_table::runs(&report.environments),
            title: report.title,
            configurations: report.configurations.into_iter().map(configuration).collect(),
            links: report.links,
        })
    }

    /// The page in HTML.
    pub(crate) fn html(&self) -> String {
        let digest = format!("sha256-{}", STANDARD.encode(Sha256::digest(SCRIPT)));
        rendered(&HtmlPage { page: self, script: SCRIPT, digest, claims_notes: &CLAIMS_NOTES, reading: &READING })
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

/// How many of the claims held, or why none is evaluated: no run has several seeds.
pub(super) fn verdict(claims: Option<&[Claim]>) -> String {
    let Some(claims) = claims else { return ONE_SEED.to_owned() };
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

    fn report(folder: &Path) -> Report<'_> {
        Report {
            title: "T".into(),
            environments: Vec::new(),
            summary: &[],
            ablations: &[],
            peaks: &[],
            lead: vec![verdict(None)],
            claims: &[],
            further: Vec::new(),
            links: Links::default(),
            folder,
            figures: &[],
            configurations: Vec::new(),
        }
    }

    #[test]
    fn the_page_is_whole_and_escapes_what_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("a.png");
        std::fs::write(&png, b"not looked into").unwrap();
        let claims = [Claim { text: "a < b | c".into(), verdict: Verdict::Held, evidence: "+1".into() }];
        let report = Report {
            lead: vec![verdict(Some(&claims))],
            claims: &claims,
            figures: &[FigureFile { path: png, earlier: true }],
            configurations: vec![("A".into(), "a".into(), "x = \"<\"".into())],
            ..report(folder.path())
        };
        let page = Page::new(report).unwrap();
        let html = page.html();
        assert!(html.contains("a &#60; b | c") && html.contains("x = &#34;&#60;&#34;"), "{html}");
        assert!(html.contains("data:image/png;base64,bm90") && html.ends_with("</html>"), "{html}");
        assert!(html.contains("a</b> Drawn earlier") && html.contains("1 of 1 claim of the paper held"));
        assert!(!html.contains("://") && html.contains("default-src 'none'"), "nothing is fetched");
        let script = html.split("<script>").nth(1).and_then(|s| s.split("</script>").next()).unwrap();
        assert!(html.contains(&STANDARD.encode(Sha256::digest(script))), "the script is the one that is allowed");
        let markdown = page.markdown();
        assert!(markdown.contains("| a \\< b \\| c | held | +1 |"), "{markdown}");
        assert!(markdown.contains("![a](<a.png>)\n\n**a** Drawn earlier"), "{markdown}");
    }

    #[test]
    fn one_seed_has_no_verdicts() {
        let page = Page::new(report(Path::new("out"))).unwrap();
        for text in [page.html(), page.markdown()] {
            assert!(text.contains("each run has one seed") && !text.contains("The paper's claims"), "{text}");
        }
    }
}
