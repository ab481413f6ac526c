"""The encoders of Greedy InfoMax in PyTorch, from a file that `gim export RUN --to torch` wrote.
load("a.ckpt")(x) gives a list of features by module; standardization is inside.
x: speech (batch, samples), 16 kHz, -1 to 1 -> (batch, frames, channels) each; or images
(batch, channels, side, side), 0 to 1 -> (batch, rows, columns, channels) each: means of patches."""
import torch
from torch import nn
from exported_weights import conv, numbered, read

def load(path):
    weights, facts = read(path)
    return (Images if "patches" in facts else Speech)(weights, facts)

class Speech(nn.Module):
    def __init__(self, w, facts):
        super().__init__()
        (self.mean,), (self.std,), self.encoders, self.contexts = facts["mean"], facts["std"], nn.ModuleList(), nn.ModuleDict()
        steps = zip(facts["strides"], facts["paddings"])
        for m, module in enumerate(numbered(w, "fullmodel.")):
            convs = [conv(w, n + ".0", nn.Conv1d, *next(steps)) for n in numbered(w, module + ".encoder.model.layer ")]
            self.encoders.append(nn.Sequential(*(layer for c in convs for layer in (c, nn.ReLU()))))
            gru = {k.split(".")[-1].removesuffix("_l0") + "_l0": w[k] for k in w if k.startswith(module + ".autoregressor.")}
            if gru:
                self.contexts[str(m)] = nn.GRU(gru["weight_ih_l0"].shape[1], gru["weight_hh_l0"].shape[1], batch_first=True)
                self.contexts[str(m)].load_state_dict(gru)
    def forward(self, waveform):
        x, out = ((waveform - self.mean) / self.std)[:, None], []
        for m, encoder in enumerate(self.encoders):
            x = encoder(x)
            out.append(self.contexts[str(m)](x.mT)[0] if str(m) in self.contexts else x.mT)
        return out

class Block(nn.Module):
    def __init__(self, w, name):
        super().__init__()
        has_shortcut, is_bottleneck = f"{name}.shortcut.0.weight" in w, f"{name}.conv3.weight" in w
        stride = 2 if has_shortcut and name != "encoder.0.model.layer 0.0" else 1
        shapes = [(1, 0), (stride, 1), (1, 0)] if is_bottleneck else [(stride, 1), (1, 1)]
        self.convs = nn.ModuleList(conv(w, f"{name}.conv{i + 1}", nn.Conv2d, *s) for i, s in enumerate(shapes))
        self.shortcut = conv(w, f"{name}.shortcut.0", nn.Conv2d, stride, 0) if has_shortcut else None
    def forward(self, x):
        kept, y = (x if self.shortcut is None else self.shortcut(x.relu())), x
        for layer in self.convs: y = layer(y.relu())
        return y + kept

class Images(nn.Module):
    def __init__(self, w, facts):
        super().__init__()
        self.mean, self.std = (torch.tensor(facts[k])[:, None, None] for k in ("mean", "std"))
        (self.patch, self.overlap), stem = facts["patches"], "encoder.0.model.Conv1"
        blocks = lambda m: [Block(w, b) for s in numbered(w, m + ".model.layer ") for b in numbered(w, s + ".")]
        self.stages = nn.ModuleList(nn.Sequential(*blocks(m)) for m in numbered(w, "encoder."))
        self.stages[0].insert(0, conv(w, stem, nn.Conv2d, 1, w[stem + ".weight"].shape[2] // 2))
    def forward(self, image):
        x, cut, out = (image - self.mean) / self.std, (self.patch, self.patch - self.overlap), []
        x = x.unfold(2, *cut).unfold(3, *cut).permute(0, 2, 3, 1, 4, 5)
        grid, x = x.shape[:3], x.flatten(0, 2)
        for stage in self.stages:
            x = stage(x)
            out.append(x.mean((2, 3)).view(*grid, -1))
        return out
