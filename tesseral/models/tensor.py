"""Tensors read off an equivariant network: dipoles, polarizabilities, gaps, of atoms or structures.

:class:`TensorModel` has direct heads on the layers of :class:`~tesseral.models.nequip.NequIP` or
:class:`~tesseral.models.l1net.L1Net`. Tensors that are derivatives of an energy are in :mod:`tesseral.models.field_energy`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import torch
from ase.data import atomic_masses
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.l1net import L1Net, L1NetSettings
from tesseral.models.nequip import Body, NequIPSettings
from tesseral.nn import Linear
from tesseral.nn.electrostatics import neutralized
from tesseral.o3 import CartesianTensor, Irrep, Irreps
from tesseral.ops import scatter

Pool: TypeAlias = Literal["sum", "mean", "extent"]


class Target(BaseModel):
    r"""One quantity that a model reads off, of atoms or of structures.

    A structure's is :math:`\sum_i w_i t_i`, where atoms weigh 1 (``sum``: extensive, such as energies or polarizabilities), 1/N
    (``mean``: intensive, such as gaps) or :math:`|r_i - r_m|^2` about the centre of mass (``extent``: the spatial extent of the
    electrons of a molecule; Schütt et al., PaiNN, ICML 2021).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    irreps: str = Field(description="how it transforms, e.g. 1o for a vector, 0e+2e for a symmetric tensor of rank 2")
    per: Literal["structure", "atom"] = Field("structure", description="what has it")
    pool: Pool = Field("sum", description="how atoms make that of a structure: sum, mean, extent")
    charges: bool = Field(False, description="add charges times positions: a dipole, 1o of a structure without cell")
    length: bool = Field(False, description="labels are the length of one tensor, such as a dipole moment without direction")
    scale: float = Field(1.0, gt=0, description="typical size; the network's numbers are multiplied by it")


BodySettings: TypeAlias = Annotated[NequIPSettings | L1NetSettings, Field(discriminator="name")]


class TensorSettings(BaseModel):
    """Settings of a :class:`TensorModel`: its body, and what it reads off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["tensor"] = "tensor"
    body: BodySettings
    targets: dict[str, Target] = Field(min_length=1)


# The symmetric tensor of rank 2 as features of irreps 0e+2e, and back.
SYMMETRIC = CartesianTensor("ij=ji", layout="ir_mul")


def features_of(irreps: Irreps, values: Tensor) -> Tensor:
    """Labels as features (..., irreps.dim): matrices (..., 3, 3) where the irreps are those of a symmetric tensor of rank 2.

    >>> features_of(Irreps("0e+2e"), torch.eye(3))
    tensor([1.7321, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000])
    """
    return SYMMETRIC.from_cartesian(values) if irreps == SYMMETRIC.irreps else values


class TensorModel(torch.nn.Module):
    r"""Direct heads: a tensor of each structure, :math:`T = \sum_i w_i t_i` (:class:`Target`), or of each atom, :math:`t_i`.

    Called with a graph, returns name -> (graphs or nodes, dim) in ``ir_mul``, float64; l = 1 is (x, y, z) and
    :meth:`cartesian` turns 0e+2e into (3, 3). Invariant parts, and charges, have a constant for each species besides. A target
    with ``charges`` is a dipole,

    .. math:: \mu = \sum_i q_i r_i + \sum_i \mu_i, \qquad \sum_i q_i = Q,

    about the origin of coordinates: it does not depend on it where the total charge Q (``graph.charge``, zero without one)
    vanishes; :func:`tesseral.physics.electric.about` moves it. Raises ``ValueError`` for such a target, or an extent, in
    something that repeats, where they have no meaning, and for irreps that no message can reach.
    """

    def __init__(self, settings: TensorSettings, *, backend: str = "auto", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.settings, self.species, self.cutoff = settings, tuple(settings.body.species), settings.body.cutoff
        self.body = _body(settings.body, backend, {"dtype": dtype})
        self.irreps = {name: Irreps(target.irreps) for name, target in settings.targets.items()}
        for name, target in settings.targets.items():
            check_target(name, target)
            _check_reach(name, target, self.body.irreps_out)
        self.label_irreps = {
            name: Irreps("1x0e") if settings.targets[name].length else irreps for name, irreps in self.irreps.items()
        }
        self.heads = torch.nn.ModuleDict(
            {name: Linear(self.body.irreps_out, irreps, dtype=dtype) for name, irreps in self.irreps.items()}
        )
        self.charges = torch.nn.ModuleDict(
            {name: Linear(self.body.irreps_out, "1x0e", dtype=dtype) for name, t in settings.targets.items() if t.charges}
        )
        self.species_charges = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.zeros(len(self.species), dtype=dtype)) for name in self.charges}
        )
        self.references = torch.nn.ParameterDict(
            {
                name: torch.nn.Parameter(torch.zeros(len(self.species), irreps.dim, dtype=dtype))
                for name, irreps in self.irreps.items()
            }
        )

    def forward(self, graph: Graph) -> dict[str, Tensor]:
        """All targets."""
        features, species = self.body(graph), self.body.embedding.index(graph.species)
        result = {}
        for name, target in self.settings.targets.items():
            values = self.heads[name](features) + self.references[name][species] * _invariant(self.irreps[name], features)
            values = values.to(torch.float64) * target.scale
            if target.per == "structure":
                values = pooled(values, target.pool, graph)
            if target.charges:
                charges = self.charges[name](features).squeeze(-1) + self.species_charges[name][species]
                values = values + _charge_dipole(charges, graph)
            result[name] = values
        return result

    def as_labelled(self, name: str, values: Tensor) -> Tensor:
        """A target as features of ``label_irreps``: its length, where that is what labels are."""
        if not self.settings.targets[name].length:
            return values
        return (values.square().sum(1, keepdim=True) + TINY).sqrt()

    def property(self, name: str, graph: Graph) -> Tensor:
        """One target, a symmetric tensor of rank 2 as (..., 3, 3)."""
        values = self(graph)[name]
        return SYMMETRIC.to_cartesian(values) if self.irreps[name] == SYMMETRIC.irreps else values

    def cartesian(self, name: str, values: Tensor) -> Tensor:
        """What :meth:`as_labelled` gives, in Cartesian components where it is the symmetric tensor 0e+2e; otherwise as it is."""
        return SYMMETRIC.to_cartesian(values) if self.label_irreps[name] == SYMMETRIC.irreps else values

    def from_cartesian(self, name: str, values: Tensor) -> Tensor:
        """The inverse of :meth:`cartesian`, for labels."""
        return features_of(self.label_irreps[name], values)


MASSES = torch.from_numpy(atomic_masses)
TINY = 1e-12  # under the root of a length, whose slope at zero would be NaN


def pooled(values: Float[Tensor, "nodes dim"], pool: Pool, graph: Graph) -> Float[Tensor, "graphs dim"]:
    """Sums over the atoms of each structure with the weights of ``pool`` (:class:`Target`)."""
    if pool == "extent":
        values = values * _distances_from_centre(graph)[:, None].to(values.dtype)
    total = scatter(values, graph.batch, graph.num_graphs)
    return total / graph.nodes_per_graph().clamp(min=1)[:, None] if pool == "mean" else total


def _distances_from_centre(graph: Graph) -> Float[Tensor, " nodes"]:
    """Squared distances from the centre of mass."""
    if bool(graph.pbc.any()):
        raise ValueError("a crystal has no centre: an extent is a property of molecules, without periodic directions")
    positions, masses = graph.positions.to(torch.float64), MASSES.to(graph.device)[graph.species][:, None]
    centre = scatter(positions * masses, graph.batch, graph.num_graphs) / scatter(masses, graph.batch, graph.num_graphs)
    return (positions - centre[graph.batch]).square().sum(1)


def _body(settings: NequIPSettings | L1NetSettings, backend: str, factory: dict[str, Any]) -> Body | L1Net:
    if isinstance(settings, L1NetSettings):
        return L1Net(settings, backend=backend, **factory)
    return Body(settings, backend=backend, factory=factory)


def check_target(name: str, target: Target) -> None:
    """Raise ``ValueError`` for a target that contradicts itself."""
    irreps = Irreps(target.irreps)
    if target.charges and (str(irreps) != "1x1o" or target.per == "atom" or target.pool != "sum"):
        raise ValueError(
            f"the target {name!r} is {irreps}, a {target.pool}, per {target.per}: only a dipole, 1o, the sum of a structure, has "
            "charges"
        )
    if target.length and irreps.num_irreps != 1:
        raise ValueError(f"the target {name!r} is {irreps}: only one tensor has a length; set length to false")
    if target.pool != "sum" and target.per == "atom":
        raise ValueError(f"the target {name!r} is of atoms, which make no {target.pool}; set per to structure")


def _check_reach(name: str, target: Target, available: Irreps) -> None:
    lost = [str(ir) for _, ir in Irreps(target.irreps) if not available.count(ir)]
    if lost and not target.charges:  # charges alone make a dipole
        raise ValueError(
            f"the target {name!r} holds {', '.join(lost)}, which {available} never hold: raise lmax or layers, or set "
            "parity to true"
        )


def _invariant(irreps: Irreps, like: Tensor) -> Tensor:
    """One for the components of 0e, zero for the others."""
    return torch.cat([like.new_full((mul * ir.dim,), float(ir == Irrep("0e"))) for mul, ir in irreps])


def _charge_dipole(charges: Float[Tensor, " nodes"], graph: Graph) -> Float[Tensor, "graphs 3"]:
    """The dipole of charges in something that does not repeat."""
    if bool(graph.pbc.any()):
        raise ValueError("the dipole of something that repeats has no meaning: leave out the target, or set pbc to false")
    return _moment(charges, graph)


def species_moments(graph: Graph, species: Sequence[int]) -> Float[Tensor, "graphs species 3"]:
    """The dipole that a unit charge on every atom of a species makes in each neutral structure."""
    of_species = (graph.species[:, None] == torch.tensor(species, device=graph.device)).to(torch.float64)
    return torch.stack([_moment(column, graph.replace(charge=None)) for column in of_species.unbind(1)], dim=1)


def _moment(charges: Float[Tensor, " nodes"], graph: Graph) -> Float[Tensor, "graphs 3"]:
    """Charges times positions, after an equal part of what is missing to the total charge was added to each."""
    return scatter(neutralized(charges, graph)[:, None] * graph.positions, graph.batch, graph.num_graphs)
