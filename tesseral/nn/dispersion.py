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
STEP = 5e-3
"""Å by which atoms and cell vectors, all together, are moved for second derivatives: no less, because pairs end abruptly at the
package's cutoffs, and with an error of fourth order."""


class D3Settings(BaseModel):
    """Grimme's D3 dispersion with Becke-Johnson damping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["d3"] = "d3"
    functional: str = Field(description="functional whose damping parameters are taken, such as pbe")
    three_body: bool = Field(False, description="add the Axilrod-Teller-Muto term")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows")


class D3(nn.Module):
    """The D3(BJ) dispersion energy, computed by the ``dftd3`` package (simple-dftd3) with its analytic derivatives.

    Energies in eV with forces and stress; always float64, on the CPU. Second derivatives, for Hessians and elastic constants, are
    differences of the analytic first ones (four of them a product, :data:`STEP` apart), within 5e-6 eV/Å²; third derivatives
    raise ``NotImplementedError``. It sees no edges of the graph: the package's own cutoffs hold (60 Bohr for pairs).
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
    """Energies (graphs,), whose first derivatives come from the package."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, cell: Tensor, graph: Graph, model: D3) -> Tensor:
        energies, slopes, cells = _derivatives(positions, cell, graph, model)
        ctx.save_for_backward(positions, cell, slopes, cells)
        ctx.graph, ctx.model = graph, model
        return energies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        positions, cell, slopes, cells = ctx.saved_tensors
        if torch.is_grad_enabled():
            slopes, cells = _Slopes.apply(positions, cell, slopes, cells, ctx.graph, ctx.model)
        return slopes * gradient[ctx.graph.batch][:, None], cells * gradient[:, None, None], None, None


class _Slopes(torch.autograd.Function):
    """The first derivatives, as they were found; their own derivative along a direction is a difference of two of them."""

    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, cell: Tensor, slopes: Tensor, cells: Tensor, graph: Graph, model: D3
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(positions, cell)
        ctx.graph, ctx.model = graph, model
        return slopes.clone(), cells.clone()

    @staticmethod
    def backward(ctx: Any, *directions: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "D3 has no third derivatives: train on forces with a model without it, and add it to the trained model"
            )
        positions, cell = ctx.saved_tensors
        # Second derivatives are symmetric: what they make of a cotangent is how the slopes change along it.
        along, bent = directions
        length = torch.zeros(len(cell), dtype=torch.float64, device=cell.device)
        length = length.index_add(0, ctx.graph.batch, along.square().sum(1)).add(bent.square().sum((1, 2))).sqrt()
        step = torch.where(length > 0, STEP / length, 0.0)
        of_positions, of_cell = torch.zeros_like(along), torch.zeros_like(bent)
        for number, weight in ((1, 2 / 3), (2, -1 / 12)):
            for sign in (1.0, -1.0):
                amount = sign * number * step
                moved = positions.to(torch.float64) + amount[ctx.graph.batch][:, None] * along
                shaped = cell.to(torch.float64) + amount[:, None, None] * bent
                _, slopes, cells = _derivatives(moved, shaped, ctx.graph, ctx.model)
                of_positions += sign * weight * slopes
                of_cell += sign * weight * cells
        inverse = torch.where(step > 0, 1 / step, 0.0)
        return of_positions * inverse[ctx.graph.batch][:, None], of_cell * inverse[:, None, None], None, None, None, None


def _derivatives(positions: Tensor, cell: Tensor, graph: Graph, model: D3) -> tuple[Tensor, Tensor, Tensor]:
    """Energies (graphs,), and their gradients with respect to positions (nodes, 3) and cells (graphs, 3, 3)."""
    energies = []
    slopes, cells = torch.zeros_like(positions, dtype=torch.float64), torch.zeros_like(cell, dtype=torch.float64)
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
    return torch.tensor(energies, dtype=torch.float64, device=positions.device), slopes, cells
