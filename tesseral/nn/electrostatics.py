"""The Coulomb energy of charges on atoms: Ewald's sum where a structure repeats, all pairs where it does not."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.graph import Graph
from tesseral.nn.pair import COULOMB
from tesseral.ops.scatter import scatter


class Coulomb(nn.Module):
    r"""Energies of point charges, in eV: :math:`E_i = \frac{k}{2}\sum_{j\neq i} q_i q_j / r_{ij}` over all images of all atoms.

    A crystal is summed by Ewald's method in the package ``torch-pme``, with conducting surroundings and, if it is charged, a
    uniform background; pairs up to ``cutoff`` (Å) come from the edges of the graph, which must reach at least as far, the rest
    from reciprocal space. The Gaussians are so narrow that what the cutoff and the largest wave vector leave out is less than
    :math:`10^{-8}` of a pair's energy. A molecule is summed directly. Always float64; differentiable in
    charges, positions and cell as often as needed. Time and memory grow with the square of the number of atoms.

    Raises ``ImportError`` without the package, ``ValueError`` for structures that repeat in one or two directions only.
    Source: Ewald, Ann. Phys. 369, 253 (1921); Loche et al., J. Chem. Phys. 162, 142501 (2025), whose program is called.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> pair = build_graph(ase.Atoms("NaCl", positions=[(0, 0, 0), (0, 0, 2)]), 6.0)
    >>> round(float(Coulomb(6.0)(torch.tensor([1.0, -1.0]), pair)), 4)
    -7.1998
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        if not cutoff > 0:
            raise ValueError(f"the cutoff is {cutoff}, expected a positive length in Å")
        try:
            from torchpme import CoulombPotential, EwaldCalculator
        except ImportError as error:
            raise ImportError("electrostatics needs the package torch-pme: pip install 'tesseral[electrostatics]'") from error
        self.cutoff = float(cutoff)
        smearing = self.cutoff / 6  # erfc(6/√2) is 2e-9
        potential = CoulombPotential(smearing=smearing, prefactor=COULOMB)
        # Waves down to half the smearing in length: exp(-(2π)²/2) is 3e-9.
        self.ewald: Any = EwaldCalculator(potential, lr_wavelength=smearing / 2, full_neighbor_list=True)

    def forward(self, charges: Float[Tensor, " nodes"], graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the structures with ``charges`` in units of e."""
        return scatter(self.node_energies(charges, graph), graph.batch, graph.num_graphs)

    def node_energies(self, charges: Float[Tensor, " nodes"], graph: Graph) -> Float[Tensor, " nodes"]:
        """Half of the energy of its pairs for each atom."""
        charges = charges.to(torch.float64)
        distances = torch.linalg.vector_norm(graph.edge_vectors().to(torch.float64), dim=1)
        parts, start = [], 0
        for index, count in enumerate(graph.nodes_per_graph().tolist()):
            stop = start + count
            pbc, positions = graph.pbc[index], graph.positions[start:stop].to(torch.float64)
            if bool(pbc.all()) and count:
                mine = (graph.destination >= start) & (graph.destination < stop) & (distances < self.cutoff)
                pairs = torch.stack([graph.destination, graph.source], 1)[mine] - start
                cell = graph.cell[index].to(torch.float64)
                potentials = self.ewald(charges[start:stop, None], cell, positions, pairs, distances[mine]).squeeze(1)
            elif bool(pbc.any()):
                raise ValueError(
                    f"pbc is {pbc.tolist()}, but Coulomb energies are summed for crystals and molecules only: "
                    "set pbc in all three directions, with vacuum in the cell, or in none"
                )
            else:
                potentials = _bare(charges[start:stop], positions)
            parts.append(potentials * charges[start:stop])
            start = stop
        return torch.cat(parts) if parts else charges

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}"


def neutralized(charges: Float[Tensor, " nodes"], graph: Graph) -> Float[Tensor, " nodes"]:
    """Charges whose sum over each structure is ``graph.charge`` (zero without one): all atoms take an equal part of what is
    missing. In float64.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> neutralized(torch.tensor([1.0, 0.5]), build_graph(ase.Atoms("H2"), 2.0)).tolist()
    [0.25, -0.25]
    """
    charges = charges.to(torch.float64)
    total = charges.new_zeros(graph.num_graphs) if graph.charge is None else graph.charge.to(torch.float64)
    missing = (total - scatter(charges, graph.batch, graph.num_graphs)) / graph.nodes_per_graph().clamp(min=1)
    return charges + missing[graph.batch]


def _bare(charges: Tensor, positions: Tensor) -> Tensor:
    """Half of the potential at each charge of a molecule."""
    i, j = torch.triu_indices(len(charges), len(charges), 1, device=charges.device)
    inverse = 0.5 * COULOMB / torch.linalg.vector_norm(positions[i] - positions[j], dim=1)
    return torch.zeros_like(charges).index_add(0, i, inverse * charges[j]).index_add(0, j, inverse * charges[i])
