r"""Training a part of a model that has been trained before: all of it, the readouts, or corrections of low rank (LoRA).

A correction :math:`W + A B / \sqrt r` of a matrix (n, m), with A (n, r) and B (r, m), changes the map between the channels of an
irrep and nothing about the irrep: an equivariant model stays one. B starts at zero: the corrected model is exactly the old one.
After training the corrections are added to the weights, and the model is an ordinary one again, as fast as before.
Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

from tesseral.train.muon import HasMatrices

Part = Literal["all", "readout", "lora"]


class LowRank(torch.nn.Module):
    r"""Adds :math:`A B / \sqrt r` to the matrices within a parameter, and nothing to the numbers between them.

    ``places`` are the shapes (..., n, m) of the matrices with their first columns in the flattened rows of the parameter, in
    ascending order; leading axes are those of the parameter. A is standard normal, as weights are, and B is zero. A step of B
    then changes the weights as much as a step of the weights themselves would: learning rates carry over.

    >>> weight = torch.randn(7)
    >>> correction = LowRank(weight, [((3, 2), 0)], rank=1)
    >>> torch.equal(correction(weight), weight), [tuple(p.shape) for p in correction.parameters()]
    (True, [(3, 1), (1, 2)])
    """

    def __init__(self, weight: Tensor, places: Sequence[tuple[tuple[int, ...], int]], rank: int) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"the rank of a correction is {rank}, expected 1 or more")
        self.places = tuple((tuple(shape), start) for shape, start in places)
        self.left, self.right = torch.nn.ParameterList(), torch.nn.ParameterList()
        for (*lead, n, m), _ in self.places:
            r = min(rank, n, m)
            self.left.append(torch.nn.Parameter(torch.randn(*lead, n, r, dtype=weight.dtype, device=weight.device)))
            self.right.append(torch.nn.Parameter(torch.zeros(*lead, r, m, dtype=weight.dtype, device=weight.device)))

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The corrected parameter."""
        lead = self.left[0].shape[:-2]
        rows = weight.reshape(*lead, -1)
        pieces, end = [], 0
        for (_, start), left, right in zip(self.places, self.left, self.right, strict=True):
            change = (left @ right * left.shape[-1] ** -0.5).flatten(-2)
            pieces += [rows[..., end:start], rows[..., start : start + change.shape[-1]] + change]
            end = start + change.shape[-1]
        return torch.cat([*pieces, rows[..., end:]], dim=-1).view(weight.shape)

    def matrices(self) -> list[Tensor]:
        """The factors, for optimizers that know matrices."""
        return [*self.left, *self.right]

    def extra_repr(self) -> str:
        return ", ".join(
            f"{'×'.join(map(str, shape))} of rank {left.shape[-1]}" for (shape, _), left in zip(self.places, self.left)
        )


def choose_parameters(model: torch.nn.Module, part: str = "all", *, rank: int = 4) -> int:
    """Let only this part of a model be trained, and return the number of parameters that will be.

    ``"readout"`` are the modules of the model named ``readout`` or ``readouts``; ``"lora"`` freezes all weights and puts
    corrections of ``rank`` on the matrices of its layers, those that their ``matrices()`` name: linear maps, self-connections,
    radial networks. Call :func:`merge_corrections` after training. Raises ``ValueError`` for a model without such modules, one
    that has corrections already, or an unknown part.

    >>> from tesseral.models import build, parse_settings
    >>> settings = {"name": "nequip", "species": [1, 8], "num_neighbors": 3.0, "layers": 2, "channels": 8, "lmax": 1}
    >>> model = build(parse_settings(settings))
    >>> [choose_parameters(model, part, rank=2) for part in ("all", "readout", "lora")]
    [12312, 8, 1609]
    """
    if corrected(model):
        raise ValueError("the model has corrections of low rank already: merge_corrections(model) first")
    match part:
        case "all":
            model.requires_grad_(True)
        case "readout":
            heads = readouts(model)
            model.requires_grad_(False)
            for module in heads.values():
                module.requires_grad_(True)
        case "lora":
            model.requires_grad_(False)
            _correct(model, rank)
        case _:
            raise ValueError(f"train_only is {part!r}, expected 'all', 'readout' or 'lora'")
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def readouts(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules of the model named ``readout`` or ``readouts``, under their full names; ``ValueError`` where there is none."""
    found = {name: module for name, module in model.named_modules() if name.rpartition(".")[2] in ("readout", "readouts")}
    if not found:
        raise ValueError(f"{type(model).__name__} has no readout of its own: train all of it, or by lora")
    return found


def corrected(model: torch.nn.Module) -> bool:
    """Whether a model carries corrections of low rank."""
    return any(isinstance(module, LowRank) for module in model.modules())


def merge_corrections(model: torch.nn.Module) -> torch.nn.Module:
    """Add the corrections to the weights: the same function, and the module that it was before. Returns the model.

    >>> model = torch.nn.Identity()
    >>> merge_corrections(model) is model
    True
    """
    for module in list(model.modules()):
        if not parametrize.is_parametrized(module):
            continue
        for name, found in list(module.parametrizations.items()):  # type: ignore[union-attr,operator]
            if any(isinstance(each, LowRank) for each in found):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model


def _correct(model: torch.nn.Module, rank: int) -> None:
    """Put corrections on all matrices; a parameter of a list, as in a perceptron, belongs to the list."""
    owners: dict[Tensor, tuple[torch.nn.Module, str]] = {}  # keyed by identity, as tensors are
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            owners.setdefault(parameter, (module, name))
    places: dict[Tensor, list[tuple[tuple[int, ...], int]]] = {}
    for module in model.modules():
        for matrix in module.matrices() if isinstance(module, HasMatrices) else ():
            whole = matrix if matrix._base is None else matrix._base
            place = tuple(matrix.shape), int(matrix.storage_offset() - whole.storage_offset())
            if whole in owners and matrix.numel() and place not in places.setdefault(whole, []):
                places[whole].append(place)
    if not places:
        raise ValueError(f"no layer of {type(model).__name__} has matrices, which lora would correct: train all of it")
    for whole, found in places.items():
        module, name = owners[whole]
        parametrize.register_parametrization(module, name, LowRank(whole, sorted(found, key=lambda p: p[1]), rank), unsafe=True)
        module.parametrizations[name].original.requires_grad_(False)  # type: ignore[index,union-attr]
