#!/usr/bin/env python3
"""Features of `gim extract` against those of the exported weights, in PyTorch and in onnxruntime.

    python parity/check_weights.py target/release/gim

Trains two small networks for a few steps on noise, exports them, computes the features of all items
from the raw files, and prints the largest difference of every module relative to its largest value.
Fails above 1e-5. Needs numpy, h5py, and torch or onnxruntime.
"""
import json, pathlib, struct, subprocess, sys, tempfile, wave
import h5py, numpy as np
try:
    import torch
    from encoders import load
except ImportError:
    torch = None
    print("torch is not installed: PyTorch is not checked")
try:
    import onnxruntime
except ImportError:
    onnxruntime = None
    print("onnxruntime is not installed: ONNX is not checked")
if not torch and not onnxruntime:
    sys.exit("install torch or onnxruntime")

TOLERANCE = 1e-5
gim, rng, worst = str(pathlib.Path(sys.argv[1]).resolve()), np.random.default_rng(1), 0.0

def run(folder, *args):
    subprocess.run([gim, "--quiet", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL)

def speech(folder):
    """Utterances of colored noise by id."""
    out = {}
    for name in ("ann-0", "ann-1", "ben-0", "ben-1"):
        samples = (np.cumsum(rng.normal(size=20_011)) % 2 * 9_000 - 9_000).astype("<i2")
        with wave.open(str(folder / f"{name}.wav"), "wb") as f:
            f.setnchannels(1), f.setsampwidth(2), f.setframerate(16_000), f.writeframes(samples.tobytes())
        out[name] = (samples.astype("f4") / 32_768)[None]
    (folder / "test_split.txt").write_text("ann-1\nben-1\n")
    return out

def images(folder):
    """Images of noise in IDX files, in order."""
    out = []
    for part in ("train", "t10k"):
        pixels, labels = rng.integers(0, 256, (32, 28, 28), "u1"), (np.arange(32) % 2).astype("u1")
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 32, 28, 28) + pixels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 32) + labels.tobytes())
        out.append((pixels.astype("f4") / 255)[:, None])
    return np.concatenate(out)

def on_labels(frames, field, rows):
    """Means of the frames whose middle is nearest to that of each label; empty ones are NaN."""
    label = np.floor((field["hop"] * np.arange(len(frames)) + field["center"] - 199.5) / 160 + 0.5)
    return np.stack([frames[label == n].mean(0) if (label == n).any() else np.full(frames.shape[1], np.nan) for n in range(rows)])

def compare(what, got, want):
    global worst
    seen = ~np.isnan(got)
    assert seen.mean() > 0.9, f"{what}: few rows to compare"
    off = np.abs(got - want)[seen].max() / np.abs(want).max()
    worst = max(worst, off)
    print(f"{what}: {off:.1e}")

def check(preset, folder, data, settings):
    args = [a for s in [f"data.path={folder}", "train.steps=20", "train.checkpoint_every=20", *settings] for a in ("--set", s)]
    run(folder.parent, "train", preset, "--out", preset, *args)
    run(folder.parent, "extract", preset, "--out", f"{preset}.h5")
    programs = {}
    if torch:
        run(folder.parent, "export", preset, "--to", "torch", "--out", f"{preset}.ckpt")
        encoder = load(folder.parent / f"{preset}.ckpt").requires_grad_(False)
        programs["PyTorch"] = lambda x: [y.numpy() for y in encoder(torch.from_numpy(x))]
    if onnxruntime:
        run(folder.parent, "export", preset, "--to", "onnx", "--out", f"{preset}.onnx")
        session = onnxruntime.InferenceSession(str(folder.parent / f"{preset}.onnx"))
        programs["onnxruntime"] = lambda x: session.run(None, {session.get_inputs()[0].name: x})
    fields = (json.loads((folder.parent / preset / "dataset.json").read_text())["time"] or {}).get("fields")
    file = h5py.File(folder.parent / f"{preset}.h5")
    for program, features in programs.items():
        if fields is None:
            for m, grid in enumerate(features(data)):
                compare(f"{preset}, module {m + 1}, {program}", grid.mean((1, 2)), file[f"module_{m + 1}/features"][:])
            continue
        items = [i.decode() for i in file["items"]]
        each = [features(data[i]) for i in items]
        for m in range(len(each[0])):
            field = fields[min(m, len(fields) - 1)]
            got = [on_labels(f[m][0], field, int(n)) for f, (_, n) in zip(each, file["index"])]
            compare(f"{preset}, module {m + 1}, {program}", np.concatenate(got), file[f"module_{m + 1}/features"][:])

with tempfile.TemporaryDirectory() as here:
    here = pathlib.Path(here)
    (here / "speech").mkdir(), (here / "images").mkdir()
    check("audio-quick", here / "speech", speech(here / "speech"), ["train.batch=2", "network.width=32", "data.crop=10240"])
    check("vision-quick", here / "images", images(here / "images"), ["train.batch=8"])
print(f"largest relative difference: {worst:.1e}")
sys.exit(f"above {TOLERANCE}" if worst > TOLERANCE else 0)
