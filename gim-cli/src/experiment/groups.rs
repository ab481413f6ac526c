//! Which groups of features a file has.

use gim_eval::{GroupId, GroupSpec};
use ndarray::Array2;

use crate::experiment::domain::{Extracted, Extractor};
use crate::experiment::probe_config::{Baselines, Contents};

/// The groups of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    contents: Contents,
    /// The input's, which extractors give with those of the random encoder.
    input: GroupId,
}

impl Groups {
    pub(super) fn of(contents: Contents, extractor: &dyn Extractor) -> Self {
        Self { contents, input: extractor.baseline() }
    }

    /// Adds to an item what an extractor does not give, and removes what is not wanted. Gives the groups that are left.
    pub(super) fn complete(self, item: &mut Extracted) -> Vec<GroupId> {
        if self.contents.concatenate {
            item.concatenate(self.contents.has_random());
        }
        let given = self.given(item.groups.len());
        let mut ids = given.iter();
        item.groups.retain(|_| ids.next().is_some_and(|id| self.wants(*id)));
        given.into_iter().filter(|id| self.wants(*id)).collect()
    }

    /// The `n` groups of an item with all that there can be: the modules and, with a random encoder, their random twins and
    /// the input; then all modules, and all random ones.
    fn given(self, n: usize) -> Vec<GroupId> {
        let sets = if self.contents.has_random() { 2 } else { 1 };
        let all = if self.contents.concatenate { sets } else { 0 };
        // The input makes the division uneven, and falls away.
        let modules = 1..=(n - all) / sets;
        let random = modules.clone().filter(|_| sets > 1).map(GroupId::Random);
        let input = self.contents.has_random().then_some(self.input);
        let all = [GroupId::AllTrained, GroupId::AllRandom].into_iter().take(all);
        modules.map(GroupId::Trained).chain(random).chain(input).chain(all).collect()
    }

    fn wants(self, id: GroupId) -> bool {
        match id {
            GroupId::Trained(module) | GroupId::Random(module) => self.contents.module.is_none_or(|k| k == module),
            id if id == self.input => self.contents.baselines == Baselines::All,
            _ => true,
        }
    }
}

/// The groups of a complete item.
pub(super) fn specs(ids: &[GroupId], item: &Extracted) -> Vec<GroupSpec> {
    ids.iter().zip(&item.groups).map(|(id, g)| spec(*id, g)).collect()
}

pub(super) fn spec(id: GroupId, features: &Array2<f32>) -> GroupSpec {
    let group = id.to_string();
    GroupSpec { name: group.replace('_', " "), group, dims: features.ncols() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_names() {
        let item = |n: usize| Extracted {
            id: String::new(),
            groups: (0..n).map(|i| Array2::from_elem((2, i + 1), i as f32)).collect(),
            labels: Vec::new(),
            more: false,
        };
        let contents = |baselines, concatenate| Contents { baselines, pooling: 1, concatenate, module: None };
        let (all, random) = (Baselines::All, Baselines::Random);
        for (contents, input, n, want) in [
            (contents(Baselines::None, false), GroupId::Pixels, 2, "module_1 1, module_2 2"),
            (contents(Baselines::None, true), GroupId::Pixels, 2, "module_1 1, module_2 2, all_modules 3"),
            (contents(all, false), GroupId::Pixels, 3, "module_1 1, random_1 2, baseline_pixels 3"),
            (
                contents(all, true),
                GroupId::Pixels,
                3,
                "module_1 1, random_1 2, baseline_pixels 3, all_modules 1, all_random 2",
            ),
            (
                contents(all, true),
                GroupId::Mfcc,
                5,
                "module_1 1, module_2 2, random_1 3, random_2 4, baseline_mfcc 5, all_modules 3, all_random 7",
            ),
            (
                contents(random, true),
                GroupId::Mfcc,
                5,
                "module_1 1, module_2 2, random_1 3, random_2 4, all_modules 3, all_random 7",
            ),
            (contents(all, true).of_module(2), GroupId::Mfcc, 5, "module_2 2, random_2 4, baseline_mfcc 5"),
            (contents(all, false).of_module(1), GroupId::Mfcc, 3, "module_1 1, random_1 2, baseline_mfcc 3"),
            (contents(random, false).of_module(2), GroupId::Mfcc, 5, "module_2 2, random_2 4"),
            (contents(Baselines::None, false).of_module(3), GroupId::Mfcc, 3, "module_3 3"),
        ] {
            let (groups, mut item) = (Groups { contents, input }, item(n));
            let ids = groups.complete(&mut item);
            assert_eq!(ids.len(), item.groups.len());
            let specs: Vec<String> = specs(&ids, &item).iter().map(|g| format!("{} {}", g.group, g.dims)).collect();
            assert_eq!(specs.join(", "), want);
        }
    }
}
