"""What the encoders need of a file that `gim export RUN --to torch` wrote: weights by their published
names, and `gim.json` with standardization, strides and patches."""
import json, zipfile
import torch

def read(path):
    facts = json.loads(zipfile.ZipFile(path).read("archive/gim.json"))
    weights = torch.load(path, weights_only=True)
    return {name.removeprefix("module."): w for name, w in weights.items()}, facts

def numbered(w, prefix):
    numbers = {int(k[len(prefix):].split(".")[0]) for k in w if k.startswith(prefix)}
    return [f"{prefix}{n}" for n in sorted(numbers)]

def conv(w, name, make, stride, padding):
    weight, bias = w[name + ".weight"], w[name + ".bias"]
    layer = make(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, padding)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
