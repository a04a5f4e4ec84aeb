"""TorchSim: many structures moved at once, as one batch, by the integrators and optimisers of ``torch-sim-atomistic``.

from tesseral.interfaces.torchsim import Model
import torch_sim as ts
state = ts.integrate(system=list_of_atoms, model=Model("model.safetensors"), integrator=ts.nve, n_steps=100, ...)
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from tesseral.graph import Graph, build_graph, collate, prune
from tesseral.models import cast
from tesseral.models.files import load
from tesseral.physics.forces import energy_and_forces


class Model(ModelInterface):
    """A model of tesseral as TorchSim wants it, from a model file or from a model.

    Energies in eV, forces in eV/Å, stress in eV/Å³ (positive under tension; NaN for structures without a volume). Neighbours
    of the batch are searched anew when an atom has moved by half of ``skin`` (Å), or a cell or the composition changes.
    ``dtype`` is that of the states and results; geometry is float64 inside. Raises ``ValueError`` for an unknown element.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | torch.nn.Module | Any,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        precision: torch.dtype | None = None,
        skin: float = 0.5,
        compute_stress: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if isinstance(model, str | os.PathLike):
            model, _ = load(model, device=device, dtype=precision, backend=backend)
        elif precision is not None and precision != getattr(model, "dtype", precision):
            model = cast(model, precision)
        self.model: Any = model.to(device) if isinstance(model, torch.nn.Module) else model
        self._device, self._dtype = torch.device(device), dtype
        self._compute_stress, self._compute_forces = compute_stress, True
        self.cutoff: float = float(getattr(model, "cutoff"))  # noqa: B009
        self.skin, self.searches = skin, 0
        self._reference: Graph | None = None

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are computed along with the forces."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        self._compute_stress = value

    @property
    def compute_forces(self) -> bool:
        """Always: forces cost little more than energies here."""
        return True

    @compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        if not value:
            raise NotImplementedError("forces are always computed")

    def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Energies (systems,), forces (atoms, 3) and stresses (systems, 3, 3) of a state of TorchSim."""
        graph = self.graph(state)
        prediction = energy_and_forces(self.model, graph, stress=self._compute_stress)
        results = {"energy": prediction.energy, "forces": prediction.forces}
        if prediction.stress is not None:
            results["stress"] = prediction.stress
        return {name: value.detach().to(self._dtype).contiguous() for name, value in results.items()}

    def graph(self, state: Any) -> Graph:
        """The batch of graphs of a state."""
        positions = state.positions.detach().to(self._device, torch.float64)
        cell = state.row_vector_cell.detach().to(self._device, torch.float64)
        reference = self._reference
        if reference is None or not self._covers(reference, state, positions, cell):
            reference = self._reference = self._search(state, positions, cell)
        return prune(reference.replace(positions=positions), self.cutoff)

    def _covers(self, reference: Graph, state: Any, positions: Tensor, cell: Tensor) -> bool:
        same = (
            torch.equal(reference.species, state.atomic_numbers.to(self._device))
            and torch.equal(reference.batch, state.system_idx.to(self._device))
            and torch.equal(reference.cell, cell)
            and torch.equal(reference.pbc, _pbc(state).expand_as(reference.pbc).to(self._device))
        )
        return same and 2 * float((positions - reference.positions).norm(dim=1).max()) <= self.skin if len(positions) else same

    def _search(self, state: Any, positions: Tensor, cell: Tensor) -> Graph:
        numbers = state.atomic_numbers.cpu().numpy()
        unknown = sorted(set(numbers.tolist()) - set(self.model.species))
        if unknown:
            known = ", ".join(chemical_symbols[z] for z in self.model.species)
            raise ValueError(f"the model was not trained on {', '.join(chemical_symbols[z] for z in unknown)}; it knows {known}")
        places, cells, index = positions.cpu().numpy(), cell.cpu().numpy(), state.system_idx.cpu().numpy()
        pbc = np.broadcast_to(_pbc(state).numpy(), (len(cells), 3))
        parts = [
            build_graph(_Structure(places[index == i], numbers[index == i], cells[i], pbc[i]), self.cutoff + self.skin)
            for i in range(len(cells))
        ]
        self.searches += 1
        return collate(parts).to(self._device)


class _Structure:
    def __init__(self, positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        self.positions, self.numbers, self.cell, self.pbc = positions, numbers, cell, pbc


def _pbc(state: Any) -> Tensor:
    """Periodic directions of a state: older states have one for all, newer ones three."""
    return torch.as_tensor(state.pbc).reshape(-1).cpu().expand(3) if torch.as_tensor(state.pbc).numel() == 1 else state.pbc.cpu()
