"""Elements of groups, to act on data: motions and permutations; all of a finite group, some of the others."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

GROUPS = ("SO(3)", "O(3)", "SE(3)", "E(3)", "permutations")


@dataclass(frozen=True, eq=False)
class Element:
    """An element of E(3) × S_n: the point r of node i moves to ``rotation @ r + translation`` and becomes node
    ``permutation[i]``.

    ``rotation`` is a matrix of O(3), so it may be improper; ``permutation=None`` leaves the nodes where they are.
    """

    rotation: Tensor
    translation: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64, device="cpu"))
    permutation: Tensor | None = None
    name: str = "element"

    def __str__(self) -> str:
        return self.name


def elements_of(group: Any, samples: int, nodes: int | None, generator: torch.Generator) -> list[Any]:
    """The elements that the meter tries: drawn from a continuous group, all of a finite one, or those that are given.

    With ``nodes``, each element of a point group permutes that many nodes at random as well.
    """
    if isinstance(group, str):
        if group in GROUPS:
            return sample_elements(group, samples, nodes, generator)
        group = _point_group(group)
    if hasattr(group, "sample"):
        group = group.sample(samples, generator)
    found = [_element(g) for g in group]
    if nodes is None:
        return found
    if any(getattr(g, "permutation", None) is not None for g in found):
        raise ValueError("the elements permute nodes already: leave out nodes")
    return [Element(g.rotation, g.translation, torch.randperm(nodes, generator=generator), g.name) for g in found]


def sample_elements(group: str, samples: int, nodes: int | None, generator: torch.Generator) -> list[Element]:
    """Elements of SO(3), O(3), SE(3) or E(3): random rotations, and for O(3) and E(3) the inversion, a mirror and rotoinversions.

    The groups of motions get a random translation with each; ``nodes`` adds a random permutation with each. Of the permutations
    of ``nodes`` nodes, those that exchange neighbours, which generate all, and ``samples`` random ones.

    >>> [str(g) for g in sample_elements("O(3)", 1, None, torch.Generator().manual_seed(0))]
    ['inversion', 'mirror z', 'rotation 0', 'rotoinversion 0']
    >>> [str(g) for g in sample_elements("permutations", 1, 3, torch.Generator().manual_seed(0))]
    ['(0 1)', '(1 2)', 'permutation (0 2 1)']
    """
    if group not in GROUPS:
        raise ValueError(f"unknown group {group!r}: expected one of {', '.join(GROUPS)}, or an iterable of elements")
    if group == "permutations":
        return _permutations(samples, nodes, generator)
    improper, moving = group in ("O(3)", "E(3)"), group in ("SE(3)", "E(3)")
    identity = torch.eye(3, dtype=torch.float64, device="cpu")
    chosen = []
    if improper:
        chosen += [("inversion", -identity), ("mirror z", torch.diag(torch.tensor([1.0, 1, -1], dtype=torch.float64)))]
    if moving:
        chosen.append(("translation", identity))
    if nodes is not None:
        chosen.append(("permutation", identity))
    for i in range(samples):
        rotation = random_rotation(generator)
        chosen.append((f"rotation {i}", rotation))
        if improper:
            chosen.append((f"rotoinversion {i}", -rotation))
    return [
        Element(
            rotation,
            randn((3,), generator) if moving and name != "permutation" else torch.zeros(3, dtype=torch.float64, device="cpu"),
            None if nodes is None else torch.randperm(nodes, generator=generator),
            name,
        )
        for name, rotation in chosen
    ]


def random_rotation(generator: torch.Generator) -> Tensor:
    """A rotation matrix (3, 3), float64, uniform over SO(3) (Haar): a normal quaternion, normalised.

    >>> R = random_rotation(torch.Generator().manual_seed(0))
    >>> torch.allclose(R @ R.T, torch.eye(3, dtype=R.dtype)), round(float(torch.linalg.det(R)), 12)
    (True, 1.0)
    """
    w, x, y, z = torch.nn.functional.normalize(randn((4,), generator), dim=0).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
        device="cpu",
    )


def randn(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Normal random numbers in float64 on the CPU."""
    return torch.randn(*shape, dtype=torch.float64, device="cpu", generator=generator)


def _permutations(samples: int, nodes: int | None, generator: torch.Generator) -> list[Element]:
    if nodes is None or nodes < 2:
        raise ValueError(f"permutations of {nodes} nodes: give nodes=..., at least 2")
    exchanges = []
    for i in range(nodes - 1):
        order = torch.arange(nodes)
        order[i], order[i + 1] = i + 1, i
        exchanges.append(("", order))
    drawn = [("permutation ", torch.randperm(nodes, generator=generator)) for _ in range(samples)]
    identity = torch.eye(3, dtype=torch.float64, device="cpu")
    return [
        Element(identity, permutation=order, name=f"{word}{_cycles(order.tolist())}")
        for word, order in itertools.chain(exchanges, drawn)
    ]


def _cycles(order: Sequence[int]) -> str:
    """A permutation as its cycles: "(0 2 1)"."""
    text, seen = "", set[int]()
    for start in range(len(order)):
        cycle, i = [], start
        while i not in seen:
            seen.add(i)
            cycle.append(i)
            i = order[i]
        if len(cycle) > 1:
            text += f"({' '.join(map(str, cycle))})"
    return text or "()"


def _point_group(name: str) -> Iterable[Element]:
    from tesseral.groups.point_group import point_group

    try:
        return point_group(name)
    except ValueError as error:
        raise ValueError(
            f"unknown group {name!r}: expected one of {', '.join(GROUPS)}, a point group such as 'Oh' or '-3m', "
            "or an iterable of elements"
        ) from error


def _element(g: Any) -> Any:
    """A bare 3x3 matrix becomes an element of O(3); elements of other groups stay what they are."""
    if isinstance(g, Tensor | np.ndarray) and tuple(g.shape) == (3, 3):
        return Element(torch.as_tensor(g, dtype=torch.float64, device="cpu"), name="matrix")
    return g
