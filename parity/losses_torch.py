#!/usr/bin/env python3
"""Test vectors of the local losses, by PyTorch's autograd in double precision.

    python parity/losses_torch.py

Writes gim-core/tests/fixtures/losses.safetensors. Needs torch, safetensors and numpy. The formulas are
written from the papers and the published code, named at each; nothing of gim is used.

    views (2n, C)           n rows of the first view, then n of the second
    NAME.loss, NAME.grad    VICReg, Barlow Twins and NT-Xent on `views`
    z (N, T, C), w (K C, C) features of sequences and a predictor, for CLAPP and the estimators
    negatives (K, rows)     position numbers of the negatives, (item · T + t), rows by t, then by item
    NAME.loss, .dz, .dw     CLAPP for negatives of the item `shift` further; JSD, DV, NWJ, InfoNCE
"""
import json, pathlib
import numpy as np, torch
import torch.nn.functional as F
from safetensors.numpy import save_file

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)
n, C = 9, 5
N, T, K, NEG, SHIFT = 3, 6, 2, 4, 1
out = {}


def keep(name, **values):
    for key, value in values.items():
        out[f"{name}.{key}"] = value.detach().reshape(-1 if value.dim() == 0 else value.shape)


def off_diagonal(x):
    return x - torch.diag(torch.diag(x))


def vicreg(a, b):
    """facebookresearch/vicreg, main_vicreg.py: 25 · MSE + 25 · hinge on std + 1 · off-diagonal covariance."""
    invariance = F.mse_loss(a, b)
    std = lambda z: torch.mean(F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4))) / 2
    cov = lambda z: off_diagonal(torch.cov(z.T)).pow(2).sum() / z.shape[1]
    return 25 * invariance + 25 * (std(a) + std(b)) + cov(a) + cov(b)


def barlow_twins(a, b):
    """facebookresearch/barlowtwins, main.py: BatchNorm without affine, lambda 0.0051."""
    norm = torch.nn.BatchNorm1d(a.shape[1], affine=False)
    c = norm(a).T @ norm(b) / len(a)
    return (torch.diag(c) - 1).pow(2).sum() + 0.0051 * off_diagonal(c).pow(2).sum()


def nt_xent(a, b):
    """Chen 2020, eq. 1, temperature 0.5: cross-entropy over all other rows."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    s = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
    return F.cross_entropy(s, torch.arange(2 * len(a)).roll(len(a)))


views = (0.7 * torch.randn(2 * n, C)).float().double().requires_grad_()
for loss in (vicreg, barlow_twins, nt_xent):
    value = loss(views[:n], views[n:])
    (grad,) = torch.autograd.grad(value, views)
    keep(loss.__name__, loss=value, grad=grad)

z = torch.randn(N, T, C).float().double().requires_grad_()
w = (0.4 * torch.randn(K * C, C)).float().double().requires_grad_()
rows = [(T - k) * N for k in range(1, K + 1)]
negatives = [torch.randint(0, N * T, (r, NEG)) for r in rows]


def pairs(k):
    """Predictions (rows, C) and targets (rows, C) of distance k, rows by t, then by item."""
    predictor = w[(k - 1) * C : k * C]
    q = (z[:, : T - k] @ predictor.T).transpose(0, 1).reshape(-1, C)
    return q, z[:, k:].transpose(0, 1).reshape(-1, C)


def clapp():
    """Illing 2021, eq. 2: max(0, 1 - y z^T W c), y = +1 for the same sequence, -1 for another."""
    total = 0
    for k in range(1, K + 1):
        q, positive = pairs(k)
        negative = z.roll(-SHIFT, 0)[:, k:].transpose(0, 1).reshape(-1, C)
        for y, target in ((1, positive), (-1, negative)):
            total = total + F.relu(1 - y * (q * target).sum(1)).mean() / (2 * K)
    return total


def estimator(name):
    """Hjelm 2019, section 3.1 and its code, DIM: positives are samples of the joint, negatives of the product."""
    total = 0
    for k in range(1, K + 1):
        q, positive = pairs(k)
        p = (q * positive).sum(1)
        s = (q[:, None] * z.reshape(-1, C)[negatives[k - 1]]).sum(2)
        if name == "jsd":
            value = F.softplus(-p).mean() + F.softplus(s).mean()
        elif name == "dv":
            value = -p.mean() + torch.logsumexp(s.reshape(-1), 0) - np.log(s.numel())
        elif name == "nwj":
            value = -p.mean() + torch.exp(s - 1).mean()
        else:
            value = F.cross_entropy(torch.cat([p[:, None], s], 1), torch.zeros(len(p), dtype=torch.long))
        total = total + value / K
    return total


cases = {"clapp": clapp(), **{name: estimator(name) for name in ("infonce", "jsd", "dv", "nwj")}}
for name, value in cases.items():
    dz, dw = torch.autograd.grad(value, (z, w), retain_graph=True)
    keep(name, loss=value, dz=dz, dw=dw)

out |= {"views": views.detach(), "z": z.detach(), "w": w.detach()}
tensors = {name: np.ascontiguousarray(t.numpy().astype(np.float32)) for name, t in out.items()}
for k, neg in enumerate(negatives, 1):
    tensors[f"negatives.{k}"] = neg.numpy().reshape(-1)
meta = dict(n=n, C=C, N=N, T=T, K=K, negatives=NEG, shift=SHIFT, torch=torch.__version__)
folder = pathlib.Path(__file__).parent.parent / "gim-core/tests/fixtures"
save_file(tensors, folder / "losses.safetensors", metadata={"gim": json.dumps(meta)})
