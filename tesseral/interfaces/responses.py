"""Files of models that say how a structure answers to an electric field, and what spectra and phonons take from them.

Two kinds: a :class:`~tesseral.models.tensor.TensorModel`, whose dipole and polarizability are heads, and a
:class:`~tesseral.models.tensor.FieldEnergy`, whose responses are derivatives of its energy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tesseral.graph import Graph, build_graph
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import FieldEnergy, TensorModel, load_tensor_model
from tesseral.physics.electric import born_charges, charge_sum_error, dielectric_tensor, dipole, polarizability
from tesseral.train.checkpoints import write_atomically

KEY = "tesseral_field"
COULOMB = 14.399645  # e²/4πε0 in eV Å, phonopy's "factor" of the non-analytic correction


class FieldResponses:
    """Dipole (graphs, 3) in e·Å and polarizability (graphs, 3, 3) in Å³ of a :class:`FieldEnergy`, as a tensor model has them."""

    def __init__(self, model: FieldEnergy) -> None:
        self.model, self.species, self.cutoff = model, model.species, model.cutoff
        self.settings = SimpleNamespace(targets=("dipole", "polarizability"))

    def property(self, name: str, graph: Graph) -> Tensor:
        """One of the two, differentiable."""
        response = {"dipole": dipole, "polarizability": polarizability}[name]
        return response(self.model, graph, create_graph=True)


def save_field_energy(model: FieldEnergy, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write an energy that reads a field to a safetensors file with its settings and ``notes``, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    description = {"settings": model.settings.model_dump(mode="json"), "notes": dict(notes or {})}
    write_atomically(Path(path), safetensors.torch.save(tensors, {KEY: json.dumps(description)}))


def load_field_energy(
    path: str | Path, *, dtype: torch.dtype = torch.float64, backend: str = "auto"
) -> tuple[FieldEnergy, dict[str, Any]]:
    """The model in a file, ready to evaluate, and the notes of its author; ``ValueError`` for another file."""
    if not holds_field(path):
        raise ValueError(f"{path} holds no energy that reads a field; save one with tesseral.interfaces.responses")
    with safe_open(str(path), framework="pt") as file:
        description = json.loads(file.metadata()[KEY])
    model = FieldEnergy(NequIPSettings.model_validate(description["settings"]), backend=backend, dtype=dtype)
    model.load_state_dict(safetensors.torch.load_file(str(path)))
    return model.eval().requires_grad_(False), description["notes"]


def holds_field(path: str | Path) -> bool:
    """Whether a file is one of :func:`save_field_energy`; no for whatever cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_responses(path: Path) -> TensorModel | FieldResponses:
    """Dipoles and polarizabilities from a file of either kind."""
    return FieldResponses(load_field_energy(path)[0]) if holds_field(path) else load_tensor_model(path)[0]


def non_analytic(model: Any, crystal: ase.Atoms) -> dict[str, Any]:
    """Born charges and dielectric tensor of a crystal from an energy that reads a field, as phonopy's parameters.

    Charges are symmetrised by nothing: their sum, which should vanish, is under ``sum_rule_error`` (e). Raises ``ValueError``
    for an element that the model does not know.
    """
    unknown = sorted(set(crystal.numbers.tolist()) - set(model.species))
    if unknown:
        raise ValueError(f"the model of the field was not trained on atomic numbers {unknown}, only on {list(model.species)}")
    graph = build_graph(crystal, float(model.cutoff))
    charges = born_charges(model, graph)
    return {
        # Ours have the displacement first, phonopy's the field.
        "born": np.ascontiguousarray(charges.detach().cpu().numpy().transpose(0, 2, 1)),
        "dielectric": dielectric_tensor(model, graph)[0].detach().cpu().numpy(),
        "factor": COULOMB,
        "sum_rule_error": float(charge_sum_error(charges, graph)[0]),
    }
