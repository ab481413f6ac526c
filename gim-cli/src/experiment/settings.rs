//! What each setting is for, from the documentation of its field, and names near a misspelled one.

use std::collections::BTreeMap;

use documented::DocumentedFields;
use gim_core::loss::{LossKind, LossSettings};
use gim_core::optim::OptimizerConfig;
use gim_core::{Error, Result};

use crate::experiment::config::{Config, flat};
use crate::experiment::domain::DomainKind;
use crate::experiment::fingerprint::may_change;
use crate::experiment::probe_config::ProbeConfig;
use crate::experiment::ranges;
use crate::experiment::train_config::TrainConfig;

/// A section's name, the names of its settings, and the documentation of each.
pub(crate) type SectionDocs = (&'static str, &'static [&'static str], &'static [&'static str]);

/// The documentation of a section `name` with the fields of `T`.
pub(crate) fn docs<T: DocumentedFields>(name: &'static str) -> SectionDocs {
    (name, T::FIELD_NAMES, T::FIELD_DOCS)
}

/// What a setting is for: its documentation, and its range if it is a number.
fn purpose(config: &Config, section: &str, key: &str) -> Option<String> {
    let shared = [docs::<OptimizerConfig>("optimizer"), docs::<TrainConfig>("train"), docs::<ProbeConfig>("probe")];
    let sections =
        config.domain.docs().into_iter().chain(shared).map(|(name, keys, texts)| (name.to_owned(), keys, texts));
    let losses = LossKind::ALL.iter().map(|kind| {
        let (keys, texts) = LossSettings::docs(*kind);
        (format!("loss.{kind}"), keys, texts)
    });
    let (_, names, texts) = sections.chain(losses).find(|s| s.0 == section)?;
    let text = texts[names.iter().position(|name| *name == key)?];
    let name = format!("{section}.{key}");
    if let Some(range) = ranges::in_words(config.domain.kind(), &name) {
        return Some(format!("{text}\nRange: {range}."));
    }
    let values = values_of(config, &name).filter(|values| !values.iter().all(|value| text.contains(value)));
    Some(values.map_or(text.to_owned(), |values| format!("{text}\nValues: {}.", values.join(", "))))
}

/// The values that a setting may have, if they are named: those that the error of another value names.
fn values_of(config: &Config, name: &str) -> Option<Vec<String>> {
    /// No setting has it.
    const OTHER: &str = "?";
    flat(&config.every_setting()).get(name).filter(|value| value.is_str())?;
    let text = format!("domain = \"{}\"", config.domain.kind());
    match Config::parse("", &text, &[format!("{name}=\"{OTHER}\"")]) {
        Err(Error::Config { key, remedy, .. }) if key == name => {
            Some(remedy.strip_prefix(ONE_OF)?.split(", ").map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// How the remedy of a wrong value begins that lists the right ones.
pub(crate) const ONE_OF: &str = "use one of: ";

/// What is wrong with a value, and what to do, from the words of the library that reads TOML.
pub(crate) fn plain(message: &str) -> (String, String) {
    let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    if let Some((value, expected)) = message.strip_prefix("unknown variant ").and_then(|m| m.split_once(", expected "))
    {
        return (format!("{value} is none of its values"), format!("{ONE_OF}{}", quoted(expected).join(", ")));
    }
    let Some((got, expected)) = message.strip_prefix("invalid type: ").and_then(|m| m.split_once(", expected ")) else {
        return (message.to_owned(), "fix the value".to_owned());
    };
    let got =
        got.replace("string", "the text").replace("floating point", "the number").replace("integer", "the number");
    let wanted = match expected.trim_end() {
        "u64" | "u32" | "usize" => "a whole number from 0",
        "i64" | "i32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        other => other,
    };
    (format!("is {got}"), format!("give {wanted}"))
}

/// Every setting of a domain with its default, by name; those of all losses included.
fn defaults(kind: DomainKind) -> BTreeMap<String, toml::Value> {
    flat(&Config { domain: kind.into(), ..Config::default() }.every_setting())
}

/// A configuration as TOML, with the purpose of each setting above it.
pub(crate) fn commented(config: &Config) -> String {
    let (mut out, mut section) = (String::new(), String::new());
    for line in config.to_toml().lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && let Some(text) = purpose(config, &section, key)
        {
            text.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// What a setting, or each setting of a section, is for: name, default, purpose, and whether it may change
/// when a run is resumed. Settings that mean the same in both domains are told once.
///
/// # Errors
/// When no domain has such a setting.
pub(crate) fn explain(wanted: &str) -> Result<String> {
    let (mut told, mut names) = (Vec::<(String, Vec<DomainKind>)>::new(), Vec::new());
    for kind in DomainKind::ALL {
        let config = Config { domain: kind.into(), ..Config::default() };
        for (name, value) in defaults(kind) {
            if let Some((section, key)) = name.rsplit_once('.')
                && (name == wanted || section == wanted)
            {
                let text = purpose(&config, section, key).unwrap_or_default();
                let text = format!("Default: {value}\n{text}\n{}", resuming(&name));
                let text = format!("{name}\n  {}\n", text.trim_end().replace('\n', "\n  "));
                match told.iter_mut().find(|t| t.0 == text) {
                    Some((_, kinds)) => kinds.push(kind),
                    None => told.push((text, vec![kind])),
                }
            }
            names.push(name);
        }
    }
    if told.is_empty() {
        let near = nearest(wanted, names.iter().map(String::as_str));
        let near = near.map_or("see `gim config show audio-small`".into(), |n| format!("did you mean `{n}`?"));
        return Err(Error::config(wanted, "unknown key", near));
    }
    let both = DomainKind::ALL.len();
    let title = |(text, kinds): (String, Vec<DomainKind>)| match kinds.first() {
        Some(kind) if kinds.len() < both => text.replacen('\n', &format!(" ({kind})\n"), 1),
        _ => text,
    };
    Ok(told.into_iter().map(title).collect::<Vec<_>>().join("\n"))
}

fn resuming(name: &str) -> &'static str {
    if may_change(name) { "May change when a run is resumed." } else { "" }
}

/// The candidate that a misspelled word most likely means; `None` when none is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Similarity, 1 for equal words, under which two words are different words.
    const LEAST: f64 = 0.8;
    let scored = candidates.into_iter().map(|c| (strsim::jaro_winkler(c, word), c));
    scored.filter(|(score, _)| *score >= LEAST).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commented_configuration_is_the_same_configuration() {
        for kind in DomainKind::ALL {
            let config = Config { domain: kind.into(), ..Config::default() };
            let text = commented(&config);
            assert_eq!(text.parse::<toml::Table>().unwrap(), config.to_toml().parse::<toml::Table>().unwrap());
            let settings = config.to_toml().lines().filter(|l| l.contains(" = ")).count();
            let without_comment = text
                .lines()
                .zip(text.lines().skip(1))
                .filter(|(above, line)| line.contains(" = ") && !line.starts_with('#') && !above.starts_with('#'));
            // `domain` stands above all sections.
            assert_eq!(without_comment.count(), 0, "of {settings} settings: {text}");
        }
    }

    #[test]
    fn every_setting_has_a_purpose() {
        for kind in DomainKind::ALL {
            let config = Config { domain: kind.into(), ..Config::default() };
            for (name, _) in defaults(kind) {
                let (section, key) = name.rsplit_once('.').unwrap();
                assert!(purpose(&config, section, key).is_some_and(|text| text.len() > 5), "{kind}: {name}");
            }
        }
    }

    #[test]
    fn settings_are_explained_by_name_and_by_section() {
        let text = explain("optimizer.lr").unwrap();
        assert!(text.contains("Learning rate") && text.contains("Range: a number above 0, up to 100"), "{text}");
        assert_eq!(text.matches("optimizer.lr").count(), 1, "both domains mean the same: {text}");
        assert!(explain("data.crop").unwrap().contains("data.crop (audio)"));
        assert!(explain("train.log_every").unwrap().contains("May change"));
        assert!(explain("loss.vicreg").unwrap().contains("loss.vicreg.variance"));
        assert!(explain("train").unwrap().contains("train.batch"));
        assert!(explain("optimizer.lrr").unwrap_err().to_string().contains("did you mean `optimizer.lr`"));
    }

    #[test]
    fn only_near_names_are_offered() {
        assert_eq!(nearest("audio-smal", ["audio-small", "vision-small"]), Some("audio-small"));
        assert_eq!(nearest("xyz", ["audio-small", "vision-small"]), None);
    }
}
