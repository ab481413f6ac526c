"""Golden values of tests/it/mfcc.rs, computed the long way with numpy: python tests/mfcc_golden.py

The signal is in integers, so that both sides start from the same bits.
"""
import numpy as np

n = 1400
i = np.arange(n, dtype=np.int64)
x = ((i * i * 7919 + i * 104729) % 65536 - 32768) / 65536.0 * (1 + (i // 300) % 3) / 3


def mfcc(x, window, bands=40, low=20.0, high=8000.0, n_coef=13, lifter=0.0):
    frames = []
    for t in range((len(x) - 400) // 160 + 1):
        f = x[160 * t:160 * t + 400].copy()
        f[1:] -= 0.97 * x[160 * t:160 * t + 399]
        f[0] *= 1 - 0.97
        f *= window
        # The definition of the transform, not an FFT.
        k = np.arange(257)[:, None]
        z = (f[None] * np.exp(-2j * np.pi * k * np.arange(400)[None] / 512)).sum(1)
        p = np.abs(z) ** 2
        mel = lambda hz: 2595 * np.log10(1 + hz / 700.0)
        edges = np.linspace(mel(low), mel(high), bands + 2)
        m = mel(np.arange(257) * 16000 / 512)
        e = []
        for b in range(bands):
            l, c, r = edges[b:b + 3]
            w = np.where(m <= c, (m - l) / (c - l), (r - m) / (r - c)).clip(0)
            e.append(np.log(max((w * p).sum(), 1e-10)))
        e = np.array(e)
        c = [np.sqrt((1 if q == 0 else 2) / bands) * (e * np.cos(np.pi * q * (np.arange(bands) + .5) / bands)).sum()
             for q in range(n_coef)]
        if lifter:
            c = [v * (1 + lifter / 2 * np.sin(np.pi * q / lifter)) for q, v in enumerate(c)]
        frames.append(c)
    return np.array(frames)


def delta(c):
    p = np.pad(c, ((2, 2), (0, 0)), mode="edge")
    n = len(c)
    return (p[3:3 + n] - p[1:1 + n] + 2 * (p[4:4 + n] - p[0:n])) / 10


hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
povey = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
c = mfcc(x, hamming)
full = np.hstack([c, delta(c), delta(delta(c))])
print("frames", full.shape)
for t in (0, 3, 6):
    print(f"({t}, &[" + ", ".join(f"{v:.6}" for v in full[t]) + "]),")
print("povey 26 bands, lifter 22:")
print("[" + ", ".join(f"{v:.6}" for v in mfcc(x, povey, bands=26, lifter=22.0)[4]) + "]")
