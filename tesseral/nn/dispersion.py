"""Dispersion between atoms, D3 with Becke-Johnson damping, as a term that is added to a model trained without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from ase.units import Bohr, Hartree
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from tesseral.graph import Graph

AtomicNumber = Annotated[int, Field(ge=1, le=103)]


class D3Settings(BaseModel):
    """Grimme's D3 dispersion with Becke-Johnson damping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["d3"] = "d3"
    functional: str = Field(description="functional whose damping parameters are taken, such as pbe")
    three_body: bool = Field(False, description="add the Axilrod-Teller-Muto term")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows")


class D3(nn.Module):
    """The D3(BJ) dispersion energy, computed by the ``dftd3`` package (simple-dftd3) with its analytic derivatives.

    Energies in eV with forces and stress; always float64, on the CPU, and differentiable once: Hessians and training on forces
    need a model without it. It sees no edges of the graph: the package's own cutoffs hold (60 Bohr for pairs).
    Raises ``ValueError`` for a functional without parameters, ``ImportError`` without the package.
    Source: Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456 (2011); Ehlert et al., J. Open Source Softw. 9, 7169 (2024).
    """

    def __init__(self, functional: str, species: Sequence[int] = tuple(range(1, 104)), three_body: bool = False) -> None:
        super().__init__()
        try:
            from dftd3.interface import DispersionModel, RationalDampingParam
        except ImportError as error:
            raise ImportError("dispersion needs the package dftd3: pip install 'tesseral[dispersion]'") from error
        self.settings = D3Settings(functional=functional, species=tuple(species), three_body=three_body)
        self.species, self.dtype = tuple(species), torch.float64
        self.cutoff = 0.1  # Å: a reach for graphs, of which it uses no edge
        self._new = DispersionModel
        try:
            self._damping: Any = RationalDampingParam(method=functional, atm=three_body)
        except RuntimeError as error:
            raise ValueError(
                f"D3(BJ) has no parameters for the functional {functional!r} ({error}); name one such as pbe"
            ) from None

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the structures, in eV."""
        return _Dispersion.apply(graph.positions, graph.cell, graph, self)

    def extra_repr(self) -> str:
        return f"functional={self.settings.functional!r}, {len(self.species)} species"

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy (eV), gradient (eV/Å) and dE/dε (eV) of one structure (Å)."""
        if len(numbers) == 0:
            return 0.0, np.zeros((0, 3)), np.zeros((3, 3))
        lattice = cell / Bohr if pbc.any() else None
        model = self._new(numbers, positions / Bohr, lattice, pbc if pbc.any() else None)
        found = model.get_dispersion(self._damping, grad=True)
        return float(found["energy"]) * Hartree, found["gradient"] * (Hartree / Bohr), found["virial"] * Hartree


class _Dispersion(torch.autograd.Function):
    """Energies whose first derivatives come from the package."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, cell: Tensor, graph: Graph, model: D3) -> Tensor:
        energies, slopes, cells = (
            [],
            torch.zeros_like(positions, dtype=torch.float64),
            torch.zeros_like(cell, dtype=torch.float64),
        )
        for index in range(graph.num_graphs):
            mine = graph.batch == index
            place, box, pbc = positions[mine], cell[index], graph.pbc[index]
            numbers, directions = graph.species[mine].cpu().numpy(), pbc.cpu().numpy()
            at, vectors = (x.detach().cpu().to(torch.float64).numpy() for x in (place, box))
            energy, slope, strain = model.evaluate(numbers, at, vectors, directions)
            energies.append(energy)
            slopes[mine] = torch.from_numpy(slope).to(positions.device)
            if bool(pbc.all()):
                # dE/dε holds what moves with the atoms and what moves with the cell: Rᵀ ∂E/∂R + Cᵀ ∂E/∂C.
                rest = torch.from_numpy(strain).to(positions.device) - place.detach().to(torch.float64).T @ slopes[mine]
                cells[index] = torch.linalg.solve(box.detach().to(torch.float64).T, rest)
        ctx.save_for_backward(slopes, cells)
        ctx.batch = graph.batch
        return torch.tensor(energies, dtype=torch.float64, device=positions.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        slopes, cells = ctx.saved_tensors
        return slopes * gradient[ctx.batch][:, None], cells * gradient[:, None, None], None, None
