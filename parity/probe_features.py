#!/usr/bin/env python3
"""The linear probe of `gim probe` in scikit-learn, from a feature file.

    python parity/probe_features.py features.h5 --group module_3 --task class --l2 1e-3

The penalty is the column `l2` of probe.csv. Prints the accuracy on the test part, which is that of
`gim probe --protocol converged` to 0.2 points. Needs scikit-learn and h5py.
"""
import argparse
import h5py, numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

ap = argparse.ArgumentParser()
ap.add_argument("file")
ap.add_argument("--group", required=True)
ap.add_argument("--task", required=True, help="phone, speaker or class")
ap.add_argument("--l2", type=float, required=True)
a = ap.parse_args()

with h5py.File(a.file) as f:
    x, labels = f[f"{a.group}/features"][:].astype(np.float64), f[f"labels/{a.task}"]
    y, per, test = labels[:], labels.attrs["per"], f["splits/test"][:] == 1
    first, rows = f["index"][:].astype(int).T
if per == "item":
    x = np.add.reduceat(x, first) / rows[:, None]  # means over time
else:
    test = np.repeat(test, rows)
x, y, test = x[y >= 0], y[y >= 0], test[y >= 0]
scale = StandardScaler().fit(x[~test])
# scikit-learn minimizes C · (summed loss) + |weights|^2 / 2.
probe = LogisticRegression(C=1 / (a.l2 * (~test).sum()), tol=1e-6, max_iter=10_000)
probe.fit(scale.transform(x[~test]), y[~test])
print(probe.score(scale.transform(x[test]), y[test]))
