#!/usr/bin/env python3
"""Test vectors of the local losses, by PyTorch's autograd in double precision.

    python parity/losses_torch.py

Writes gim-core/tests/fixtures/losses.safetensors. Needs torch, safetensors and numpy. The formulas are
written from the papers and the published code, named at each; nothing of gim is used.

    views (2n, C)           n rows of the first view, then n of the second
    NAME.loss, NAME.grad    VICReg, Barlow Twins, NT-Xent and LPL on `views`
    z (N, T, C), w (K C, C) features of sequences and a predictor, for CLAPP and the estimators
    negatives (K, rows)     position numbers of the negatives, (item · T + t), rows by t, then by item
    NAME.loss, .dz, .dw     CLAPP for negatives of the item `shift` further; JSD, DV, NWJ, InfoNCE
    v (K C, C)              weights of the retrodiction, for CLAPP with two weights
    clapp_UPDATE            CLAPP with `.detach()` where the update stops the gradient; .dv for two weights
    short (N, 3, C)         sequences for PCL, with pairs at distance 1, rows by t, then by item
    others (2 N)            time t* of each pair of PCL
    segments.*, pcl.*, autoencoder.*    parameters P, and .loss, .dz, .dP for each
    input, input_long       inputs (N, X, 2) whose X = 11 and 15 rows T blocks of 2 rows do not fill
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

# What follows was added later; its draws come after those above, which keep their values.


def new(*shape, scale=0.5):
    return (scale * torch.randn(*shape)).float().double().requires_grad_()


def lpl(before, z):
    """Halvagal & Zenke 2023, Methods: 1/2 MSE with a stopped gradient, and the Hebbian and decorrelation terms
    of fmi-basel/latent-predictive-learning (hebbian_loss, decorr_loss), lambda 1 and 10."""
    centered = z - z.mean(0).detach()
    variance = (centered**2).sum(0) / (len(z) - 1)
    cov = (centered.T @ centered).fill_diagonal_(0) / (len(z) - 1)
    decorrelation = (cov**2).sum() / (cov.shape[0] ** 2 - cov.shape[0])
    return 0.5 * F.mse_loss(z, before.detach()) - torch.log(variance + 1e-4).mean() + 10 * decorrelation


value = lpl(views[:n], views[n:])
(grad,) = torch.autograd.grad(value, views)
keep("lpl", loss=value, grad=grad)

v = new(K * C, C, scale=0.4)


def clapp_update(update):
    """Illing 2021 and its code: --asymmetric_W_pred, --detach_c, and the rule without its prediction."""
    total = 0
    for k in range(1, K + 1):
        rows = lambda x: x.transpose(0, 1).reshape(-1, C)
        c, w_k, v_k = rows(z[:, : T - k]), w[(k - 1) * C : k * C], v[(k - 1) * C : k * C]
        for y, target in ((1, rows(z[:, k:])), (-1, rows(z.roll(-SHIFT, 0)[:, k:]))):
            if update == "two-weights":
                scores = [(target.detach() * (c @ w_k.T)).sum(1), (target * (c.detach() @ v_k.T)).sum(1)]
            elif update == "target":
                scores = [(target * (c.detach() @ w_k.T)).sum(1)]
            else:
                # Prediction and retrodiction replaced by ones: derivative 1 by every activation.
                moved = (target - target.detach()).sum(1) + (c - c.detach()).sum(1)
                scores = [(target.detach() * (c.detach() @ w_k.T)).sum(1) + moved]
            total = total + sum(F.relu(1 - y * u).mean() for u in scores) / (2 * K)
    return total


for update in ("two-weights", "target", "scalar"):
    value = clapp_update(update)
    dz, dw, dv = torch.autograd.grad(value, (z, w, v), allow_unused=True)
    keep(f"clapp_{update}", loss=value, dz=dz, dw=dw, **({} if dv is None else {"dv": dv}))


def parameters(name, value, features, **params):
    grads = torch.autograd.grad(value, (features, *params.values()))
    keep(name, loss=value, dz=grads[0])
    keep(name, **params)
    keep(name, **{f"d{key}": grad for key, grad in zip(params, grads[1:])})


# Hyvarinen & Morioka 2016: multinomial logistic regression of the segment, 3 segments of T = 6.
S = 3
weight, bias = new(S, C), new(S)
logits = (z @ weight.T + bias).reshape(-1, S)
parameters("segments", F.cross_entropy(logits, (torch.arange(T) * S // T).repeat(N)), z, weight=weight, bias=bias)

# Hyvarinen & Morioka 2017 and its code: batch normalization, then r, then logistic regression.
short = new(N, 3, C, scale=1.0)
others = torch.randint(0, 3, (2 * N,))
pair, alone, offset = new(3, C), new(2, C), new(1)
now, then = (short[:, t : t + 2].transpose(0, 1).reshape(-1, C) for t in (1, 0))
other = short[torch.arange(N).repeat(2), others]
h = F.batch_norm(torch.cat([now, then, other]), None, None, training=True, eps=1e-5)
h, h_then, h_other = h.chunk(3)
r = lambda a, b: ((alone[0] * a + alone[1]) ** 2 - (pair[0] * a + pair[1] * b + pair[2]).abs()).sum(1) + offset
odds = torch.cat([r(h, h_then), r(h, h_other)])
classes = torch.cat([torch.ones(2 * N), torch.zeros(2 * N)])
value = F.binary_cross_entropy_with_logits(odds, classes)
parameters("pcl", value, short, pair=pair, alone=alone, offset=offset)

# Bengio 2007: a linear decoder of each position's block, squared error over the values of all blocks.
weight, bias = new(2 * 2, C), new(2 * 2)
for name, rows in (("input", 11), ("input_long", 15)):
    x = new(N, rows, 2).detach()
    first = (rows - 2 * T) // 2
    decoded = (z @ weight.T + bias).reshape(N, 2 * T, 2)
    inside = [t for t in range(2 * T) if 0 <= first + t < rows]
    value = F.mse_loss(decoded[:, inside], x[:, [first + t for t in inside]])
    parameters(f"autoencoder.{name}", value, z, weight=weight, bias=bias)
    out[name] = x

out |= {"v": v.detach(), "short": short.detach()}
out |= {"views": views.detach(), "z": z.detach(), "w": w.detach()}
tensors = {name: np.ascontiguousarray(t.numpy().astype(np.float32)) for name, t in out.items()}
for k, neg in enumerate(negatives, 1):
    tensors[f"negatives.{k}"] = neg.numpy().reshape(-1)
tensors["others"] = others.numpy()
meta = dict(n=n, C=C, N=N, T=T, K=K, negatives=NEG, shift=SHIFT, torch=torch.__version__)
folder = pathlib.Path(__file__).parent.parent / "gim-core/tests/fixtures"
save_file(tensors, folder / "losses.safetensors", metadata={"gim": json.dumps(meta)})
