//! A dataset of any format with further labels of its images, a kind a column.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use gim_core::Result;
use gim_core::data::LabelTable;
use gim_core::files::hex;
use sha2::{Digest, Sha256};

use crate::dataset::image::Image;
use crate::dataset::image_dataset::{ImageDataset, Listing};

/// A dataset beside its columns of labels.
#[derive(Debug)]
pub(super) struct Labeled {
    images: Arc<dyn ImageDataset>,
    /// That of the images, with the columns.
    listing: Listing,
}

impl Labeled {
    /// Finds the image of each row, by the id that `id_of` gives it.
    ///
    /// # Errors
    /// As [`LabelTable::fit`].
    pub(super) fn new(
        images: Arc<dyn ImageDataset>,
        table: LabelTable,
        id_of: impl Fn(&str) -> String,
    ) -> Result<Self> {
        let mut listing = images.listing().clone();
        let ids: HashMap<String, usize> = (0..images.len()).map(|i| (images.id(i), i)).collect();
        let find = |row: &str| ids.get(row).or_else(|| ids.get(&id_of(row))).copied();
        listing.columns = table.fit(images.len(), find, &mut listing.notes)?;
        let mut hash = Sha256::new();
        hash.update(format!("gim labeled images 1\n{}\n", listing.digest));
        listing.columns.digest(&mut hash);
        listing.digest = hex(hash.finalize());
        Ok(Self { images, listing })
    }
}

impl ImageDataset for Labeled {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn id(&self, i: usize) -> String {
        self.images.id(i)
    }

    fn file(&self, i: usize) -> &Path {
        self.images.file(i)
    }

    fn size(&self, i: usize) -> (usize, usize) {
        self.images.size(i)
    }

    fn read(&self, i: usize) -> Result<Image> {
        self.images.read(i)
    }

    fn check(&self) -> Result<()> {
        self.images.check()
    }
}
