"""ABX errors by brute force, from the definition: vectors for gim-eval/tests/it/abx.rs.

    python parity/abx_reference.py gim-eval/tests/fixtures/abx.safetensors

Every triple (A, B, X) is compared by itself, and paths of dynamic time warping are followed one by one. Ties of
paths are broken as CPC_audio breaks them: both items step on, else the second, else the first.
"""

import itertools
import sys
from collections import defaultdict

import numpy as np
from safetensors.numpy import save_file


def angle(a, b):
    a = a / np.sqrt((a * a).sum() + 1e-12)
    b = b / np.sqrt((b * b).sum() + 1e-12)
    return np.arccos(np.clip((a * b).sum(), -1, 1)) / np.pi


def distance(x, y):
    frames = np.array([[angle(a, b) for b in y] for a in x])
    best = {}

    def cost(i, j):
        if (i, j) not in best:
            steps = [(i - 1, j - 1), (i, j - 1), (i - 1, j)]
            steps = [s for s in steps if min(s) >= 0]
            before = min(((cost(*s)[0], n, s) for n, s in enumerate(steps)), default=None)
            if before is None:
                best[i, j] = (frames[i, j], 1)
            else:
                best[i, j] = (frames[i, j] + before[0], 1 + cost(*before[2])[1])
        return best[i, j]

    total, steps = cost(len(x) - 1, len(y) - 1)
    return total / steps


def errors(features, items, across):
    segments = [features[a:b] for a, b, *_ in items]
    cells = defaultdict(lambda: defaultdict(list))
    for a, b, x in itertools.product(range(len(items)), repeat=3):
        (_, _, ca, pa, sa), (_, _, cb, pb, sb), (_, _, cx, px, sx) = items[a], items[b], items[x]
        if not (ca == cb == cx and sa == sb and pa == px and pa != pb and a != x):
            continue
        if (sx != sa) != across:
            continue
        to_a, to_b = distance(segments[x], segments[a]), distance(segments[x], segments[b])
        wrong = 1.0 if to_a > to_b else 0.5 if to_a == to_b else 0.0
        cells[pa, pb, sa, sx][ca].append(wrong)
    pairs = defaultdict(list)
    for (pa, pb, _, _), contexts in cells.items():
        pairs[pa, pb].append(np.mean([np.mean(c) for c in contexts.values()]))
    return np.mean([np.mean(p) for p in pairs.values()]), len(pairs)


def main(path):
    rng = np.random.default_rng(7)
    items, row = [], 0
    for _ in range(26):
        length = int(rng.integers(1, 6))
        items.append((row, row + length, int(rng.integers(2)), int(rng.integers(3)), int(rng.integers(3))))
        row += length + int(rng.integers(2))
    features = rng.normal(size=(row, 4)).astype(np.float32)
    # Phones can be told apart, but not without mistakes.
    for a, b, _, phone, _ in items:
        features[a:b, phone] += 0.8
    (within, within_pairs), (across, across_pairs) = errors(features, items, False), errors(features, items, True)
    save_file(
        {
            "features": features,
            "items": np.array(items, dtype=np.int32),
            "errors": np.array([within, across]),
            "pairs": np.array([within_pairs, across_pairs], dtype=np.int32),
        },
        path,
    )
    print(within, within_pairs, across, across_pairs)


main(sys.argv[1])
