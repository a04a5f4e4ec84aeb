"""Force constants of a crystal from one cell, and the dynamical matrices and frequencies that follow at any wave vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from ase import units
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from tesseral.graph import Graph, build_graph
from tesseral.graph.neighbors import Structure
from tesseral.physics.receptive_field import LocalModel, device_of, receptive_hops
from tesseral.physics.unroll import Unrolled, unroll
from tesseral.physics.vibrations import masses

# From sqrt(eV/Å²/amu) to THz, ν = ω / 2π.
TERAHERTZ = float(np.sqrt(units._e / units._amu) * 1e10 / (2 * np.pi) / 1e12)


@dataclasses.dataclass(frozen=True, eq=False)
class ForceConstants:
    r"""The matrices :math:`\Phi_{i\alpha,j\beta}(R) = \partial^2 E/\partial u_{i\alpha}(0)\,\partial u_{j\beta}(R)` in eV/Å².

    ``values[i, α, a, β]`` couples atom i of the cell to the image of atom ``atoms[a]`` in the cell ``shifts[a]``. ``crystal`` is
    the graph of the cell.
    """

    values: Float[Tensor, "atoms 3 images 3"]
    atoms: Int64[Tensor, " images"]
    shifts: Int64[Tensor, "images 3"]
    crystal: Graph

    def sum_rule_error(self) -> float:
        r"""Largest :math:`|\sum_{jR} \Phi_{i\alpha,j\beta}(R)|` in eV/Å²: zero, since moving the whole crystal costs nothing."""
        return float(self.values.sum(2).abs().max()) if self.values.numel() else 0.0

    def asymmetry(self) -> float:
        r"""Largest :math:`|\Phi_{i\alpha,j\beta}(R) - \Phi_{j\beta,i\alpha}(-R)|` in eV/Å²: rounding, for true derivatives."""
        places = {(a, *shift): n for n, (a, shift) in enumerate(zip(self.atoms.tolist(), self.shifts.tolist(), strict=True))}
        rows = [[places.get((i, *(-x for x in shift)), -1) for shift in self.shifts.tolist()] for i in range(len(self.values))]
        values = torch.cat(
            [self.values, torch.zeros_like(self.values[:, :, :1])], 2
        )  # an image that is absent couples to nothing
        partner = values[self.atoms[None, :], :, torch.tensor(rows, device=values.device)]
        return float((self.values - partner.permute(0, 3, 1, 2)).abs().max()) if self.values.numel() else 0.0

    def dynamical_matrix(
        self, k: Float[Tensor, "points 3"], mass: Float[Tensor, " atoms"] | None = None
    ) -> Complex[Tensor, "points coordinates coordinates"]:
        r"""The matrices :math:`D_{i\alpha,j\beta}(k) = (m_i m_j)^{-1/2} \sum_R \Phi_{i\alpha,j\beta}(R)\,
        e^{2\pi i\,k\cdot(x_j + R - x_i)}` in eV/Å²/amu, with ``k`` in units of the reciprocal cell vectors.

        ``mass`` (amu) names isotopes. Not symmetrised: how far it is from Hermitian measures the error of the derivatives.
        """
        k = k.to(self.values)
        n = len(self.values)
        fractional = _fractional(self.crystal)
        arms = (fractional[self.atoms] + self.shifts)[None] - fractional[:, None]  # (atoms, images, 3)
        phases = torch.exp(2j * torch.pi * torch.einsum("kx,iax->kia", k, arms))
        mass = masses(self.crystal.species) if mass is None else mass.to(self.values.dtype)
        blocks = self.values / (mass[:, None, None, None] * mass[self.atoms][None, None, :, None]).sqrt()
        terms = blocks.to(phases.dtype)[None] * phases[:, :, None, :, None]
        matrix = terms.new_zeros(len(k), n, 3, n, 3).index_add(3, self.atoms, terms)
        return matrix.reshape(len(k), 3 * n, 3 * n)

    def modes(
        self, k: Float[Tensor, "points 3"], mass: Float[Tensor, " atoms"] | None = None
    ) -> tuple[Float[Tensor, "points modes"], Complex[Tensor, "points coordinates modes"]]:
        """Frequencies in THz, ascending, negative where imaginary; polarization vectors in the columns of unitary matrices."""
        matrix = self.dynamical_matrix(k, mass)
        squares, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mH))
        return TERAHERTZ * squares.sign() * squares.abs().sqrt(), vectors

    def frequencies(
        self, k: Float[Tensor, "points 3"], mass: Float[Tensor, " atoms"] | None = None
    ) -> Float[Tensor, "points modes"]:
        """Frequencies in THz, ascending, negative where imaginary."""
        return self.modes(k, mass)[0]


def force_constants(
    model: LocalModel,
    structure: Structure | Graph,
    hops: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ForceConstants:
    r"""All force constants of a crystal by differentiation in one cell unrolled over the receptive field: no supercell, no
    displacements, no truncation.

    An atom's energy depends on atoms within L edges (``hops``, measured when left out), so a force depends on atoms within 2L:
    the cell's atoms and their images up to there become explicit atoms, the energies of those within L edges are summed, and each
    row is one pass backwards through the forces on the cell. ``model`` has ``cutoff``, ``species`` and ``node_energies``, and
    should compute in float64. ``progress`` gets rows done and rows in all.
    Source: the unrolling of Fang et al., Phonon predictions with E(3)-equivariant graph neural networks, arXiv:2403.11347, with
    the energy of all atoms that feel the cell instead of that of the cell, which leaves 3n rows instead of a matrix.

    >>> import ase.build
    >>> from tesseral.nn.pair import ZBL
    >>> phi = force_constants(ZBL(3.0, (14,)), ase.build.bulk("Si", a=4.8))
    >>> phi.sum_rule_error() < 1e-12, phi.frequencies(torch.zeros(1, 3)).abs()[0, :3].max().item() < 1e-4
    (True, True)
    """
    unrolled, positions, slope = _slopes(model, structure, hops)
    return _collect(unrolled, positions, slope, progress)


def force_constant_derivative(
    model: LocalModel,
    structure: Structure | Graph,
    strain: Float[Tensor, "3 3"],
    displacements: Float[Tensor, "atoms 3"] | None = None,
    hops: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ForceConstants:
    r"""How the force constants change, :math:`d\Phi/dt` in eV/Å², while the crystal is strained by :math:`t\,\varepsilon` and its
    atoms move by :math:`t\,d_i` (Å) besides: third derivatives, contracted while they are taken.

    >>> import ase.build
    >>> from tesseral.nn.pair import ZBL
    >>> pushed = force_constant_derivative(ZBL(3.0, (14,)), ase.build.bulk("Si", a=4.8), torch.eye(3, dtype=torch.float64))
    >>> pushed.sum_rule_error() < 1e-10
    True
    """
    unrolled, positions, slope = _slopes(model, structure, hops, everywhere=True)
    field = unrolled.graph.positions @ (0.5 * (strain + strain.T)).to(positions)
    if displacements is not None:
        field = field + displacements.to(positions)[unrolled.atoms]
    with torch.enable_grad():
        slope = _gradient((slope * field).sum(), positions, create_graph=True)[: unrolled.home.num_nodes]
    return _collect(unrolled, positions, slope, progress)


def bloch_matrix(
    model: LocalModel, structure: Structure | Graph, k: Float[Tensor, "3"], hops: int | None = None
) -> Complex[Tensor, "coordinates coordinates"]:
    r"""The matrix :math:`\Phi(k)` of one wave vector, in eV/Å², by Hessian-vector products with Bloch waves.

    Sums :math:`e^{-2\pi i k\cdot r_a} H_{ab}\, e^{2\pi i k\cdot r_b}` over the Hessian of the energy of the cell's own atoms in
    the cell unrolled over L edges; half the reach and twice 3n products: cheaper for one wave vector, and differentiable at will.
    Source: Fang et al., arXiv:2403.11347.

    >>> import ase.build
    >>> from tesseral.nn.pair import ZBL
    >>> crystal, k = ase.build.bulk("Si", a=4.8), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    >>> mass = torch.ones(2, dtype=torch.float64)
    >>> same = force_constants(ZBL(3.0, (14,)), crystal).dynamical_matrix(k[None], mass)[0]
    >>> (bloch_matrix(ZBL(3.0, (14,)), crystal, k) - same).abs().max().item() < 1e-12
    True
    """
    crystal = _crystal(model, structure)
    unrolled = unroll(crystal, receptive_hops(model) if hops is None else hops)
    n = crystal.num_nodes
    positions = unrolled.graph.positions.clone().requires_grad_()
    fractional = _fractional(crystal)
    waves = torch.exp(2j * torch.pi * ((fractional[unrolled.atoms] + unrolled.shifts) @ k.to(fractional)))
    with torch.enable_grad():
        slope = _gradient(
            model.node_energies(unrolled.graph.replace(positions=positions))[:n].sum(), positions, create_graph=True
        )
    columns = []
    for j in range(n):
        for axis in range(3):
            products = []
            for part in (waves.real, waves.imag):
                pattern = torch.zeros_like(positions)
                pattern[:, axis] = torch.where(unrolled.atoms == j, part, 0.0)
                products.append(_gradient(slope, positions, pattern))
            product = torch.complex(*products) * waves.conj()[:, None]
            columns.append(product.new_zeros(n, 3).index_add(0, unrolled.atoms, product).reshape(-1))
    return torch.stack(columns, 1)


def _crystal(model: LocalModel, structure: Structure | Graph) -> Graph:
    graph = structure if isinstance(structure, Graph) else build_graph(structure, float(model.cutoff))
    return graph.to(device_of(model, graph.device))


def _slopes(
    model: LocalModel, structure: Structure | Graph, hops: int | None, everywhere: bool = False
) -> tuple[Unrolled, Tensor, Tensor]:
    """The unrolled crystal, its positions, and the differentiable gradient on the cell's atoms (or everywhere)."""
    crystal = _crystal(model, structure)
    hops = receptive_hops(model) if hops is None else hops
    unrolled = unroll(crystal, 2 * hops)
    positions = unrolled.graph.positions.clone().requires_grad_()
    with torch.enable_grad():
        energies = model.node_energies(unrolled.graph.replace(positions=positions))
        slope = _gradient(energies[: unrolled.count(hops)].sum(), positions, create_graph=True)
    return unrolled, positions, slope if everywhere else slope[: crystal.num_nodes]


def _collect(unrolled: Unrolled, positions: Tensor, slope: Tensor, progress: Callable[[int, int], None] | None) -> ForceConstants:
    n = unrolled.home.num_nodes
    rows = []
    for row in range(3 * n):
        rows.append(_gradient(slope[row // 3, row % 3], positions).to(torch.float64))
        if progress is not None:
            progress(row + 1, 3 * n)
    values = torch.stack(rows) if rows else positions.new_zeros(0, 0, 3)
    return ForceConstants(values.reshape(n, 3, -1, 3), unrolled.atoms, unrolled.shifts, unrolled.home)


def _gradient(value: Tensor, at: Tensor, weights: Tensor | None = None, create_graph: bool = False) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(at)
    return torch.autograd.grad(
        value, at, weights, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )[0]


def _fractional(crystal: Graph) -> Tensor:
    """Positions in units of the cell vectors, zero along directions that do not repeat (no phase belongs to them)."""
    periodic = crystal.pbc[0]
    if not bool(periodic.any()):
        return torch.zeros_like(crystal.positions)
    coordinates = crystal.positions.detach() @ torch.linalg.pinv(torch.where(periodic[:, None], crystal.cell[0], 0.0))
    return torch.where(periodic, coordinates, 0.0)
