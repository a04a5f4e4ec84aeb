"""Models that say how a structure answers to an electric field: where their training starts, what spectra and phonons take.

Two kinds: a :class:`~tesseral.models.tensor.TensorModel`, whose dipole and polarizability are heads, and a
:class:`~tesseral.models.field_energy.FieldEnergy`, whose responses are derivatives of its energy.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase
import numpy as np
import torch
from torch import Tensor

from tesseral.data import Frame, Frames
from tesseral.data.doctor import Complaint
from tesseral.graph import Graph, build_graph
from tesseral.models import FieldEnergy, files
from tesseral.models.tensor import TensorModel
from tesseral.models.tensor_files import holds_tensors, load_tensor_model
from tesseral.physics.electric import born_charges, charge_sum_error, dielectric_tensor, dipole, polarizability, reads_field
from tesseral.train.losses import QUANTITIES
from tesseral.train.settings import LossSettings

COULOMB = 14.399645  # e²/4πε0 in eV Å, phonopy's "factor" of the non-analytic correction


class FieldResponses:
    """Dipole (graphs, 3) in e·Å and polarizability (graphs, 3, 3) in Å³ of an energy in a field, as a tensor model has them."""

    def __init__(self, model: Any) -> None:
        self.model, self.species, self.cutoff = model, model.species, model.cutoff
        self.settings = SimpleNamespace(targets=("dipole", "polarizability"))

    def property(self, name: str, graph: Graph) -> Tensor:
        """One of the two, differentiable."""
        response = {"dipole": dipole, "polarizability": polarizability}[name]
        return response(self.model, graph, create_graph=True)


def load_responses(path: Path) -> TensorModel | FieldResponses:
    """Dipoles and polarizabilities from a file of either kind."""
    if holds_tensors(path):
        return load_tensor_model(path)[0]
    try:
        return FieldResponses(load_field_energy(path))
    except files.ModelFileError as error:
        raise files.ModelFileError(
            f"{path} holds neither a tensor model (`tesseral tensors`) nor an energy in a field: {error}"
        ) from None


def load_field_energy(path: Path) -> Any:
    """The energy in a model file, in float64; ``ValueError`` for one that reads no field."""
    model, metadata = files.load(path, dtype=torch.float64)
    if not reads_field(model):
        raise ValueError(
            f"{path} holds a model of the kind {metadata.settings.get('name')}, which reads no electric field: train one with "
            "model.name=field_energy, or tensors with `tesseral tensors`"
        )
    return model


def unweighted_labels(frames: Frames, loss: LossSettings) -> list[Complaint]:
    """A note for each label of the frames that has no weight in the loss."""
    notes = []
    for name in QUANTITIES:
        count = sum(name in frame.labels for frame in frames)
        if count and getattr(loss, name).weight == 0:
            sentence = (
                f"{count} of {len(frames)} training frames have {name}, but loss.{name}.weight is 0: errors are reported, and "
                f"nothing is learned from it; set loss.{name}.weight, or data.keys.{name}=null not to read it"
            )
            notes.append(Complaint("note", "unweighted-label", sentence))
    return notes


def start_responses(model: FieldEnergy, frames: Frames, loss: LossSettings) -> None:
    """Charges and polarizabilities of the species where training starts: those that explain the labels with a weight best.

    Charges are from isotropic parts of Born charges or, where there are none, from the dipoles of molecules.
    """
    species = np.array(model.species)

    def labelled(name: str) -> list[Frame]:
        return [frame for frame in frames if name in frame.labels and getattr(loss, name).weight > 0]

    def kinds(frame: Frame) -> np.ndarray:
        return (frame.numbers[:, None] == species).astype(float)

    born = [(kinds(frame), _third(frame.labels["born_charges"])) for frame in labelled("born_charges")]
    if not born:
        born = [_moments(frame, kinds(frame)) for frame in labelled("dipole") if not frame.pbc.any()]
    alpha = [(kinds(frame).sum(0, keepdims=True), _third(frame.labels["polarizability"])) for frame in labelled("polarizability")]
    for pairs, parameter in ((born, model.ionic), (alpha, model.isotropic)):
        if pairs:
            rows, values = np.concatenate([row for row, _ in pairs]), np.concatenate([np.atleast_1d(value) for _, value in pairs])
            known = np.isfinite(values)
            solution = np.linalg.lstsq(rows[known], values[known], rcond=1e-6)[0]
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(solution))


def _third(tensors: np.ndarray) -> np.ndarray:
    return np.asarray(np.trace(tensors, axis1=-2, axis2=-1) / 3)


def _moments(frame: Frame, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What one e on each atom of a species adds to the dipole, all atoms sharing what makes up for it; and the dipole to explain.

    That is the dipole of the frame without what its charge gives in equal parts.
    """
    of_charge = (frame.charge or 0.0) * frame.positions.mean(0)
    return frame.positions.T @ (kinds - kinds.mean(0)), frame.labels["dipole"] - of_charge


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
