#!/usr/bin/env python3
"""What is in a feature file: python parity/read_h5py.py features.h5"""
import sys
import h5py

with h5py.File(sys.argv[1]) as f:
    first, rows = f["index"][0]  # of the first item: its first row, and its number of rows
    print("item", f["items"][0].decode(), "in part", ["train", "test"][f["splits/test"][0]])
    for name in sorted(g for g in f if isinstance(f[g], h5py.Group) and "features" in f[g]):
        x = f[f"{name}/features"][first:first + rows]  # only these rows are read
        print(f"{name}: {x.shape[0]} x {x.shape[1]}, mean {x.mean():.4f}")
    for task, labels in f["labels"].items():
        print(f"{task}: {len(labels)} labels, one per {labels.attrs['per']}")
