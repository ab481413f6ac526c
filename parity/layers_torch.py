#!/usr/bin/env python3
"""Test vectors of pooling and normalization, by PyTorch's autograd in double precision.

    python parity/layers_torch.py

Writes gim-vision/tests/fixtures/layers.safetensors. Needs torch, safetensors and numpy. Nothing of gim is used.

    in.x (N, C, H, W), in.weight (C), in.bias (C)    input; scale and shift of normalizations
    NAME.y, NAME.r                                   output; the loss is the sum of r y
    NAME.dx, NAME.dweight, NAME.dbias                gradients
    block.y, .r, .dx; block.M.weight, .dM.weight     a residual block with group normalization, M = norm1, conv1, ...
    vgg.N.weight, .bias; vgg.y, .r, .dx, .dN.weight  two layers with ReLU, the second with max pooling
"""
import json, pathlib
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.numpy import save_file

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
N, C, H, W, GROUPS = 3, 6, 7, 5, 3
exact = lambda *shape: torch.randn(*shape).float().double()
x = exact(N, C, H, W).requires_grad_()
weight, bias = (exact(C).requires_grad_() for _ in range(2))
out = {"in.x": x, "in.weight": weight, "in.bias": bias}


def layer_norm(x):
    """Over the channels of each position, as in ConvNeXt (Liu et al. 2022), with PyTorch's epsilon."""
    return F.layer_norm(x.permute(0, 2, 3, 1), (C,), weight, bias).permute(0, 3, 1, 2)


layers = {
    "max": lambda x: F.max_pool2d(x, 2),
    "average": lambda x: F.avg_pool2d(x, 2),
    "group": lambda x: F.group_norm(x, GROUPS, weight, bias),
    "layer": layer_norm,
    "map2": lambda x: F.adaptive_avg_pool2d(x, 2),
    "map3": lambda x: F.adaptive_avg_pool2d(x, 3),
    "map4": lambda x: F.adaptive_avg_pool2d(x, 4),
}
for name, layer in layers.items():
    y = layer(x)
    r = exact(*y.shape)
    params = [x] + ([weight, bias] if name in ("group", "layer") else [])
    grads = torch.autograd.grad((r * y).sum(), params)
    out[f"{name}.y"], out[f"{name}.r"] = y, r
    for key, grad in zip(("dx", "dweight", "dbias"), grads):
        out[f"{name}.{key}"] = grad

vgg = nn.Sequential(nn.Conv2d(C, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
for p in vgg.parameters():
    p.data = p.data.float().double()
y = vgg(x)
r = exact(*y.shape)
names = [f"{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")]
params = [p for n in (0, 2) for p in (vgg[n].weight, vgg[n].bias)]
grads = torch.autograd.grad((r * y).sum(), [x, *params])
out |= {"vgg.y": y, "vgg.r": r, "vgg.dx": grads[0]}
for name, p, grad in zip(names, params, grads[1:]):
    out[f"vgg.{name}"], out[f"vgg.d{name}"] = p, grad




class Block(nn.Module):
    """A pre-activation block (He et al. 2016): a stride and more channels, so the shortcut is a convolution."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(2, C), nn.GroupNorm(2, 8)
        self.conv1 = nn.Conv2d(C, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Conv2d(C, 8, 1, stride=2)

    def forward(self, x):
        a = F.relu(self.norm1(x))
        return self.conv2(F.relu(self.norm2(self.conv1(a)))) + self.shortcut(a)


block = Block()
for name, p in block.named_parameters():
    p.data = (exact(*p.shape) if name.startswith("norm") else p.data.float().double())
y = block(x)
r = exact(*y.shape)
grads = torch.autograd.grad((r * y).sum(), [x, *block.parameters()])
out |= {"block.y": y, "block.r": r, "block.dx": grads[0]}
for (name, p), grad in zip(block.named_parameters(), grads[1:]):
    out[f"block.{name}"], out[f"block.d{name}"] = p, grad

path = pathlib.Path(__file__).parent.parent / "gim-vision/tests/fixtures/layers.safetensors"
arrays = {k: v.detach().float().contiguous().numpy() for k, v in out.items()}
save_file(arrays, path, metadata={"gim": json.dumps({"groups": GROUPS, "torch": torch.__version__})})
