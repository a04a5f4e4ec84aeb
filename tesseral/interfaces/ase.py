"""The door to ASE: a calculator for relaxation, molecular dynamics, phonons, and all that ASE does with one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from tesseral.graph import Graph, SkinNeighborList
from tesseral.models import cast
from tesseral.models.files import load
from tesseral.physics.electric import dipole, reads_field
from tesseral.physics.forces import Prediction, energies, energy_and_forces
from tesseral.physics.hessian import hessian
from tesseral.physics.precision import BFloat16Products
from tesseral.physics.uncertainty import LastLayer


class Calculator(AseCalculator):
    """An ASE calculator from a model file, or from a model.

    Gives ``energy`` and ``free_energy`` (eV), ``forces`` (eV/Å), ``energies`` of the atoms (eV; only their sum has a meaning),
    where the structure repeats and has a volume ``stress`` (eV/Å³, positive under tension), and where it does not repeat, and the
    model reads an electric field, its ``dipole`` (e·Å). The neighbour list is searched anew when an atom has moved by half of
    ``skin`` (Å). ``device`` is that of the model when left out (the CPU for a file), ``dtype`` the precision of the network;
    positions and energies are float64 always. ``bf16_products`` makes the matrix products of a float32 network in bfloat16, with
    sums in float32: for GPUs (``docs/kernels.md``).
    ``get_property("energy_uncertainty")`` (eV) and ``get_property("forces_uncertainty")`` (eV/Å, by component) are standard
    deviations, calibrated when the model was trained and kept in its file.

    Raises ``ValueError`` when a structure holds an element that the model was not trained on, or positions that are not finite;
    :class:`~tesseral.models.files.ModelFileError` for a file that is no model.

    >>> import ase.build
    >>> from tesseral.nn.pair import ZBL
    >>> atoms = ase.build.bulk("Cu", a=2.4)
    >>> atoms.calc = Calculator(ZBL(4.0, (29,)))
    >>> round(atoms.get_potential_energy(), 3), bool(atoms.get_stress()[0] < 0)
    (42.616, True)
    """

    implemented_properties = [  # noqa: RUF012 (as ASE declares it)
        "energy", "free_energy", "forces", "stress", "dipole", "energies", "energy_uncertainty", "forces_uncertainty",
    ]  # fmt: skip

    def __init__(
        self,
        model: str | os.PathLike[str] | torch.nn.Module | Any,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        skin: float = 0.3,
        backend: str = "auto",
        uncertainty: LastLayer | None = None,
        bf16_products: bool = False,
    ) -> None:
        super().__init__()
        self.metadata = None
        self.uncertainty = uncertainty
        if isinstance(model, str | os.PathLike):
            model, self.metadata = load(model, device=device or "cpu", dtype=dtype, backend=backend)
            values = getattr(self.metadata, "uncertainty", None)
            self.uncertainty = uncertainty or (None if values is None else LastLayer.of(values))
        elif isinstance(model, torch.nn.Module):
            if dtype is not None and dtype != getattr(model, "dtype", dtype):
                model = cast(model, dtype)
            if device is not None:
                model = model.to(device)
        self.model: Any = model
        self.energy: Any = BFloat16Products(model) if bf16_products else model
        self.neighbors = SkinNeighborList(getattr(model, "cutoff"), skin)  # noqa: B009
        self.device = torch.device(device) if device is not None else _device(model)
        self._strained = False

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute the ``properties`` of ``atoms`` into ``self.results``; called by ASE."""
        super().calculate(atoms, list(properties), list(system_changes))
        graph = self.graph(self.atoms)  # the copy that ASE keeps, to see what has changed at the next call
        periodic = bool(graph.pbc.any()) and float(graph.volume) > 0
        if "stress" in properties:
            if not periodic:
                raise PropertyNotImplementedError("a structure without periodic directions or without a volume has no stress")
            self._strained = True  # a variable cell asks for the stress at each step: compute it along with the forces
        if set(properties) <= {"energy", "free_energy"}:
            prediction = Prediction(energies(self.energy, graph), torch.empty(0, 3))
        else:
            prediction = energy_and_forces(self.energy, graph, stress=self._strained and periodic)
            self.results["forces"] = prediction.forces.detach().cpu().numpy().astype(np.float64)
        energy = float(prediction.energy[0])
        self.results.update(energy=energy, free_energy=energy)
        if prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].detach().cpu().numpy().astype(np.float64))
        if "dipole" in properties:
            if not reads_field(self.model) or bool(graph.pbc.any()):
                raise PropertyNotImplementedError("a dipole is that of a molecule, and of a model that reads an electric field")
            self.results["dipole"] = dipole(self.energy, graph)[0].cpu().numpy()
        if self.uncertainty is None and {"energy_uncertainty", "forces_uncertainty"} & set(properties):
            raise PropertyNotImplementedError("the model file holds no uncertainty; `tesseral train` computes it")
        if self.uncertainty is not None and "energy_uncertainty" in properties:
            self.results["energy_uncertainty"] = float(self.uncertainty.energy(self.model, graph)[0])
        if self.uncertainty is not None and "forces_uncertainty" in properties:
            self.results["forces_uncertainty"] = self.uncertainty.forces(self.model, graph).cpu().numpy()
        if "energies" in properties:
            with torch.no_grad():
                self.results["energies"] = self.energy.node_energies(graph).cpu().numpy().astype(np.float64)

    def graph(self, atoms: ase.Atoms | Any) -> Graph:
        """The graph of ``atoms`` as the model sees it, on its device; ``ValueError`` for an unknown element."""
        unknown = sorted(set(atoms.numbers.tolist()) - set(self.model.species))
        if unknown:
            names = ", ".join(chemical_symbols[z] if z < len(chemical_symbols) else str(z) for z in unknown)
            known = ", ".join(chemical_symbols[z] for z in self.model.species)
            raise ValueError(f"the model was not trained on {names}; it knows {known}")
        return self.neighbors(atoms).to(self.device)

    def get_hessian(self, atoms: ase.Atoms, chunk: int = 1) -> np.ndarray:
        """The exact Hessian (atoms, 3, atoms, 3) in eV/Å², for ``ase.vibrations.VibrationsData`` and the like."""
        return hessian(self.model, self.graph(atoms), chunk).cpu().numpy()


def _device(model: Any) -> torch.device:
    tensors = (*model.parameters(), *model.buffers()) if isinstance(model, torch.nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
