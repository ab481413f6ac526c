#!/usr/bin/env python3
"""Makes speechocean-mini: the part of a larger corpus that is embedded in the program.

    make_speechocean_mini.py CORPUS [--check]

CORPUS is a folder in LibriSpeech's layout with utterances of speechocean762, their splits and phone
labels (see README.md). The files that cost the fewest bytes a second of speech hold the least noise,
so the speakers with the fewest are taken, and an equal share of bytes of each. With --check, the
result is only compared with what is there.

Needs Python 3.9.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPEAKERS = 16
BYTES_A_SPEAKER = 580_000
SPLITS = ("test", "train")


def speaker_of(utterance):
    return utterance.split("-")[0]


def choose(files, seconds, splits):
    """The utterances of each split: whole test part first, then training utterances in order."""
    cost = defaultdict(lambda: [0, 0.0])
    for name, path in files.items():
        total = cost[speaker_of(name)]
        total[0] += path.stat().st_size
        total[1] += seconds[name]
    speakers = sorted(cost, key=lambda s: cost[s][0] / cost[s][1])[:SPEAKERS]
    chosen = {split: set() for split in SPLITS}
    for speaker in speakers:
        left = BYTES_A_SPEAKER
        for split in SPLITS:
            for name in splits[split]:
                size = files[name].stat().st_size
                if speaker_of(name) == speaker and size <= left:
                    left -= size
                    chosen[split].add(name)
    return chosen


def make(corpus, out):
    """Writes the part of the corpus, and the checksums of all its files."""
    lines = dict(line.split(maxsplit=1) for line in (corpus / "phone_labels.txt").read_text().splitlines())
    splits = {split: (corpus / f"{split}_split.txt").read_text().split() for split in SPLITS}
    files = {path.stem: path for path in corpus.rglob("*.flac")}
    seconds = {name: len(labels.split()) / 100 for name, labels in lines.items()}
    chosen = choose(files, seconds, splits)
    out.mkdir(parents=True)
    for split in SPLITS:
        names = [name for name in splits[split] if name in chosen[split]]
        (out / f"{split}_split.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            target = out / files[name].relative_to(corpus)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[name], target)
    kept = chosen["train"] | chosen["test"]
    (out / "phone_labels.txt").write_text("".join(f"{n} {text}\n" for n, text in lines.items() if n in kept))
    shutil.copyfile(corpus / "phones.txt", out / "phones.txt")
    paths = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    sums = [f"{hashlib.sha256((out / p).read_bytes()).hexdigest()}  {p}\n" for p in paths]
    (out / "SHA256SUMS").write_text("".join(sums))
    for split in SPLITS:
        print(f"{split}: {len(chosen[split])} utterances, {sum(seconds[n] for n in chosen[split]):.1f} s")
    print(f"{sum(p.stat().st_size for p in out.rglob('*') if p.is_file()):,} bytes in {len(paths) + 1} files")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    target = HERE / "speechocean-mini"
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        fresh = Path(folder) / "made"
        make(given.corpus, fresh)
        if given.check:
            equal = (fresh / "SHA256SUMS").read_bytes() == (target / "SHA256SUMS").read_bytes()
            sys.exit(0 if equal else "speechocean-mini differs from what the corpus gives")
        if target.exists():
            sys.exit(f"{target} is there: remove it first")
        fresh.rename(target)


if __name__ == "__main__":
    main()
