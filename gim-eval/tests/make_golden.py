"""Makes golden/*.csv: solutions of scikit-learn's logistic regression for small problems.

    pip install scikit-learn numpy && python make_golden.py

Objective, as in gim-eval: mean cross-entropy + l2/2 * |W|^2, bias not penalised, so C = 1 / (rows * l2).
Features are standardized by the mean and (population) standard deviation of all rows.
"""
import pathlib

import numpy as np
from sklearn.linear_model import LogisticRegression

OUT = pathlib.Path(__file__).parent / "golden"
OUT.mkdir(exist_ok=True)
for name, n, d, classes, l2, noise in [("easy", 120, 6, 3, 1e-2, 0.5), ("hard", 200, 10, 5, 1e-3, 3.0)]:
    rng = np.random.default_rng(len(name) + d)
    centers = rng.normal(size=(classes, d))
    y = np.arange(n) % classes
    # Correlated, shifted, scaled by very different amounts: raw features that need standardizing.
    mix = rng.normal(size=(d, d))
    x = ((centers[y] + noise * rng.normal(size=(n, d))) @ mix) * np.logspace(-2, 2, d) + 5 * np.logspace(-2, 2, d)
    x = np.float32(np.round(x.astype(np.float32), 6))
    z = (x.astype(np.float64) - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64)
    fit = LogisticRegression(C=1 / (n * l2), tol=1e-12, max_iter=100_000, solver="newton-cg").fit(z, y)
    np.savetxt(OUT / f"{name}_x.csv", np.c_[y, x], delimiter=",", fmt=["%d"] + ["%.9g"] * d)
    np.savetxt(OUT / f"{name}_w.csv", np.r_[fit.coef_.T, fit.intercept_[None]], delimiter=",", fmt="%.12g")
    print(name, "accuracy", fit.score(z, y))
