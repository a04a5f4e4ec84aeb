"""Permutations as tuples, p: i -> p[i]: products, groups, representations, and tensors with index symmetries.

The names, the numbering of permutations and the order of bases are those of e3nn's ``math.perm`` and ``math``.
"""

import itertools
import math
import random
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3.linear_algebra import complete_basis

Permutation = tuple[int, ...]
Device = torch.device | str | None


def is_perm(p: Permutation) -> bool:
    """Whether ``p`` lists each of 0, ..., len(p) - 1 once.

    >>> is_perm((1, 0, 2)), is_perm((1, 1)), is_perm((0, 0, 1))
    (True, False, False)
    """
    return sorted(p) == list(range(len(p)))


def identity(n: int) -> Permutation:
    """The permutation of n things that moves none."""
    return tuple(range(n))


def compose(p: Permutation, q: Permutation) -> Permutation:
    """The product p q, q first. Raises ``ValueError`` for what are not permutations of as many things.

    >>> compose((1, 2, 0), (1, 0, 2))
    (2, 1, 0)
    """
    if len(p) != len(q) or not is_perm(p) or not is_perm(q):
        raise ValueError(f"{p} and {q} are not permutations of as many things")
    return tuple(p[i] for i in q)


def inverse(p: Permutation) -> Permutation:
    """The inverse.

    >>> inverse((1, 2, 0))
    (2, 0, 1)
    """
    result = [0] * len(p)
    for i, image in enumerate(p):
        result[image] = i
    return tuple(result)


def rand(n: int, generator: random.Random | None = None) -> Permutation:
    """A random permutation of n things, all equally probable."""
    number = math.factorial(n)
    return from_int((generator or random).randrange(number), n)  # type: ignore[union-attr]


def from_int(number: int, n: int) -> Permutation:
    """The permutation with this number, from 0 to n! - 1.

    >>> from_int(0, 3), from_int(1, 3)
    ((0, 1, 2), (1, 0, 2))
    """
    left, p = list(range(n)), []
    for size in range(n, 0, -1):
        number, place = divmod(number, size)
        p.append(left.pop(place))
    return tuple(p)


def to_int(p: Permutation) -> int:
    """The number of a permutation, see :func:`from_int`.

    >>> to_int(from_int(4, 3))
    4
    """
    left, number, unit = list(range(len(p))), 0, 1
    for image in p:
        place = left.index(image)
        number, unit = number + place * unit, unit * len(left)
        left.pop(place)
    return number


def group(n: int) -> set[Permutation]:
    """The symmetric group: all n! permutations of n things.

    >>> len(group(4))
    24
    """
    return set(itertools.permutations(range(n)))


def germinate(subset: Iterable[Permutation]) -> set[Permutation]:
    """The group that permutations generate.

    >>> len(germinate({(1, 2, 3, 0)}))
    4
    """
    generators = list(subset)
    found = {identity(len(p)) for p in generators[:1]}
    frontier = list(found)
    while frontier:  # in a finite group, products of the generators reach inverses too
        new = {compose(q, p) for p in frontier for q in generators} - found
        found |= new
        frontier = list(new)
    return found


def is_group(permutations: Iterable[Permutation]) -> bool:
    """Whether a set of permutations is closed: it is the group that it generates.

    >>> is_group({(0, 1), (1, 0)}), is_group({(1, 0)}), is_group(set())
    (True, False, False)
    """
    permutations = set(permutations)
    return bool(permutations) and germinate(permutations) == permutations


def to_cycles(p: Permutation) -> set[Permutation]:
    """The cycles of two and more things, each from its smallest.

    >>> to_cycles((1, 0, 2, 4, 3)) == {(0, 1), (3, 4)}
    True
    """
    cycles, seen = set(), set()
    for start in range(len(p)):
        cycle, i = [], start
        while i not in seen:
            seen.add(i)
            cycle.append(i)
            i = p[i]
        if len(cycle) > 1:
            cycles.add(tuple(cycle))
    return cycles


def sign(p: Permutation) -> int:
    """1 for an even permutation, -1 for an odd one.

    >>> sign((1, 0, 2)), sign((1, 2, 0))
    (-1, 1)
    """
    return (-1) ** sum(len(cycle) - 1 for cycle in to_cycles(p))


def natural_representation(p: Permutation, dtype: torch.dtype | None = None, device: Device = None) -> Float[Tensor, "n n"]:
    """The matrix that takes unit vector i to unit vector p[i].

    >>> natural_representation((1, 2, 0)) @ torch.tensor([1.0, 0.0, 0.0])
    tensor([0., 1., 0.])
    """
    return torch.eye(len(p), dtype=dtype, device=device)[list(inverse(p))]


def standard_representation(p: Permutation, dtype: torch.dtype | None = None, device: Device = None) -> Float[Tensor, "m m"]:
    """The irrep of dimension n - 1: the natural representation on vectors whose sum is zero.

    >>> standard_representation((1, 0)).round()
    tensor([[-1.]])
    """
    basis = complete_basis(torch.ones(1, len(p), dtype=dtype, device=device), eps=0.1 / len(p))
    return basis @ natural_representation(p, basis.dtype, device) @ basis.T


def germinate_formulas(formula: str) -> tuple[str, set[tuple[int, Permutation]]]:
    """The indices of a formula such as ``"ij=-ji"`` and the group of signed permutations that it generates.

    A formula that contradicts itself gives a permutation with both signs (:func:`~tesseral.o3.reduce.symmetry_group` refuses
    it). Raises ``ValueError`` for one that is no permutation of its indices.

    >>> germinate_formulas("ij=-ji")[1] == {(1, (0, 1)), (-1, (1, 0))}
    True
    """
    terms = [(-1 if term.startswith("-") else 1, term.removeprefix("-").strip()) for term in map(str.strip, formula.split("="))]
    first, indices = terms[0]
    if first != 1 or len(set(indices)) != len(indices):
        raise ValueError(f"formula {formula!r} must begin with distinct letters without a sign")
    for _, letters in terms:
        if sorted(letters) != sorted(indices):
            raise ValueError(f"formula {formula!r}: {letters!r} is not a permutation of {indices!r}")
    n = len(indices)
    # the sign is carried by two more things, exchanged by each minus
    tails = {1: (n, n + 1), -1: (n + 1, n)}
    whole = germinate({(*(letters.index(i) for i in indices), *tails[s]) for s, letters in terms})
    return indices, {(1 if p[n] == n else -1, p[:n]) for p in whole}


def reduce_permutation(
    indices: str, formulas: Iterable[tuple[int, Permutation]], **dims: int
) -> tuple[Float[np.ndarray, "..."], list[list[tuple[int, Permutation]]]]:
    """An orthonormal basis of the tensors with an index symmetry, and which elements each of its tensors has, with signs.

    ``indices`` and ``formulas`` are those of :func:`germinate_formulas`; ``dims`` gives the dimension of each index by its
    letter (one of those that are exchanged is enough). The basis is ``(number, dim_i, dim_j, ...)``. Raises ``ValueError`` for an
    index without a dimension, and exchanged ones with different dimensions.

    >>> basis, elements = reduce_permutation(*germinate_formulas("ij=-ji"), i=2)
    >>> basis.shape, elements
    ((1, 2, 2), [[(-1, (0, 1)), (1, (1, 0))]])
    """
    formulas = list(formulas)
    shape = []
    for i, letter in enumerate(indices):
        given = {dims[indices[p[i]]] for _, p in formulas if indices[p[i]] in dims} | (
            {dims[letter]} if letter in dims else set()
        )
        if len(given) != 1:
            what = "has no dimension" if not given else f"is exchanged with one of another dimension: {sorted(given)}"
            raise ValueError(f"index {letter!r} of {indices!r} {what}")
        shape.append(given.pop())
    orbits, seen = [], set()
    for x in itertools.product(*map(range, shape)):
        if x in seen:
            continue
        orbit = {(s, tuple(x[i] for i in p)) for s, p in formulas}
        seen |= {y for _, y in orbit}
        if (-1, x) not in orbit:
            orbits.append(sorted([sorted(orbit), sorted((-s, y) for s, y in orbit)]))
    basis = np.zeros((len(orbits), *shape))
    elements = []
    for tensor, both in zip(basis, sorted(orbits)):
        chosen = max(both, key=lambda orbit: sum(s for s, _ in orbit))
        for s, y in chosen:
            tensor[y] = s / len(chosen) ** 0.5
        elements.append(chosen)
    return basis, elements
