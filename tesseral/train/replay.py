r"""Training on new frames without forgetting the old: a head for each of the two sets, and everything before the heads shared.

The labels of another level of theory, or of other systems, do not fit into one energy surface with those that a model was
trained on first. The model keeps its readout and energies of atoms for the new frames; a copy of both, trained along, answers for
the frames that are replayed. Source: Batatia et al., A foundation model for atomistic materials chemistry, arXiv:2401.00096
(multi-head replay fine-tuning).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph, collate, split
from tesseral.train.finetune import merge_corrections, readouts
from tesseral.train.prediction import Graphs

REPLAYED = "replay"
"""The label (graphs,) that marks a replayed structure, by 1."""

PER_ATOM = ("atomic_energies", "head_energies", "scales", "shifts")


def energies_of_atoms(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers of a model that turn outputs into energies: what a head has besides its readout."""
    return {name: b.clone() for name, b in model.named_buffers() if name.rpartition(".")[2] in PER_ATOM}


class Replaying(torch.nn.Module):
    """A model with a second readout, which answers for replayed structures; called with a graph, energies (graphs,) in eV.

    The second head starts as a copy of the first, corrections of low rank included, with ``energies`` of atoms of its own, from
    :func:`energies_of_atoms`. Structures whose label ``"replay"`` is 1 go through it. Raises ``ValueError`` for a model without
    a readout of its own.

    >>> from tesseral.models import build, parse_settings
    >>> settings = {"name": "nequip", "species": [1, 8], "num_neighbors": 3.0, "layers": 1, "channels": 4}
    >>> model = build(parse_settings(settings))
    >>> replaying = Replaying(model, energies_of_atoms(model))
    >>> [name for name in replaying.state_dict() if not name.startswith("model.")]
    ['tensors.0', 'energies.0', 'energies.1']
    """

    def __init__(self, model: torch.nn.Module, energies: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        heads = readouts(model)
        self.names = [f"{name}.{inner}" for name, module in heads.items() for inner, _ in module.named_parameters()]
        parameters = dict(model.named_parameters())
        self.tensors = torch.nn.ParameterList(
            torch.nn.Parameter(parameters[name].detach().clone(), parameters[name].requires_grad) for name in self.names
        )
        self.names_of_energies = list(energies)
        self.energies = torch.nn.Module()
        for i, value in enumerate(energies.values()):
            self.energies.register_buffer(str(i), value.clone())

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies in eV, of each structure by its head."""
        if REPLAYED not in graph.labels:
            return self.model(graph)
        marked = (graph.labels[REPLAYED] > 0).tolist()
        if all(marked) or not any(marked):
            return self.replayed(graph) if marked[0] else self.model(graph)
        parts = split(graph.replace(labels={}, masks={}))
        new, old = ([i for i, mark in enumerate(marked) if mark == of_old] for of_old in (False, True))
        found = [self.model(collate([parts[i] for i in new])), self.replayed(collate([parts[i] for i in old]))]
        back = torch.tensor(new + old, device=graph.device).argsort()
        return torch.cat(found)[back]

    def replayed(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of all structures by the head of the replayed ones."""
        return torch.func.functional_call(self.model, self._head(), (graph,))

    def _head(self) -> dict[str, Tensor]:
        buffers = (getattr(self.energies, str(i)) for i in range(len(self.names_of_energies)))
        return dict(zip(self.names, self.tensors, strict=True)) | dict(zip(self.names_of_energies, buffers, strict=True))

    def separated(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        """The model, corrections merged, and a copy of it with the head of the replayed structures: two ordinary models."""
        head = self._head()
        tensors = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        # A correction is a part of the weight that a layer sees: what the second head's layers would see, under its name.
        seen = [re.sub(r"parametrizations\.([^.]+)\.original$", r"\1", name) for name in head]
        seen = [name for name in seen if "parametrizations" not in name]
        with torch.no_grad():
            own = {name: tensors[name].clone() for name in head}
            for name, value in head.items():
                tensors[name].copy_(value)
            values = {name: _attribute(self.model, name).clone() for name in seen}
            for name, value in own.items():
                tensors[name].copy_(value)
            old = copy.deepcopy(merge_corrections(self.model))
            for name, value in values.items():
                _attribute(old, name).copy_(value)
        return self.model, old


def _attribute(model: torch.nn.Module, name: str) -> Tensor:
    place, _, last = name.rpartition(".")
    return getattr(model.get_submodule(place), last)


class Together:
    """New graphs, then replayed ones, which carry the label ``"replay"`` and ``weight`` times their weight in the loss."""

    def __init__(self, new: Graphs, old: Graphs, weight: float = 1.0) -> None:
        self.new, self.old, self.weight = new, old, weight

    def __len__(self) -> int:
        return len(self.new) + len(self.old)

    def __getitem__(self, index: int) -> Graph:
        if index < len(self.new):
            return self.new[index]
        graph = self.old[index - len(self.new)]
        one = torch.ones(graph.num_graphs, dtype=torch.float64, device=graph.device)
        weight = self.weight * (one if graph.weight is None else graph.weight)
        masks = graph.masks | {REPLAYED: one.bool()}
        return graph.replace(weight=weight, labels=graph.labels | {REPLAYED: one}, masks=masks)
