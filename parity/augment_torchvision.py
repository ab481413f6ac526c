#!/usr/bin/env python3
"""Test vectors of image augmentations, by torchvision on tensors in double precision.

    python parity/augment_torchvision.py

Writes gim-vision/tests/fixtures/augment.safetensors. Needs torch, torchvision, safetensors and numpy.
Values are from 0 to 255 and channels are last, as gim has them.

    image (H, W, 3)             random pixels with a gradient
    rectangles (N, 4)           top, left, height and width
    resized.N (SIDE, SIDE, 3)   rectangle N of the image, resized with a triangle filter
    view (SIDE, SIDE, 3)        what the changes below are done to; gray (SIDE, SIDE, 1): its first channel
    NAME.N, gray.NAME.N         brightness, contrast, saturation and hue by factor N of factors.NAME;
                                blur by sigma N of sigmas
    grayscale                   without its colors
"""
import json, pathlib
import numpy as np, torch
import torchvision.transforms.v2.functional as F
from safetensors.numpy import save_file

torch.manual_seed(3)
H, W, SIDE = 24, 31, 12
RECTANGLES = [[2, 3, 12, 12], [0, 0, 24, 31], [5, 7, 9, 6], [1, 4, 23, 11]]
FACTORS = {"brightness": [0.4, 1.7], "contrast": [0.2, 1.8], "saturation": [0.3, 1.6], "hue": [-0.2, 0.13, 0.5]}
SIGMAS = [0.1, 0.7, 2.0]
ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}
ramp = torch.linspace(0, 180, H * W).reshape(H, W, 1) * torch.tensor([1.0, 0.7, 0.4])
image = (ramp + 75 * torch.rand(H, W, 3)).clamp(0, 255).round().to(torch.uint8)
out = {"image": image.numpy()}
first = lambda x: (x.to(torch.float64) / 255).permute(2, 0, 1)
last = lambda x: (255 * x).permute(1, 2, 0).numpy().astype(np.float32)
for n, (top, left, height, width) in enumerate(RECTANGLES):
    out[f"resized.{n}"] = last(F.resized_crop(first(image), top, left, height, width, [SIDE, SIDE], antialias=True))
view = image[2 : 2 + SIDE, 3 : 3 + SIDE]
gray = view[..., :1]
out |= {"view": view.contiguous().numpy(), "gray": gray.contiguous().numpy()}
for prefix, x in (("", first(view)), ("gray.", first(gray))):
    for name, factors in FACTORS.items():
        for n, factor in enumerate(factors):
            out[f"{prefix}{name}.{n}"] = last(ADJUST[name](x, factor))
    for n, sigma in enumerate(SIGMAS):
        out[f"{prefix}blur.{n}"] = last(F.gaussian_blur(x, [3, 3], [sigma, sigma]))
out["grayscale"] = last(F.rgb_to_grayscale(first(view), 3))
out |= {"rectangles": np.array(RECTANGLES), "sigmas": np.array(SIGMAS)}
out |= {f"factors.{name}": np.array(factors) for name, factors in FACTORS.items()}
meta = {"side": SIDE}
path = pathlib.Path(__file__).parent.parent / "gim-vision/tests/fixtures/augment.safetensors"
out = {k: np.ascontiguousarray(v.astype(np.float32)) for k, v in out.items()}
save_file(out, path, metadata={"gim": json.dumps(meta)})
print(f"{path}: {path.stat().st_size} bytes")
