#!/usr/bin/env python3
"""A linear classifier in PyTorch on a module: python parity/read_torch.py features.h5 module_3 class"""
import sys
import h5py, torch

with h5py.File(sys.argv[1]) as f:
    x, y = torch.from_numpy(f[f"{sys.argv[2]}/features"][:]), torch.from_numpy(f[f"labels/{sys.argv[3]}"][:]).long()
    test = torch.from_numpy(f["splits/test"][:] == 1)
    if len(test) != len(x):  # the part of each row, from the part of its item
        test = test.repeat_interleave(torch.from_numpy(f["index"][:, 1].astype("i8")))
x, y, test = x[y >= 0], y[y >= 0], test[y >= 0]
x = (x - x[~test].mean(0)) / (x[~test].std(0) + 1e-6)
probe = torch.nn.Linear(x.shape[1], int(y.max()) + 1)
optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=200)
def loss():
    optimizer.zero_grad()
    value = torch.nn.functional.cross_entropy(probe(x[~test]), y[~test])
    value.backward()
    return value
optimizer.step(loss)
print(f"{(probe(x[test]).argmax(1) == y[test]).float().mean():.4f}")
