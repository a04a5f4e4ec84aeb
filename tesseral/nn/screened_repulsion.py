"""The repulsion of screened nuclei with constants of one's own: what potentials learned around it must keep exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase.data import covalent_radii
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.graph import Graph
from tesseral.nn.cutoff import PolynomialCutoff
from tesseral.ops.scatter import scatter


class ScreenedRepulsion(nn.Module):
    r"""The Ziegler-Biersack-Littmark form with the constants of MACE's models, which are part of the model's file.

    .. math:: E_i = \tfrac12 \sum_j k \frac{Z_i Z_j}{r_{ij}} \sum_n c_n e^{-b_n r_{ij}/a_{ij}} f(r_{ij}/r_{ij}^c),
              \quad a_{ij} = \frac{0.2403}{Z_i^\gamma + Z_j^\gamma}

    with the polynomial cutoff f at :math:`r^c_{ij}`, the sum of the covalent radii, γ = 0.3 and the screening length
    0.4543 · 0.529 Å over the sum of powers: about half of the universal one, so that it is a third of
    :class:`tesseral.nn.pair.ZBL` for C and O at 0.3 Å. New models are better off with that. Always float64.
    Source: Ziegler, Biersack, Littmark (1985); Batatia et al., arXiv:2401.00096, and its public code for the constants.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> dimer = build_graph(ase.Atoms("C2", positions=[(0, 0, 0), (0, 0, 0.5)]), 5.0)
    >>> ScreenedRepulsion()(dimer)
    tensor([11.8181, 11.8181], dtype=torch.float64)
    """

    coefficients: Tensor
    exponent: Tensor
    prefactor: Tensor
    radii: Tensor

    def __init__(self, cutoff_power: float = 6.0) -> None:
        super().__init__()
        self.envelope = PolynomialCutoff(1.0, cutoff_power)
        self.register_buffer("coefficients", torch.tensor([0.1818, 0.5099, 0.2802, 0.02817], dtype=torch.float64))
        self.register_buffer("exponent", torch.tensor(0.300, dtype=torch.float64))
        self.register_buffer("prefactor", torch.tensor(0.4543, dtype=torch.float64))
        self.register_buffer("radii", torch.from_numpy(np.array(covalent_radii, dtype=np.float64)))

    def _apply(self, fn: Any, recurse: bool = True) -> ScreenedRepulsion:
        exact = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self

    def forward(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Half of the energy of its pairs for each atom, in eV."""
        r = torch.linalg.vector_norm(graph.edge_vectors().to(torch.float64), dim=1)
        source, destination = graph.species[graph.source], graph.species[graph.destination]
        z1, z2 = source.to(torch.float64), destination.to(torch.float64)
        x = r * (z1**self.exponent + z2**self.exponent) / (0.529 * self.prefactor)
        decays = r.new_tensor(DECAYS)
        screening = (self.coefficients * torch.exp(-x[:, None] * decays)).sum(1)
        pairs = 0.5 * COULOMB * z1 * z2 / r * screening * self.envelope(r / (self.radii[source] + self.radii[destination]))
        return scatter(pairs, graph.destination, graph.num_nodes)


DECAYS = (3.2, 0.9423, 0.4028, 0.2016)
COULOMB = 14.3996  # e²/(4πε0) in eV Å, rounded as in the models
