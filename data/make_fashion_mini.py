#!/usr/bin/env python3
"""Make the embedded image dataset `fashion-mini`, a part of Fashion-MNIST.

Of each of the ten classes the first 600 training and the first 200 test
images, in their original order, as gzipped IDX files:

    train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz   6,000 of 28 x 28
    t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz     2,000 of 28 x 28
    classes.txt                                              a name a line
    SHA256SUMS                                               over the files above

Needed: the four files of Fashion-MNIST, as in the Debian package
dataset-fashion-mnist, and nothing outside Python's standard library.

    make_fashion_mini.py                 write fashion-mini beside this script
    make_fashion_mini.py --out DIR       write it elsewhere
    make_fashion_mini.py --source DIR    take the original from elsewhere
    make_fashion_mini.py --check         make it again in a temporary folder and
                                         compare it with SHA256SUMS and README.md

The unpacked files are a function of the original alone, the packed ones of the
version of zlib as well: no time or name is written into them.
"""

import argparse
import gzip
import hashlib
import os
import struct
import sys
import tempfile

SOURCE = "/usr/share/datasets/fashion-mnist"
CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
SIDE = 28
PER_CLASS = {"train": 600, "t10k": 200}


def read(source, name, magic, dims):
    """Dimensions and data of a gzipped IDX file."""
    with gzip.open(os.path.join(source, name)) as f:
        raw = f.read()
    header = 4 + 4 * dims
    found, *shape = struct.unpack(f">{1 + dims}I", raw[:header])
    if found != magic:
        raise RuntimeError(f"{name} begins with {found:#x}, not {magic:#x}")
    return shape, raw[header:]


def write(out, name, data):
    with open(os.path.join(out, name), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as packed:
            packed.write(data)


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def checksums(out):
    """Lines of SHA256SUMS, in the order of the names."""
    names = sorted(n for n in os.listdir(out) if n not in ("SHA256SUMS", "README.md"))
    return [f"{sha256_of(os.path.join(out, n))}  {n}" for n in names]


def make(source, out):
    for split, per_class in PER_CLASS.items():
        (n, *size), images = read(source, f"{split}-images-idx3-ubyte.gz", 0x803, 3)
        (n_labels,), labels = read(source, f"{split}-labels-idx1-ubyte.gz", 0x801, 1)
        if n != n_labels or size != [SIDE, SIDE]:
            raise RuntimeError(f"{split}: {n} images of {size}, {n_labels} labels")
        left = [per_class] * len(CLASSES)
        kept = []
        for i, label in enumerate(labels):
            if left[label]:
                left[label] -= 1
                kept.append(i)
        if any(left):
            raise RuntimeError(f"{split}: a class has fewer than {per_class} images")
        area = SIDE * SIDE
        pixels = b"".join(images[i * area : (i + 1) * area] for i in kept)
        header = struct.pack(">4I", 0x803, len(kept), SIDE, SIDE)
        write(out, f"{split}-images-idx3-ubyte.gz", header + pixels)
        header = struct.pack(">2I", 0x801, len(kept))
        write(out, f"{split}-labels-idx1-ubyte.gz", header + bytes(labels[i] for i in kept))
        print(f"{split}: {len(kept)} images")
    with open(os.path.join(out, "classes.txt"), "w", encoding="ascii", newline="\n") as f:
        f.writelines(name + "\n" for name in CLASSES)
    lines = checksums(out)
    with open(os.path.join(out, "SHA256SUMS"), "w", encoding="ascii", newline="\n") as f:
        f.writelines(line + "\n" for line in lines)
    print("\n".join(lines))


def check(source, here):
    """Make the files again and compare; true if all are equal."""
    kept = os.path.join(here, "fashion-mini")
    with open(os.path.join(kept, "SHA256SUMS"), encoding="ascii") as f:
        listed = f.read().splitlines()
    with open(os.path.join(kept, "README.md"), encoding="utf-8") as f:
        readme = f.read()
    with tempfile.TemporaryDirectory() as again:
        make(source, again)
        fresh = checksums(again)
    wrong = [("kept  " if line in listed else "fresh ") + line for line in sorted(set(listed) ^ set(fresh))]
    wrong += ["kept  " + line for line in sorted(set(listed) ^ set(checksums(kept)))]
    wrong += ["README.md lacks " + line for line in listed if line not in readme]
    print("\n".join(wrong) or "same")
    return not wrong


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Make the image dataset fashion-mini.")
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--out", default=os.path.join(here, "fashion-mini"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        sys.exit(0 if check(options.source, here) else 1)
    os.makedirs(options.out, exist_ok=True)
    make(options.source, options.out)


if __name__ == "__main__":
    main()
