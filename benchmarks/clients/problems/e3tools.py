"""e3tools: two transformer blocks and a scalar readout; forces by autograd, stress by a strain of the edges."""

from __future__ import annotations

import itertools

import e3nn.o3
import torch
from e3tools.nn import Linear, TransformerBlock

from benchmarks.clients.problems import Problem, crystal

SIZES = {"small": (1, "8x0e+8x1o"), "full": (2, "32x0e+32x1o+16x2e")}  # repeats of the cell, irreps


class Model(torch.nn.Module):
    """Types and edge vectors to an energy."""

    def __init__(self, irreps: str) -> None:
        super().__init__()
        harmonics = e3nn.o3.Irreps("1x0e+1x1o+1x2e")
        self.embedding = torch.nn.Parameter(torch.randn(3, 8))
        self.harmonics = e3nn.o3.SphericalHarmonics(harmonics, normalize=True, normalization="component")
        ends = [e3nn.o3.Irreps(i) for i in ("8x0e", irreps, irreps)]
        self.blocks = torch.nn.ModuleList(
            TransformerBlock(a, b, harmonics, edge_attr_dim=8, num_heads=4) for a, b in itertools.pairwise(ends)
        )
        self.readout = Linear(ends[-1], e3nn.o3.Irreps("1x0e"))

    def forward(self, types: torch.Tensor, vectors: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        lengths = vectors.norm(dim=-1)
        radial = torch.cos(lengths[:, None] * torch.arange(1, 9, dtype=vectors.dtype)) * (1 - lengths[:, None] / 5) ** 2
        x = self.embedding[types]
        for block in self.blocks:
            x = block(x, edges, radial, self.harmonics(vectors))
        return self.readout(x).sum()


def problem(size: str, dtype: torch.dtype, seed: int) -> Problem:
    """The problem of a size."""
    from ase.neighborlist import neighbor_list

    torch.set_default_dtype(dtype)
    repeat, irreps = SIZES[size]
    atoms = crystal(repeat)
    i, j, shift = neighbor_list("ijS", atoms, 5.0)
    edges, shifts = torch.tensor([j, i]), torch.tensor(shift @ atoms.cell.array, dtype=dtype)
    positions = torch.tensor(atoms.positions, dtype=dtype)
    types = torch.tensor([{11: 0, 17: 1, 19: 2}[int(z)] for z in atoms.numbers])
    torch.manual_seed(seed)
    model = Model(irreps)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run(training: bool) -> tuple[torch.Tensor, ...]:
        r, strain = positions.clone().requires_grad_(), torch.zeros(3, 3, dtype=dtype, requires_grad=True)
        vectors = (r[edges[0]] + shifts - r[edges[1]]) @ (torch.eye(3, dtype=dtype) + strain)
        energy = model(types, vectors, edges)
        gradient, virial = torch.autograd.grad(energy, (r, strain), create_graph=training)
        return energy, -gradient, virial / atoms.get_volume()

    def evaluate() -> dict:
        model.eval()
        return {name: value.detach().numpy() for name, value in zip(("energy", "forces", "stress"), run(False), strict=True)}

    def step() -> None:
        model.train()
        energy, forces, _ = run(training=True)
        optimizer.zero_grad()
        ((forces - 0.1).square().mean() + (energy - 1).square()).backward()
        optimizer.step()

    return Problem(model, evaluate, step, {"nodes": len(atoms), "edges": edges.shape[1]})
