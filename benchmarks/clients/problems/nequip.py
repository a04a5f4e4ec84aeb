"""nequip: the GNN of the paper with its default features, parity on, so that odd paths occur."""

from __future__ import annotations

import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel, modify
from nequip.utils.global_state import set_global_state

from benchmarks.clients.problems import Problem, crystal

NAMES = ["Cl", "K", "Na"]
SIZES = {"small": (1, 4, 8, 2), "full": (2, 4, 32, 2)}  # repeats of the cell, layers, channels, lmax


def inputs_of(repeat: int) -> dict:
    """The structure as nequip wants it."""
    item = from_ase(crystal(repeat))
    for transform in (ChemicalSpeciesToAtomTypeMapper(NAMES), NeighborListTransform(r_max=5.0)):
        item = transform(item)
    return AtomicDataDict.batched_from_list([item])


def build(inputs: dict, layers: int, channels: int, lmax: int, dtype: torch.dtype, seed: int):
    """The model."""
    nodes, edges = inputs[AtomicDataDict.POSITIONS_KEY].shape[0], inputs[AtomicDataDict.EDGE_INDEX_KEY].shape[1]
    return NequIPGNNModel(
        seed=seed, model_dtype=str(dtype).removeprefix("torch."), r_max=5.0, type_names=NAMES, num_layers=layers, l_max=lmax,
        parity=True, num_features=channels, radial_mlp_depth=2, radial_mlp_width=64, avg_num_neighbors=edges / nodes,
        per_type_energy_scales=1.0, per_type_energy_shifts=dict.fromkeys(NAMES, 0.0),
    )  # fmt: skip


def problem(size: str, dtype: torch.dtype, seed: int, fused: bool = False) -> Problem:
    """The problem of a size; ``fused`` with the modifier that asks for OpenEquivariance's convolutions."""
    set_global_state()
    repeat, layers, channels, lmax = SIZES[size]
    inputs = inputs_of(repeat)
    model = build(inputs, layers, channels, lmax, dtype, seed)
    return of_model(modify(model, [{"modifier": "enable_OpenEquivariance"}]) if fused else model, inputs)


def of_model(model, inputs: dict) -> Problem:
    """What a model says about the inputs, and its step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    nodes, edges = inputs[AtomicDataDict.POSITIONS_KEY].shape[0], inputs[AtomicDataDict.EDGE_INDEX_KEY].shape[1]

    def run() -> dict:
        return model({key: value.clone() if torch.is_tensor(value) else value for key, value in inputs.items()})

    def evaluate() -> dict:
        model.eval()
        out = run()
        keys = {
            "energy": AtomicDataDict.TOTAL_ENERGY_KEY,
            "forces": AtomicDataDict.FORCE_KEY,
            "stress": AtomicDataDict.STRESS_KEY,
        }
        return {name: out[key].detach().numpy() for name, key in keys.items()}

    def step() -> None:
        model.train()
        out = run()
        loss = (out[AtomicDataDict.FORCE_KEY] - 0.1).square().mean() + (out[AtomicDataDict.TOTAL_ENERGY_KEY] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Problem(model, evaluate, step, {"nodes": nodes, "edges": edges})
