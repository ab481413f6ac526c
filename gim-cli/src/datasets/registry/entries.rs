//! The entries: what publishers say, with checksums that a second source confirms.

use super::{Algorithm, Authority, Checksum, Dataset, Known, Layout, License, Source};
use crate::experiment::domain::DomainKind;

use Authority::{Publisher, Torchvision};

const fn md5(digest: &'static str, by: Authority) -> Checksum {
    Checksum { algorithm: Algorithm::Md5, digest, by }
}

/// All SHA-256 here are those of TensorFlow Datasets.
const fn sha256(digest: &'static str) -> Checksum {
    Checksum { algorithm: Algorithm::Sha256, digest, by: Authority::TensorflowDatasets }
}

const NO_LICENSE: &str = "none stated";

pub(super) static LIBRISPEECH_100: Dataset = Dataset {
    name: Known::Librispeech100,
    title: "LibriSpeech train-clean-100",
    domain: DomainKind::Audio,
    about: "100 hours of read English, 28,539 utterances of 251 speakers, FLAC at 16 kHz (Panayotov et al. 2015)",
    homepage: "https://www.openslr.org/12/",
    license: License {
        name: "CC BY 4.0",
        terms: "Creative Commons Attribution 4.0 International (https://creativecommons.org/licenses/by/4.0/): give \
                credit, and say what you changed. It stands in LICENSE.TXT of the archive.",
    },
    files: &[Source {
        name: "train-clean-100.tar.gz",
        addresses: &[
            "https://www.openslr.org/resources/12/train-clean-100.tar.gz",
            "https://openslr.elda.org/resources/12/train-clean-100.tar.gz",
        ],
        bytes: 6_387_309_499,
        checksums: &[
            md5("2a93770f6d5c6c964bc36631d331a522", Publisher),
            sha256("d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
        ],
        archive: true,
    }],
    unpacked_bytes: 6_700_000_000,
    unpacked_files: 29_200,
    layout: Layout::AsPublished,
    notes: &[
        "Speakers are read from the names of the files.",
        "Splits and phone labels are not in the archive. Those of the paper were published with CPC: \
         train_split.txt, test_split.txt, converted_aligned_phones.txt. Give them with --train-split, \
         --test-split, --phone-labels, --phones, at fetch or later. Without splits, a fifth of each \
         speaker's utterances is the test set; without labels, there is no task of phones.",
    ],
    not_checked: &["size and number of files after unpacking", "that openslr.elda.org has the same file"],
    train: &["audio-small"],
};

pub(super) static SPOKEN_DIGITS: Dataset = Dataset {
    name: Known::SpokenDigits,
    title: "Free Spoken Digit Dataset 1.0.9",
    domain: DomainKind::Audio,
    about: "2,500 recordings of the ten digits by 5 speakers, WAV at 8 kHz (Jackson et al. 2018)",
    homepage: "https://github.com/Jakobovski/free-spoken-digit-dataset",
    license: License {
        name: "CC BY-SA 4.0",
        terms: "Creative Commons Attribution-ShareAlike 4.0 International \
                (https://creativecommons.org/licenses/by-sa/4.0/): give credit, say what you changed, and share \
                changed versions under the same license. It stands in the README.",
    },
    files: &[Source {
        name: "free-spoken-digit-dataset-1.0.9.tar.gz",
        addresses: &["https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz"],
        bytes: 11_975_353,
        checksums: &[sha256("8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0")],
        archive: true,
    }],
    unpacked_bytes: 30_000_000,
    unpacked_files: 2_600,
    layout: Layout::SpokenDigits,
    notes: &[
        "Recordings DIGIT_SPEAKER_N.wav are renamed to SPEAKER-DIGIT-N.wav, so that speakers are known.",
        "The publisher's test set (N from 0 to 4) becomes test_split.txt, the rest train_split.txt.",
        "Digits become phone labels: every frame of a recording has its digit, so --task phones tells digits.",
        "Recordings are short, many below a second: use a small data.crop.",
        "The publisher gives no checksum. The archive is made by the host on request: its bytes could change.",
    ],
    not_checked: &["size and number of files after unpacking"],
    train: &["audio-small", "data.crop=5120", "data.short=pad"],
};

pub(super) static STL10: Dataset = Dataset {
    name: Known::Stl10,
    title: "STL-10",
    domain: DomainKind::Vision,
    about: "5,000 training and 8,000 test images of 10 classes, 100,000 without labels, 96 x 96, color (Coates, Lee, \
            Ng 2011)",
    homepage: "https://cs.stanford.edu/~acoates/stl10/",
    license: License {
        name: NO_LICENSE,
        terms: "The page states no license and asks to cite the paper. The images come from ImageNet, whose terms \
                allow research and teaching without profit.",
    },
    files: &[Source {
        name: "stl10_binary.tar.gz",
        addresses: &[
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        ],
        bytes: 2_640_397_119,
        checksums: &[
            md5("91f7769df0f17e558f3565bffb0c7dfb", Torchvision),
            sha256("f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"),
        ],
        archive: true,
    }],
    unpacked_bytes: 3_124_300_000,
    unpacked_files: 8,
    layout: Layout::AsPublished,
    notes: &["The publisher gives no checksum."],
    not_checked: &["the terms of the images", "that cs.stanford.edu has the same file"],
    train: &["vision-small"],
};

pub(super) static CIFAR10: Dataset = Dataset {
    name: Known::Cifar10,
    title: "CIFAR-10, binary version",
    domain: DomainKind::Vision,
    about: "50,000 training and 10,000 test images of 10 classes, 32 x 32, color (Krizhevsky 2009)",
    homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
    license: License { name: NO_LICENSE, terms: "The page states no license and asks to cite the technical report." },
    files: &[Source {
        name: "cifar-10-binary.tar.gz",
        addresses: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
        bytes: 170_052_171,
        checksums: &[
            md5("c32a1d4ab5d03f1284b67883e8d87530", Publisher),
            sha256("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        ],
        archive: true,
    }],
    unpacked_bytes: 184_400_000,
    unpacked_files: 8,
    layout: Layout::AsPublished,
    notes: &["The batches that torchvision downloads are Python pickles, which gim does not read."],
    not_checked: &[],
    train: &["vision-quick"],
};

pub(super) static CIFAR100: Dataset = Dataset {
    name: Known::Cifar100,
    title: "CIFAR-100, binary version",
    domain: DomainKind::Vision,
    about: "50,000 training and 10,000 test images of 100 classes, 32 x 32, color (Krizhevsky 2009)",
    homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
    license: License { name: NO_LICENSE, terms: "The page states no license and asks to cite the technical report." },
    files: &[Source {
        name: "cifar-100-binary.tar.gz",
        addresses: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
        bytes: 168_513_733,
        checksums: &[
            md5("03b5dce01913d631647c71ecec9e9cb8", Publisher),
            sha256("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
        ],
        archive: true,
    }],
    unpacked_bytes: 184_500_000,
    unpacked_files: 4,
    layout: Layout::AsPublished,
    notes: &["Labels are the 100 fine classes; the 20 coarse ones are not used."],
    not_checked: &[],
    train: &["vision-quick"],
};

const fn fashion(name: &'static str, at: &'static [&'static str], bytes: u64, sums: &'static [Checksum]) -> Source {
    Source { name, addresses: at, bytes, checksums: sums, archive: false }
}

pub(super) static FASHION_MNIST: Dataset = Dataset {
    name: Known::FashionMnist,
    title: "Fashion-MNIST",
    domain: DomainKind::Vision,
    about: "60,000 training and 10,000 test images of 10 classes of clothes, 28 x 28, gray (Xiao, Rasul, Vollgraf 2017)",
    homepage: "https://github.com/zalandoresearch/fashion-mnist",
    license: License { name: "MIT", terms: "The MIT license, Zalando SE. It stands in the repository's LICENSE." },
    files: &[
        fashion(
            "train-images-idx3-ubyte.gz",
            &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/train-images-idx3-ubyte.gz",
            ],
            26_421_880,
            &[
                md5("8d4fb7e6c68d591d4c3dfef9ec88bf0d", Publisher),
                sha256("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            ],
        ),
        fashion(
            "train-labels-idx1-ubyte.gz",
            &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/train-labels-idx1-ubyte.gz",
            ],
            29_515,
            &[
                md5("25c81989df183df01b3e8a0aad5dffbe", Publisher),
                sha256("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            ],
        ),
        fashion(
            "t10k-images-idx3-ubyte.gz",
            &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/t10k-images-idx3-ubyte.gz",
            ],
            4_422_102,
            &[
                md5("bef4ecab320f06d8554ea6380940ec79", Publisher),
                sha256("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            ],
        ),
        fashion(
            "t10k-labels-idx1-ubyte.gz",
            &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/t10k-labels-idx1-ubyte.gz",
            ],
            5_148,
            &[
                md5("bb300cfdad3c16e7a12a480ee83cd310", Publisher),
                sha256("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
            ],
        ),
    ],
    unpacked_bytes: 30_900_000,
    unpacked_files: 5,
    layout: Layout::FashionMnist,
    notes: &["Files stay compressed. Names of the classes are written to classes.txt."],
    not_checked: &["the text of the license file", "that the repository has the same files"],
    train: &["vision-quick"],
};

const IMAGENETTE_LICENSE: License = License {
    name: "Apache-2.0; images as ImageNet's",
    terms: "The repository is under Apache-2.0. The images come from ImageNet, whose terms allow research and teaching \
            without profit.",
};

pub(super) static IMAGENETTE_160: Dataset = Dataset {
    name: Known::Imagenette160,
    title: "Imagenette, version 2, 160 px",
    domain: DomainKind::Vision,
    about: "9,469 training and 3,925 validation images of 10 classes of ImageNet, shorter side 160, color (Howard 2019)",
    homepage: "https://github.com/fastai/imagenette",
    license: IMAGENETTE_LICENSE,
    files: &[Source {
        name: "imagenette2-160.tgz",
        addresses: &["https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"],
        bytes: 99_003_388,
        checksums: &[
            md5("e793b78cc4c9e9a4ccc0c1155377a412", Torchvision),
            sha256("64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5"),
        ],
        archive: true,
    }],
    unpacked_bytes: 120_000_000,
    unpacked_files: 13_420,
    layout: Layout::AsPublished,
    notes: &[
        "The publisher gives no checksum.",
        "Classes are named by WordNet ids; the validation set is the test set.",
    ],
    not_checked: &["the terms of the images", "size and number of files after unpacking"],
    train: &["vision-small"],
};

pub(super) static IMAGENETTE_320: Dataset = Dataset {
    name: Known::Imagenette320,
    title: "Imagenette, version 2, 320 px",
    domain: DomainKind::Vision,
    about: "9,469 training and 3,925 validation images of 10 classes of ImageNet, shorter side 320, color (Howard 2019)",
    homepage: "https://github.com/fastai/imagenette",
    license: IMAGENETTE_LICENSE,
    files: &[Source {
        name: "imagenette2-320.tgz",
        addresses: &["https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz"],
        bytes: 341_663_724,
        checksums: &[
            md5("3df6f0d01a2c9592104656642f5e78a3", Torchvision),
            sha256("569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c"),
        ],
        archive: true,
    }],
    unpacked_bytes: 370_000_000,
    unpacked_files: 13_420,
    layout: Layout::AsPublished,
    notes: &[
        "The publisher gives no checksum.",
        "Classes are named by WordNet ids; the validation set is the test set.",
    ],
    not_checked: &["the terms of the images", "size and number of files after unpacking"],
    train: &["vision-small", "data.short_side=96"],
};

pub(super) static FLOWERS102: Dataset = Dataset {
    name: Known::Flowers102,
    title: "Oxford 102 Category Flower Dataset",
    domain: DomainKind::Vision,
    about: "1,020 training, 1,020 validation and 6,149 test images of 102 kinds of flowers, shorter side about 500, color \
            (Nilsback, Zisserman 2008)",
    homepage: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    license: License {
        name: NO_LICENSE,
        terms: "The page states no license. The images come from the web, and their rights stay with their owners.",
    },
    files: &[
        Source {
            name: "102flowers.tgz",
            addresses: &["https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"],
            bytes: 344_862_509,
            checksums: &[
                md5("52808999861908f626f3c1f4e79d11fa", Torchvision),
                sha256("2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246"),
            ],
            archive: true,
        },
        Source {
            name: "imagelabels.mat",
            addresses: &["https://www.robots.ox.ac.uk/~vgg/data/flowers/102/imagelabels.mat"],
            bytes: 502,
            checksums: &[
                md5("e0620be6f572b9609742df49c70aed4d", Torchvision),
                sha256("4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d"),
            ],
            archive: false,
        },
        Source {
            name: "setid.mat",
            addresses: &["https://www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat"],
            bytes: 14_989,
            checksums: &[
                md5("a5357ecc9cb78c4bef273ce3793fc85c", Torchvision),
                sha256("46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd"),
            ],
            archive: false,
        },
    ],
    unpacked_bytes: 350_000_000,
    unpacked_files: 8_200,
    layout: Layout::Flowers102,
    notes: &[
        "The publisher gives no checksum.",
        "Images are moved to train, val and test, each with class folders 001 to 102, by imagelabels.mat and setid.mat.",
        "The files have no names of classes. Folder val is not used beside train and test.",
    ],
    not_checked: &["that the page states no license", "size after unpacking"],
    train: &["vision-small", "data.short_side=96"],
};
