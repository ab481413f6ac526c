//! Lists of runs. Each run is a preset and its overrides.

use std::collections::{BTreeMap, BTreeSet};

use gim_core::{Error, Result};
use gim_eval::Task;
use serde::Deserialize;

use crate::comparison::paper::Method;
use crate::experiment::config::Config;
use crate::experiment::domain::DomainKind;
use crate::experiment::views::{TEST_VIEWS, ViewLimits};

/// The comparison of `gim demo`.
pub(crate) const DEMO: &str = "demo";

/// Shares of the labels that methods are also probed with, unless a comparison names others.
const LABEL_SHARES: [f64; 2] = [0.01, 0.1];

/// The built-in comparisons.
pub(crate) const SWEEPS: [(&str, &str); 6] = [
    (DEMO, include_str!("../../sweeps/demo.toml")),
    ("quick", include_str!("../../sweeps/quick.toml")),
    ("small", include_str!("../../sweeps/small.toml")),
    ("local", include_str!("../../sweeps/local.toml")),
    ("paper-tables", include_str!("../../sweeps/paper-tables.toml")),
    ("paper-ablations", include_str!("../../sweeps/paper-ablations.toml")),
];

/// A run of a comparison.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Folder below the output folder, e.g. `audio/gim`.
    pub name: String,
    /// Preset or configuration file.
    pub preset: String,
    /// Title in tables and figures.
    pub title: String,
    /// The paper's method that the run repeats; tables show the paper's value beside it.
    #[serde(default)]
    pub paper: Option<Method>,
    /// The run that an ablation is compared with; none for a method.
    #[serde(default)]
    pub ablation_of: Option<String>,
    /// An earlier run with the same initial weights and dataset, whose baselines (random encoder and
    /// input) this run shares. Without it, the run makes its own.
    #[serde(default)]
    pub baselines: Option<String>,
    /// Tasks to probe, columns of labels among them; by default those of the domain.
    #[serde(default)]
    pub tasks: Option<Vec<Task>>,
    /// Overrides of the preset, each `section.key=value`.
    #[serde(default)]
    pub set: Vec<String>,
}

/// The runs that are taken from another comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    /// All of them.
    #[default]
    All,
    /// Methods: those that are no ablation.
    Methods,
    /// Ablations, and the runs that they refer to.
    Ablations,
}

/// A comparison as its file states it: its own runs, and those of another with other presets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    seeds: u64,
    /// The most random views of a training item in the paper's protocol; by default a fresh one in every
    /// epoch, as published.
    views: Option<usize>,
    /// Random crops of a test utterance in the paper's protocol.
    test_views: Option<usize>,
    /// Shares of the labels that methods are also probed with; by default a hundredth and a tenth.
    label_shares: Option<Vec<f64>>,
    #[serde(default)]
    run: Vec<Entry>,
    /// A built-in comparison whose runs this one also has. An own run replaces one of the same name.
    like: Option<String>,
    /// Which runs of the other comparison it takes.
    #[serde(default)]
    keep: Kept,
    /// Runs of the other comparison to leave out.
    #[serde(default)]
    without: Vec<String>,
    /// Presets that replace those of the other comparison.
    #[serde(default)]
    presets: BTreeMap<String, String>,
}

/// A list of runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sweep {
    /// Seeds of every run.
    pub seeds: u64,
    /// Views in the paper's protocol.
    pub views: ViewLimits,
    /// Shares of the labels that methods are also probed with.
    pub label_shares: Vec<f64>,
    /// The runs, in order.
    pub run: Vec<Entry>,
}

impl Entry {
    /// The configuration, with those of further overrides that its domain has.
    ///
    /// # Errors
    /// When the preset or an override is wrong.
    pub(crate) fn config(&self, more: &[String]) -> Result<Config> {
        let own = Config::load(&self.preset, &self.set)?;
        let more: Vec<String> = more.iter().filter(|o| own.knows(o)).cloned().collect();
        if more.is_empty() {
            return Ok(own);
        }
        Config::load(&self.preset, &[&self.set[..], &more].concat())
    }

    /// Columns of labels among the tasks.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub(crate) fn columns(&self) -> Result<Vec<Task>> {
        Ok(self.tasks()?.into_iter().filter(|t| matches!(t, Task::Column(_))).collect())
    }

    /// Tasks to probe.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub(crate) fn tasks(&self) -> Result<Vec<Task>> {
        match &self.tasks {
            Some(tasks) => Ok(tasks.clone()),
            None => Ok(self.config(&[])?.domain.dataset().tasks().to_vec()),
        }
    }
}

impl Sweep {
    /// Whether a built-in comparison has this name.
    pub(crate) fn is_built_in(name: &str) -> bool {
        SWEEPS.iter().any(|s| s.0 == name)
    }

    /// A comparison by name, or from a file.
    ///
    /// # Errors
    /// When it does not exist, or its list is inconsistent.
    pub(crate) fn load(source: &str) -> Result<Self> {
        let text = match SWEEPS.iter().find(|s| s.0 == source) {
            Some(sweep) => sweep.1.to_owned(),
            None => std::fs::read_to_string(source).map_err(|e| {
                let names: Vec<_> = SWEEPS.iter().map(|s| s.0).collect();
                Error::file(
                    source,
                    format_args!("is neither a comparison nor a readable file: {e}"),
                    format_args!("comparisons are {}", names.join(", ")),
                )
                .caused_by(e)
            })?,
        };
        let Listed { seeds, views, test_views, label_shares, mut run, like, keep, without, presets } =
            toml::from_str(&text).map_err(|e: toml::de::Error| {
                let what = e.to_string().trim_end().replace('\n', " ");
                Error::file(source, format_args!("is no list of runs: {what}"), "fix the file").caused_by(e)
            })?;
        if let Some(like) = like {
            if !Self::is_built_in(&like) {
                let names: Vec<_> = SWEEPS.iter().map(|s| s.0).collect();
                let what = format!("is like `{like}`, which is not a built-in comparison");
                return Err(Error::file(source, what, format_args!("use {}", names.join(", "))));
            }
            let mut all = match (keep, Self::load(&like)?) {
                (Kept::All, other) => other,
                (Kept::Methods, other) => other.with(|e| e.ablation_of.is_none()),
                (Kept::Ablations, other) => other.with(|e| e.ablation_of.is_some()),
            }
            .run;
            if let Some(unknown) = without.iter().find(|name| !all.iter().any(|e| &e.name == *name)) {
                let what = format!("leaves out `{unknown}`, which `{like}` does not have");
                return Err(Error::file(source, what, "fix the file"));
            }
            all.retain(|e| !without.contains(&e.name));
            for e in &mut all {
                match run.iter().position(|own| own.name == e.name) {
                    Some(own) => *e = run.remove(own),
                    None => e.preset = presets.get(&e.preset).cloned().unwrap_or_else(|| e.preset.clone()),
                }
            }
            all.append(&mut run);
            run = all;
        }
        let views = ViewLimits { train: views, test: test_views.unwrap_or(TEST_VIEWS) };
        views.check("views", "test_views")?;
        let label_shares = label_shares.unwrap_or_else(|| LABEL_SHARES.to_vec());
        let sweep = Self { seeds, views, label_shares, run };
        sweep.check(source)?;
        Ok(sweep)
    }

    fn check(&self, source: &str) -> Result<()> {
        let wrong = |what: String| Err(Error::file(source, what, "fix the file"));
        let mut names = BTreeSet::new();
        if self.run.is_empty() || self.seeds == 0 {
            return wrong("lists no run, or no seed".into());
        }
        if let Some(share) = self.label_shares.iter().find(|s| !(**s > 0.0 && **s < 1.0)) {
            return wrong(format!("probes with {share} of the labels: use shares between 0 and 1"));
        }
        for e in &self.run {
            let plain = e.name.split('/').all(|p| !p.is_empty() && !p.starts_with('.')) && !e.name.starts_with('/');
            if !plain || !names.insert(&e.name) {
                return wrong(format!("names the run `{}` twice, or the name is not a folder", e.name));
            }
        }
        let mut pooled: BTreeMap<DomainKind, (&str, usize)> = BTreeMap::new();
        for (i, e) in self.run.iter().enumerate() {
            if e.tasks.as_ref().is_some_and(Vec::is_empty) {
                return wrong(format!("names no task for `{}`: leave `tasks` out for those of its dataset", e.name));
            }
            let config = e.config(&[])?;
            let (first, pooling) = *pooled.entry(config.domain.kind()).or_insert((&e.name, config.probe.pooling));
            if pooling != config.probe.pooling {
                let other = config.probe.pooling;
                return wrong(format!(
                    "has probe.pooling = {pooling} for `{first}` and {other} for `{}`: a table compares features of \
                     one kind",
                    e.name
                ));
            }
            if let Some(reference) = e.ablation_of.as_ref().filter(|t| !names.contains(t)) {
                return wrong(format!("compares `{}` with `{reference}`, which it does not list", e.name));
            }
            if let Some(of) = &e.baselines {
                let Some(run) = self.run[..i].iter().find(|r| &r.name == of) else {
                    return wrong(format!(
                        "wants the baselines of `{of}` for `{}`, but does not list it before",
                        e.name
                    ));
                };
                let theirs = run.tasks()?;
                if let Some(task) = e.tasks()?.iter().find(|t| !theirs.contains(t)) {
                    let what = format!("wants the baselines of `{of}` for `{}`, which does not probe {task}", e.name);
                    return wrong(what);
                }
            }
            let known = config.domain.dataset().tasks();
            // Whether a dataset has a column of labels shows once it is there.
            let unknown = |t: &&Task| !known.contains(t) && !matches!(t, Task::Column(_));
            if let Some(task) = e.tasks.iter().flatten().find(unknown) {
                return wrong(format!(
                    "probes `{}` for `{task}`; its tasks are {}, and columns of labels",
                    e.name,
                    known.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ")
                ));
            }
        }
        Ok(())
    }

    /// Refuses overrides that reach no run.
    ///
    /// # Errors
    /// Then, or when one is wrong.
    pub(crate) fn check_overrides(&self, set: &[String]) -> Result<()> {
        if set.is_empty() {
            return Ok(());
        }
        let configs: Vec<Config> = self.run.iter().map(|e| e.config(set)).collect::<Result<_>>()?;
        let reaches = |o: &String| configs.iter().any(|c| c.uses(o));
        let Some(o) = set.iter().find(|o| !reaches(o)) else { return Ok(()) };
        // A wrong key has a better error.
        for e in &self.run {
            Config::load(&e.preset, &[&e.set[..], std::slice::from_ref(o)].concat())?;
        }
        Err(Error::config(format_args!("--set {o}"), "has no effect on any run", "leave it out"))
    }

    /// The runs whose names begin with `prefix`, and the runs that they refer to.
    pub(crate) fn only(self, prefix: &str) -> Self {
        self.with(|e| e.name.starts_with(prefix))
    }

    /// Some of the runs, and the runs that they refer to.
    fn with(mut self, is_wanted: impl Fn(&Entry) -> bool) -> Self {
        let mut wanted: BTreeSet<String> = self.run.iter().filter(|e| is_wanted(e)).map(|e| e.name.clone()).collect();
        loop {
            let named = self.run.iter().filter(|e| wanted.contains(&e.name));
            let more: Vec<String> =
                named.flat_map(|e| [e.ablation_of.clone(), e.baselines.clone()]).flatten().collect();
            let before = wanted.len();
            wanted.extend(more);
            if wanted.len() == before {
                break;
            }
        }
        self.run.retain(|e| wanted.contains(&e.name));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_comparisons_are_consistent() {
        for (name, _) in SWEEPS {
            let sweep = Sweep::load(name).unwrap();
            for e in &sweep.run {
                let size = name.split('-').next().unwrap();
                assert!(e.preset.ends_with(&format!("-{size}")), "{}: {}", e.name, e.preset);
            }
            if [DEMO, "local", "paper-tables"].contains(&name) {
                assert!(sweep.run.iter().all(|e| e.ablation_of.is_none()), "{name} has methods only");
                continue;
            }
            assert!(sweep.run.iter().any(|e| e.ablation_of.is_some()), "{name} has an ablation");
            let audio = sweep.only("audio/no-gru");
            assert_eq!(audio.run.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["audio/gim", "audio/no-gru"]);
        }
    }

    /// What a wanted run is compared with has baselines of its own.
    #[test]
    fn a_part_of_a_comparison_is_whole() {
        let run = |name: &str, more: &str| {
            format!("[[run]]\nname = \"{name}\"\ntitle = \"T\"\npreset = \"audio-quick\"\n{more}\n")
        };
        let runs = [run("c", ""), run("b", "baselines = \"c\""), run("a", "ablation_of = \"b\""), run("d", "")];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("seeds = 1\n{}", runs.concat())).unwrap();
        let part = Sweep::load(&file.path().to_string_lossy()).unwrap().only("a");
        assert_eq!(part.run.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
    }

    #[test]
    fn overrides_reach_the_runs_that_have_them() {
        let quick = Sweep::load("quick").unwrap();
        let check = |o: &str| quick.check_overrides(&[o.to_owned()]).map_err(|e| e.to_string());
        // Of speech alone, and of both.
        assert_eq!([check("network.context=8"), check("train.steps=3")], [Ok(()), Ok(())]);
        assert!(check("loss.clapp.update=scalar").unwrap_err().contains("loss.clapp.update"));
        assert!(check("train.stepz=3").unwrap_err().contains("`train.steps`"));
        assert!(check("steps").unwrap_err().contains("section.key=value"));
    }

    #[test]
    fn wrong_lists_are_refused() {
        let run = "[[run]]\nname = \"a\"\ntitle = \"A\"\npreset = \"audio-quick\"\n";
        let load = |text: String| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Sweep::load(&file.path().to_string_lossy()).map_err(|e| e.to_string())
        };
        assert!(load(format!("seeds = 1\n{run}")).is_ok());
        for (text, says) in [
            (format!("seeds = 1\n{run}{run}"), "twice"),
            (format!("seeds = 1\n{run}ablation_of = \"b\"\n"), "`b`"),
            (format!("seeds = 1\n{run}tasks = [\"classes\"]\n"), "phones, speakers"),
            (
                format!("seeds = 1\n{run}tasks = [\"phones\"]\n{}baselines = \"a\"\n", run.replace("\"a\"", "\"b\"")),
                "does not probe speakers",
            ),
            (format!("seeds = 1\n{run}set = [\"loss.prediction_stes=1\"]\n"), "loss.prediction_steps"),
            (format!("seeds = 1\n{run}more = 1\n"), "more"),
            (format!("seeds = 1\nlike = \"this\"\n{run}"), "`this`"),
            (format!("seeds = 1\nlike = \"quick\"\nwithout = [\"b\"]\n{run}"), "leaves out `b`"),
            ("seeds = 1\nrun = []\n".into(), "no run"),
            (format!("seeds = 1\nviews = 0\n{run}"), "views"),
            (format!("seeds = 1\ntest_views = 0\n{run}"), "test_views"),
        ] {
            let e = load(text).unwrap_err();
            assert!(e.contains(says), "{e}");
        }
    }
}
