"""sevenn: SevenNet with parity."""

from __future__ import annotations

import copy

import sevenn._keys as KEY
import torch
from sevenn._const import DEFAULT_DATA_CONFIG, DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
from sevenn.atom_graph_data import AtomGraphData
from sevenn.model_build import build_E3_equivariant_model
from sevenn.nn.node_embedding import OnehotEmbedding
from sevenn.train.dataload import unlabeled_atoms_to_graph
from sevenn.util import chemical_species_preprocess

from benchmarks.clients.problems import Problem, crystal

SIZES = {"small": (1, 8, 2, 2), "full": (2, 32, 3, 2)}  # repeats of the cell, channels, layers, lmax


def problem(size: str, dtype: torch.dtype, seed: int) -> Problem:
    """The problem of a size."""
    repeat, channels, layers, lmax = SIZES[size]
    torch.set_default_dtype(dtype)
    torch.manual_seed(seed)
    graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(crystal(repeat), 5.0))
    config = copy.deepcopy(DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG) | copy.deepcopy(DEFAULT_DATA_CONFIG)
    config |= {
        "cutoff": 5.0, "channel": channels, "lmax": lmax, "is_parity": True, "num_convolution_layer": layers,
        "shift": 0.0, "scale": 1.0, "conv_denominator": 25.0, KEY.TRAIN_SHIFT_SCALE: False,
        **chemical_species_preprocess(["Na", "Cl", "K"]),
    }  # fmt: skip
    model = build_E3_equivariant_model(config)
    model.set_is_batch_data(False)

    def cast(layer, _, data):  # sevenn's one-hot types are float32 whatever the model is
        for key in (layer.key_output, layer.key_additional_output):
            if key is not None:
                data[key] = data[key].to(dtype)
        return data

    for layer in model.modules():
        if isinstance(layer, OnehotEmbedding):
            layer.register_forward_hook(cast)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run(training: bool) -> dict:
        model.train(training)
        data = graph.clone()
        for key, value in data.to_dict().items():
            if torch.is_tensor(value) and value.is_floating_point():
                data[key] = value.to(dtype)
        return model(data)

    def evaluate() -> dict:
        out = run(training=False)
        keys = {"energy": KEY.PRED_TOTAL_ENERGY, "forces": KEY.PRED_FORCE, "stress": KEY.PRED_STRESS}
        return {name: out[key].detach().numpy() for name, key in keys.items()}

    def step() -> None:
        out = run(training=True)
        loss = (out[KEY.PRED_FORCE] - 0.1).square().mean() + (out[KEY.PRED_TOTAL_ENERGY] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Problem(model, evaluate, step, {"nodes": repeat**3 * 8, "edges": graph[KEY.EDGE_IDX].shape[1]})
