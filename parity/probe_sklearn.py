#!/usr/bin/env python3
"""The probe of `gim bench` in scikit-learn: standardize, then solve to convergence.

    python parity/probe_sklearn.py FOLDER --l2 1e-3 [--repeats 3] [--threads 2] [--tolerance 2e-5]

FOLDER holds x.npy (rows, dimensions) and y.npy (rows), as `gim bench-probe --write FOLDER` writes
them. Prints one JSON line:

    times       seconds of every fit
    objective   mean cross-entropy + l2/2 |weights|^2
    iterations  of the solver
    peak_mb     peak resident memory, MB
    threads     1 or --threads, whichever is faster: small products can be slower on several

The default tolerance gives the objective that gim's probe reaches.
"""
import argparse, json, resource, statistics, time
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

ap = argparse.ArgumentParser()
ap.add_argument("folder")
ap.add_argument("--l2", type=float, required=True)
ap.add_argument("--repeats", type=int, default=3)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--tolerance", type=float, default=2e-5, help="largest entry of the gradient at which the solver stops")
a = ap.parse_args()
x, y = np.load(f"{a.folder}/x.npy"), np.load(f"{a.folder}/y.npy")


def fit():
    z = StandardScaler().fit_transform(x)
    # scikit-learn minimizes C · (summed loss) + |weights|^2 / 2.
    return z, LogisticRegression(C=1 / (a.l2 * len(y)), tol=a.tolerance, max_iter=10_000).fit(z, y)


tried = {}
for threads in sorted({1, a.threads}):
    with threadpool_limits(threads):
        tried[threads] = []
        for _ in range(a.repeats):
            begin = time.perf_counter()
            z, probe = fit()
            tried[threads].append(time.perf_counter() - begin)
threads, times = min(tried.items(), key=lambda t: statistics.median(t[1]))

scores = probe.decision_function(z.astype(np.float64))
if scores.ndim == 1:
    raise SystemExit("two classes are a different problem: give three or more")
top = scores.max(1, keepdims=True)
losses = np.log(np.exp(scores - top).sum(1)) + top[:, 0] - scores[np.arange(len(y)), np.searchsorted(probe.classes_, y)]
objective = losses.mean() + a.l2 / 2 * (probe.coef_.astype(np.float64) ** 2).sum()
print(json.dumps(dict(version=sklearn.__version__, threads=threads, times=times, objective=float(objective), iterations=int(probe.n_iter_.max()),
                      peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)))
