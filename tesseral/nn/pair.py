"""Energies of pairs of atoms that physics knows without learning, and the sum of models that adds them to a learned one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from ase.data import covalent_radii
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from tesseral.graph import Graph
from tesseral.nn.cutoff import PolynomialCutoff
from tesseral.ops.scatter import scatter

# Ziegler, Biersack, Littmark (1985): the universal screening function, in units of the screening length.
ZBL_COEFFICIENTS = np.array([0.18175, 0.50986, 0.28022, 0.02817])
ZBL_EXPONENTS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
ZBL_LENGTH = 0.46850  # Å; the screening length is this over Z_i^0.23 + Z_j^0.23
RADII = np.asarray(covalent_radii, dtype=np.float64)  # Å, Cordero et al., Dalton Trans. 2832 (2008)
COULOMB = 14.399645478425668  # e²/(4πε0) in eV Å (CODATA 2018)

AtomicNumber = Annotated[int, Field(ge=1, le=118)]


class ZBLSettings(BaseModel):
    """The repulsion of screened nuclei, switched off where bonds begin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["zbl"] = "zbl"
    cutoff: float = Field(
        5.0, gt=0, description="no pair interacts beyond this distance, in Å, nor beyond the sum of its covalent radii"
    )
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows")
    cutoff_power: float = Field(6.0, ge=2, description="power p of the polynomial cutoff")


class ZBL(nn.Module):
    r"""The Ziegler-Biersack-Littmark repulsion of screened nuclei.

    .. math:: E = \tfrac12\sum_{ij} k\,\frac{Z_i Z_j}{r_{ij}}\,\phi(r_{ij}/a_{ij})\,f(r_{ij}/r_{ij}^c)

    The screening function φ is a sum of four exponentials, the screening length :math:`a_{ij}` is
    :math:`0.4685/(Z_i^{0.23} + Z_j^{0.23})` Å. The polynomial cutoff f ends each pair at :math:`r^c_{ij}`, the sum of the two
    covalent radii or ``cutoff``, whichever is less: the repulsion rules where data are absent and leaves bonds to the data.
    Always float64; nothing is learned.
    Source: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids (1985).

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> zbl = ZBL(cutoff=5.0, species=(6,))
    >>> for r in (0.1, 0.5, 1.5):
    ...     print(round(zbl(build_graph(ase.Atoms("C2", positions=[(0, 0, 0), (0, 0, r)]), 5.0)).item(), 3))
    2808.199
    117.708
    0.0
    """

    def __init__(
        self,
        cutoff: float,
        species: Sequence[int] = tuple(range(1, 97)),
        cutoff_power: float = 6.0,
    ) -> None:
        super().__init__()
        self.settings = ZBLSettings(cutoff=cutoff, species=tuple(species), cutoff_power=cutoff_power)
        self.cutoff, self.species, self.dtype = float(cutoff), tuple(species), torch.float64
        self.envelope = PolynomialCutoff(1.0, cutoff_power)

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the structures, in eV."""
        return scatter(self.node_energies(graph), graph.batch, graph.num_graphs)

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Half of the energy of its pairs for each atom, in eV."""
        r = torch.linalg.vector_norm(graph.edge_vectors().to(torch.float64), dim=1)
        source, destination = graph.species[graph.source], graph.species[graph.destination]
        z1, z2 = source.to(torch.float64), destination.to(torch.float64)
        x = r * (z1**0.23 + z2**0.23) / ZBL_LENGTH
        coefficients, exponents, radii = (
            torch.as_tensor(constant, device=r.device) for constant in (ZBL_COEFFICIENTS, ZBL_EXPONENTS, RADII)
        )
        screening = (coefficients * torch.exp(-x[:, None] * exponents)).sum(1)
        reach = (radii[source] + radii[destination]).clamp(max=self.cutoff)
        pairs = 0.5 * COULOMB * z1 * z2 / r * screening * self.envelope(r / reach)
        return scatter(pairs, graph.destination, graph.num_nodes)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}, {len(self.species)} species"


class Sum(nn.Module):
    """The sum of energy models, such as a network and :class:`ZBL`; reaches as far as the farthest and knows what all know.

    Every term must vanish smoothly at its own cutoff, because all see the edges of the longest one.
    Raises ``ValueError`` without terms, or when no element is known to all.

    >>> total = Sum([ZBL(2.0, (1, 6)), ZBL(3.0, (1, 6, 8))])
    >>> total.cutoff, total.species
    (3.0, (1, 6))
    """

    def __init__(self, terms: Sequence[nn.Module]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("a sum of models needs at least one term")
        self.terms = nn.ModuleList(terms)
        self.cutoff: float = max(float(getattr(term, "cutoff")) for term in terms)  # noqa: B009
        known = [set(getattr(term, "species")) for term in terms]  # noqa: B009
        self.species: tuple[int, ...] = tuple(sorted(set.intersection(*known)))
        if not self.species:
            raise ValueError(f"no element is known to all terms: {[sorted(s) for s in known]}")

    @property
    def dtype(self) -> torch.dtype:
        """The lowest precision of the terms."""
        return min((getattr(term, "dtype") for term in self.terms), key=lambda dtype: dtype.itemsize)  # noqa: B009

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the structures, in eV."""
        return torch.stack([term(graph) for term in self.terms]).sum(0)

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energies of the atoms, in eV."""
        return torch.stack([getattr(term, "node_energies")(graph) for term in self.terms]).sum(0)  # noqa: B009
