"""The worker of benchmarks/roofline.py."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.interleave import serve

a, b, c = (torch.ones(16 << 20) for _ in range(3))
n = 1536
x = torch.randn(n, n)
y = x.double()
serve(
    {
        "triad": lambda: torch.add(b, c, alpha=2.0, out=a),
        "float32": lambda: x @ x,
        "float64": lambda: y @ y,
    },
    {"triad_bytes": 3 * a.numel() * 4, "operations": 2 * n**3},
)
