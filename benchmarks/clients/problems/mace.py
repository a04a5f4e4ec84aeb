"""mace-torch: ScaleShiftMACE in the shape of the published models."""

from __future__ import annotations

import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric

from benchmarks.clients.problems import Problem, crystal

NUMBERS = [11, 17, 19]
SIZES = {
    "small": (1, "8x0e+8x1o+8x2e", 3, 3),
    "full": (2, "64x0e+64x1o", 3, 3),
}  # repeats of the cell, irreps, max_ell, correlation


def problem(size: str, dtype: torch.dtype, seed: int) -> Problem:
    """The problem of a size."""
    repeat, hidden, max_ell, correlation = SIZES[size]
    torch.set_default_dtype(dtype)
    inputs = inputs_of(repeat)
    torch.manual_seed(seed)
    model = modules.ScaleShiftMACE(
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.1,
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=max_ell,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(NUMBERS),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.array([-1.0, -2.0, -3.0]),
        avg_num_neighbors=inputs["edge_index"].shape[1] / inputs["positions"].shape[0],
        atomic_numbers=NUMBERS,
        correlation=correlation,
        radial_type="bessel",
    )
    return of_model(model, inputs)


def inputs_of(repeat: int) -> dict:
    """The structure as mace wants it."""
    table = tools.AtomicNumberTable(NUMBERS)
    configuration = data.config_from_atoms(crystal(repeat))
    item = data.AtomicData.from_config(configuration, z_table=table, cutoff=5.0)
    loader = torch_geometric.dataloader.DataLoader(dataset=[item], batch_size=1, shuffle=False, drop_last=False)
    return next(iter(loader)).to_dict()


def of_model(model, inputs: dict) -> Problem:
    """What a model says about the inputs, and its step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run(training: bool) -> dict:
        return model(
            {k: v.clone() if torch.is_tensor(v) else v for k, v in inputs.items()}, training=training, compute_stress=True
        )

    def evaluate() -> dict:
        model.eval()
        out = run(training=False)
        return {name: out[name].detach().numpy() for name in ("energy", "forces", "stress")}

    def step() -> None:
        model.train()
        out = run(training=True)
        loss = (out["forces"] - 0.1).square().mean() + (out["energy"] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    size = {"nodes": inputs["positions"].shape[0], "edges": inputs["edge_index"].shape[1]}
    return Problem(model, evaluate, step, size)
