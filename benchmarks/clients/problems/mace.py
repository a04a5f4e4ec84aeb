"""mace-torch: ScaleShiftMACE in the shape of the published models."""

from __future__ import annotations

import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.modules.wrapper_ops import OEQConfig
from mace.tools import torch_geometric

from benchmarks.clients.problems import Problem, crystal

NUMBERS = [11, 17, 19]
ORGANIC, ALL = [1, 6, 7, 8, 9, 11, 17, 19, 35, 53], list(range(1, 90))
SIZES = {  # repeats of the cell, irreps, cutoff, radial functions, elements; then those of MACE-OFF23 and MACE-MP-0 small
    "small": (1, "8x0e+8x1o+8x2e", 5.0, 8, NUMBERS),
    "full": (2, "64x0e+64x1o", 5.0, 8, NUMBERS),
    "off23": (1, "96x0e", 4.5, 8, ORGANIC),
    "mp0": (1, "128x0e", 6.0, 10, ALL),
    "off23-64": (2, "96x0e", 4.5, 8, ORGANIC),
    "mp0-64": (2, "128x0e", 6.0, 10, ALL),
}


def problem(size: str, dtype: torch.dtype, seed: int, fused: bool = False) -> Problem:
    """The problem of a size; ``fused`` with OpenEquivariance's convolutions."""
    repeat, hidden, cutoff, radial, elements = SIZES[size]
    torch.set_default_dtype(dtype)
    inputs = inputs_of(repeat, cutoff, elements)
    torch.manual_seed(seed)
    model = modules.ScaleShiftMACE(
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.1,
        r_max=cutoff,
        num_bessel=radial,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=-np.arange(1.0, 1.0 + len(elements)),
        avg_num_neighbors=inputs["edge_index"].shape[1] / inputs["positions"].shape[0],
        atomic_numbers=elements,
        correlation=3,
        radial_type="bessel",
        oeq_config=OEQConfig(enabled=True, optimize_all=True, conv_fusion="atomic") if fused else None,
    )
    return of_model(model, inputs)


def inputs_of(repeat: int, cutoff: float = 5.0, elements: list[int] = NUMBERS) -> dict:
    """The structure as mace wants it."""
    table = tools.AtomicNumberTable(elements)
    configuration = data.config_from_atoms(crystal(repeat))
    item = data.AtomicData.from_config(configuration, z_table=table, cutoff=cutoff)
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
