#!/usr/bin/env python3
"""Accuracies in %, module by task, mean over runs: python parity/read_pandas.py RUN..."""
import pathlib, sys
import pandas as pd

runs = [pathlib.Path(run) for run in sys.argv[1:]]
rows = pd.concat([pd.read_csv(run / "probe.csv").assign(run=run.name) for run in runs])
rows = rows[rows["group"] == "trained"]
table = rows.pivot_table(index="module", columns=["task", "protocol"], values="accuracy", aggfunc="mean")
print((100 * table).round(1).to_string())
curves = pd.concat([pd.read_csv(run / "train.csv").assign(run=run.name) for run in runs])
print(curves.groupby(["run", "module"])["loss"].last().round(3).to_string())
