"""Reads the file that tests/it/features.rs wrote, and checks every part of its layout."""
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1]) as f:
    assert f.attrs["format_version"] == 3
    assert f.attrs["configuration"] == "seed = 7\n# ü\n", f.attrs["configuration"]
    assert f.attrs["seed"] == 7 and f.attrs["commit"] == "abc" and f.attrs["dataset_digest"] == "sha256:1"
    assert f["module_1"].attrs["name"] == "1" and f["baseline_mfcc"].attrs["name"] == "mfcc"
    a, b = f["module_1/features"], f["baseline_mfcc/features"]
    assert a.dtype == np.float32 and a.shape == (53, 3) and b.shape == (53, 10_000)
    assert a.chunks[1] == 3 and b.chunks == (13, 10_000), (a.chunks, b.chunks)
    i, j = np.indices(a.shape)
    assert (a[:] == (i + j / 4).astype(np.float32)).all()
    i, j = np.indices(b.shape)
    assert (b[:] == ((i * 10_000 + j) / 1024).astype(np.float32)).all()
    assert list(f["items"].asstr()[:]) == [f"utterance-{i}" for i in range(4)]
    assert f["index"].dtype == np.uint64
    assert f["index"][:].tolist() == [[0, 5], [5, 30], [35, 1], [36, 17]]
    assert f["splits/test"].dtype == np.uint8 and f["splits/test"][:].tolist() == [0, 0, 1, 0]
    phone, speaker = f["labels/phone"], f["labels/speaker"]
    assert phone.dtype == np.int32 and (phone[:] == np.arange(53) % 42 - 1).all()
    assert speaker[:].tolist() == [0, 1, 0, 1]
    assert phone.attrs["per"] == "frame" and speaker.attrs["per"] == "item"
    assert phone.attrs["classes"] == 41 and speaker.attrs["classes"] == 2
