"""nequip-allegro: Allegro with parity."""

from __future__ import annotations

import torch
from allegro.model import AllegroModel
from nequip.data import AtomicDataDict
from nequip.utils.global_state import set_global_state

from benchmarks.clients.problems import Problem
from benchmarks.clients.problems.nequip import NAMES, inputs_of, of_model

SIZES = {"small": (1, 1, 8, 2), "full": (2, 2, 32, 2)}  # repeats of the cell, layers, channels, lmax


def problem(size: str, dtype: torch.dtype, seed: int) -> Problem:
    """The problem of a size."""
    set_global_state()
    repeat, layers, channels, lmax = SIZES[size]
    inputs = inputs_of(repeat)
    nodes, edges = inputs[AtomicDataDict.POSITIONS_KEY].shape[0], inputs[AtomicDataDict.EDGE_INDEX_KEY].shape[1]
    model = AllegroModel(
        seed=seed, model_dtype=str(dtype).removeprefix("torch."), r_max=5.0, type_names=NAMES, l_max=lmax, parity=True,
        radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
        num_layers=layers, num_scalar_features=32, num_tensor_features=channels, allegro_mlp_hidden_layers_depth=1,
        allegro_mlp_hidden_layers_width=32, readout_mlp_hidden_layers_depth=1, readout_mlp_hidden_layers_width=32,
        avg_num_neighbors=edges / nodes, per_type_energy_scales=1.0, per_type_energy_shifts=dict.fromkeys(NAMES, 0.0),
    )  # fmt: skip
    return of_model(model, inputs)
