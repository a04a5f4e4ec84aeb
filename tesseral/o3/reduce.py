r"""Tensors with symmetric or antisymmetric indices, reduced to irreps by an orthonormal change of basis; Cartesian tensors.

A formula such as ``"ij=ji"``, ``"ijk=-jik"`` or ``"ijkl=jikl=klij"`` generates a group G of signed permutations of the indices.
In the space of the tensors that it allows, the change of basis Q has one row for each component of each irrep,

.. math:: \sum_{ij\ldots} Q_{a,ij\ldots} Q_{b,ij\ldots} = \delta_{ab}, \qquad
          Q_{a,ij\ldots} = \sum_{b,i'j'\ldots} D_{ab} Q_{b,i'j'\ldots} D_{ii'} D_{jj'} \cdots .

Each index is a direct sum of irreps, so the tensor falls into blocks, one for each choice of an irrep per index, and G permutes
blocks. One block of each orbit is enough, with its stabiliser in G: the problems are as small as the irreps, and equal ones are
solved once. Inside a block the paths of coupling the indices from left to right are a complete orthonormal basis, on which the
projection to the symmetry is a small matrix for each irrep, the same for each of its components.

**Signs and copies** are e3nn's: the coefficients of the copies of an irrep are orthonormalised path by path, in e3nn's order
of paths (by the irreps they pass through, the last one first, then by the irreps of the indices), with the couplings of the
Clebsch-Gordan convention. So the first path in which a copy takes part has a positive coefficient, and no later copy takes part.
"""

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3.clebsch_gordan import Convention, wigner_3j_array
from tesseral.o3.irreps import Irrep, Irreps, IrrepsLike
from tesseral.o3.layout import permutation

Permutation = tuple[int, ...]
Group = tuple[tuple[Permutation, int], ...]  # permutations with signs, sorted


@dataclass(frozen=True, eq=False)
class ReducedTensor:
    """A tensor space with index symmetries as a sum of irreps.

    ``change_of_basis`` has shape (irreps_out.dim, *(irreps.dim for irreps in irreps_in)), is orthonormal and read-only;
    ``irreps_out`` is sorted and simplified. Input and output are in layout mul_ir.
    """

    formula: str
    irreps_in: tuple[Irreps, ...]
    irreps_out: Irreps
    change_of_basis: np.ndarray


def reduce_tensor(
    formula: str,
    filter_ir_out: Iterable[str | Irrep] | None = None,
    filter_ir_mid: Iterable[str | Irrep] | None = None,
    convention: Convention = "0.6",
    **irreps: IrrepsLike,
) -> ReducedTensor:
    """Reduce a tensor with the index symmetries of ``formula`` to irreps; results are cached.

    Each index letter is given its irreps by name; indices that the formula exchanges share them. ``filter_ir_out`` keeps only
    these irreps of the result, ``filter_ir_mid`` only tensors whose couplings from left to right pass through these irreps, the
    last one included.

    Raises ``ValueError`` for a formula that is no permutation of its indices or that makes every tensor vanish by contradiction
    (T = -T), for an index without irreps, and for exchanged indices with different irreps.

    >>> reduce_tensor("ij=ji", i="1o").irreps_out
    1x0e+1x2e
    >>> reduce_tensor("ijk=jik=ikj", i="0e+1o").irreps_out
    2x0e+2x1o+1x2e+1x3o
    >>> reduce_tensor("ij", i="1o", j="1e").change_of_basis.shape
    (9, 3, 3)
    """
    indices, group = symmetry_group(formula)
    spaces = _irreps_of_indices(indices, group, {letter: Irreps(value) for letter, value in irreps.items()})
    out = None if filter_ir_out is None else frozenset(Irrep(ir) for ir in filter_ir_out)
    mid = None if filter_ir_mid is None else frozenset(Irrep(ir) for ir in filter_ir_mid)
    irreps_out, change_of_basis = _reduce(spaces, group, out, mid, convention)
    return ReducedTensor(formula, spaces, irreps_out, change_of_basis)


def symmetry_group(formula: str) -> tuple[str, Group]:
    """The indices of a formula and the group of signed permutations that it generates.

    A permutation p with sign s says that ``T == s * T.transpose(p)``. Raises ``ValueError`` as :func:`reduce_tensor` does.

    >>> symmetry_group("ij=-ji")
    ('ij', (((0, 1), 1), ((1, 0), -1)))
    """
    terms = [term.strip() for term in formula.split("=")]
    indices = terms[0]
    if not indices.isalpha() or len(set(indices)) != len(indices):
        raise ValueError(f"formula {formula!r} must begin with distinct letters, one for each index, as in 'ij=ji'")
    generators = []
    for term in terms[1:]:
        letters = term.removeprefix("-").strip()
        if sorted(letters) != sorted(indices):
            raise ValueError(f"formula {formula!r}: {letters!r} is not a permutation of {indices!r}")
        generators.append((tuple(letters.index(letter) for letter in indices), -1 if term.startswith("-") else 1))
    identity = tuple(range(len(indices)))
    signs = {identity: 1}
    frontier = [identity]
    while frontier:
        p = frontier.pop()
        for q, sign in generators:
            product = tuple(p[i] for i in q)
            if product not in signs:
                signs[product] = sign * signs[p]
                frontier.append(product)
            elif signs[product] != sign * signs[p]:
                raise ValueError(f"formula {formula!r} contradicts itself: it says T = -T, so every tensor vanishes")
    return indices, tuple(sorted(signs.items()))


class CartesianTensor:
    r"""Cartesian tensors with index symmetries as features: (..., 3, 3, ...) to (..., irreps.dim) and back.

    The maps are orthonormal: ``to_cartesian`` inverts ``from_cartesian`` on tensors with the symmetry, and
    ``to_cartesian(from_cartesian(t))`` projects any tensor to that symmetry. The basis is computed once, on construction
    (and once per process for each formula). Instances are immutable, compare by their arguments, and can be pickled, compiled and
    exported. Signs are e3nn's, see the module; ``layout`` is that of the features.

    Raises ``ValueError`` for a bad formula (see :func:`reduce_tensor`) and for tensors of the wrong shape.

    >>> stress = CartesianTensor("ij=ji")
    >>> stress.irreps
    1x0e+1x2e
    >>> stress.from_cartesian(torch.eye(3))
    tensor([1.7321, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000])
    >>> CartesianTensor("ijkl=jikl=klij").irreps
    2x0e+2x2e+1x4e
    """

    formula: str
    layout: str
    convention: Convention
    indices: str
    irreps: Irreps
    change_of_basis: Tensor

    def __init__(self, formula: str, layout: str = "mul_ir", convention: Convention = "0.6") -> None:
        indices, _ = symmetry_group(formula)
        reduced = reduce_tensor(formula, convention=convention, **dict.fromkeys(indices, "1o"))
        rows = permutation(reduced.irreps_out, "mul_ir", layout)
        self.formula, self.layout, self.convention = formula, layout, convention
        self.indices, self.irreps = indices, reduced.irreps_out
        self.change_of_basis = torch.from_numpy(reduced.change_of_basis[rows])  # indexing makes a copy

    def from_cartesian(self, tensor: Float[Tensor, "..."]) -> Float[Tensor, "*batch dim"]:
        """Features of tensors (..., 3, 3, ...); the part without the symmetry is dropped."""
        rank = len(self.indices)
        if tensor.ndim < rank or tensor.shape[tensor.ndim - rank :] != (3,) * rank:
            raise ValueError(f"a tensor {self.formula} has {rank} last axes of size 3, got shape {tuple(tensor.shape)}")
        return tensor.flatten(tensor.ndim - rank) @ self._matrix(tensor).T

    def to_cartesian(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "..."]:
        """Tensors (..., 3, 3, ...) of features (..., irreps.dim)."""
        if features.shape[-1:] != (self.irreps.dim,):
            raise ValueError(f"features of {self.formula} have {self.irreps.dim} components, got shape {tuple(features.shape)}")
        return (features @ self._matrix(features)).unflatten(-1, (3,) * len(self.indices))

    def from_vectors(self, *vectors: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*batch dim"]:
        """Features of the product of one vector (..., 3) for each index; the shapes (...) broadcast.

        >>> CartesianTensor("ij=-ji").from_vectors(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
        tensor([0.0000, 0.0000, 0.7071])
        """
        if len(vectors) != len(self.indices):
            raise ValueError(f"a tensor {self.formula} is made of {len(self.indices)} vectors, got {len(vectors)}")
        product = vectors[0]
        for vector in vectors[1:]:
            product = (product[..., :, None] * vector[..., None, :]).flatten(-2)
        return product @ self._matrix(product).T

    def _matrix(self, like: Tensor) -> Tensor:
        return self.change_of_basis.flatten(1).to(dtype=like.dtype, device=like.device)

    def __repr__(self) -> str:
        return f"CartesianTensor({self.formula!r}, {self.irreps}, layout={self.layout!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CartesianTensor) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def __reduce__(self) -> tuple[type, tuple[str, str, Convention]]:
        return CartesianTensor, (self.formula, self.layout, self.convention)


# ---- the reduction


class _Paths(NamedTuple):
    """The ways of coupling one irrep per index, from left to right, to one irrep: orthonormal.

    ``through`` names the intermediate irreps of each, the last one first; ``tensors`` are (paths, 2l+1, *dims).
    """

    through: list[tuple[Irrep, ...]]
    tensors: np.ndarray


class _Placement(NamedTuple):
    """Where a tensor of a block goes in the whole: the block, the order of its axes, and the sign."""

    block: tuple[int, ...]
    axes: Permutation
    sign: int

    def apply(self, tensors: np.ndarray) -> np.ndarray:
        """The images of tensors (copies, ...)."""
        return self.sign * tensors.transpose(0, *(1 + axis for axis in self.axes))


def _irreps_of_indices(indices: str, group: Group, given: dict[str, Irreps]) -> tuple[Irreps, ...]:
    for letter in given:
        if letter not in indices:
            raise ValueError(f"irreps are given for {letter!r}, which is not an index of {indices!r}")
    spaces = []
    for position, letter in enumerate(indices):
        exchanged = [other for p, _ in group if (other := indices[p[position]]) in given]
        if not exchanged:
            raise ValueError(f"index {letter!r} has no irreps: give them by name, as in reduce_tensor(..., {letter}='1o')")
        different = {other: given[other] for other in exchanged}
        if len(set(different.values())) > 1:
            raise ValueError(f"indices that the formula exchanges must have the same irreps, got {different}")
        spaces.append(given[exchanged[0]])
    return tuple(spaces)


@functools.lru_cache(maxsize=32)
def _reduce(
    spaces: tuple[Irreps, ...],
    group: Group,
    filter_ir_out: frozenset[Irrep] | None,
    filter_ir_mid: frozenset[Irrep] | None,
    convention: Convention,
) -> tuple[Irreps, np.ndarray]:
    pieces: list[tuple[Irrep, Any, np.ndarray, list[_Placement]]] = []
    blocks = [[ir for mul, ir in space for _ in range(mul)] for space in spaces]
    for block in itertools.product(*(range(len(irs)) for irs in blocks)):
        orbit: dict[tuple[int, ...], _Placement] = {}
        for p, sign in group:
            image = tuple(block[i] for i in p)
            orbit.setdefault(image, _Placement(image, p, sign))
        if block != min(orbit):
            continue
        placements = list(orbit.values())
        irs_of = [tuple(irs[i] for irs, i in zip(blocks, placed)) for placed in orbit]
        stabiliser = tuple((p, sign) for p, sign in group if all(block[i] == j for i, j in zip(p, block)))
        block_irs = tuple(irs[i] for irs, i in zip(blocks, block))
        for ir, tensors in _reduce_block(block_irs, stabiliser, group if filter_ir_mid else (), filter_ir_mid, convention):
            if filter_ir_out is None or ir in filter_ir_out:
                paths = [_first_components(irs, filter_ir_mid, convention).get(ir) for irs in irs_of]
                keys, mixing = _canonical(tensors, placements, paths)
                tensors = np.tensordot(mixing, tensors, 1) / len(orbit) ** 0.5
                tensors[np.abs(tensors) < 1e-13] = 0.0
                pieces += [(ir, key, tensor, placements) for key, tensor in zip(keys, tensors)]
    pieces.sort(key=lambda piece: piece[:2])

    irreps_out = Irreps([(1, ir) for ir, *_ in pieces]).simplify()
    change_of_basis = np.zeros((irreps_out.dim, *(space.dim for space in spaces)))
    slices = [[slice(end - ir.dim, end) for ir, end in zip(irs, itertools.accumulate(ir.dim for ir in irs))] for irs in blocks]
    row = 0
    for ir, _, tensor, placements in pieces:
        for placement in placements:
            place = (slice(row, row + ir.dim), *(slices[axis][i] for axis, i in enumerate(placement.block)))
            change_of_basis[place] = placement.apply(tensor)
        row += ir.dim
    change_of_basis.flags.writeable = False
    return irreps_out, change_of_basis


def _canonical(
    tensors: np.ndarray, placements: list[_Placement], paths: list[_Paths | None]
) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """The orthogonal mixing of copies that makes them e3nn's, and for each copy the path that comes first, to sort by.

    Gram-Schmidt on the coefficients of the copies, path by path in e3nn's order: by intermediate irreps, then by block.
    """
    rows, keys = [], []
    for placement, placed in zip(placements, paths):
        if placed is not None:
            images = placement.apply(tensors[:, 0])
            rows.append(placed.tensors.reshape(len(placed.tensors), -1) @ images.reshape(len(images), -1).T)
            keys += [(*through, *placement.block) for through in placed.through]
    coefficients = np.concatenate(rows)
    basis, chosen = np.zeros((0, len(tensors))), []
    for i in sorted(range(len(keys)), key=keys.__getitem__):
        residual = coefficients[i] - basis.T @ (basis @ coefficients[i])
        if np.linalg.norm(residual) > 1e-6:
            residual -= basis.T @ (basis @ residual)  # again, for the rounding errors of a short residual
            basis = np.vstack([basis, residual / np.linalg.norm(residual)])
            chosen.append(keys[i])
            if len(basis) == len(tensors):
                break
    return chosen, basis


@functools.lru_cache(maxsize=256)
def _reduce_block(
    irs: tuple[Irrep, ...],
    stabiliser: Group,
    group: Group,
    filter_ir_mid: frozenset[Irrep] | None,
    convention: Convention,
) -> list[tuple[Irrep, np.ndarray]]:
    """The tensors of one irrep per index with the symmetry ``stabiliser``: orthonormal (copies, 2l+1, *dims) for each irrep.

    ``group`` matters for the filter only: tensors must pass through it in every order of the indices that the group knows.
    """
    result = []
    firsts = _first_components(irs, filter_ir_mid, convention)
    for ir, couplings in _couplings(irs, filter_ir_mid, convention).items():
        first = firsts[ir].tensors
        rows = first.reshape(len(first), -1)
        symmetrised = np.zeros_like(first)
        for p, sign in stabiliser:
            symmetrised += _Placement((), p, sign).apply(first)
        projectors = rows @ symmetrised.reshape(rows.shape).T / len(stabiliser)
        for p, _ in group:
            paths = _first_components(tuple(irs[i] for i in p), filter_ir_mid, convention).get(ir)
            if paths is not None:
                back = _Placement((), tuple(np.argsort(p)), 1).apply(paths.tensors)
                overlap = rows @ back.reshape(len(back), -1).T
                projectors += overlap @ overlap.T
        eigenvalues, eigenvectors = np.linalg.eigh(projectors / (len(group) + 1))
        common = eigenvectors[:, eigenvalues > 1 - 1e-9]
        if common.size:
            result.append((ir, np.tensordot(common.T, couplings.tensors, 1)))
    return result


@functools.lru_cache(maxsize=64)
def _couplings(irs: tuple[Irrep, ...], filter_ir_mid: frozenset[Irrep] | None, convention: Convention) -> dict[Irrep, _Paths]:
    if len(irs) == 1:
        return {irs[0]: _Paths([()], np.eye(irs[0].dim)[None])}
    return _couple_last(irs, filter_ir_mid, convention, slice(None))


@functools.lru_cache(maxsize=512)
def _first_components(
    irs: tuple[Irrep, ...], filter_ir_mid: frozenset[Irrep] | None, convention: Convention
) -> dict[Irrep, _Paths]:
    """The first components (paths, *dims) only: the multiplicities, and so all linear algebra, are the same in each."""
    if len(irs) == 1:
        return {irs[0]: _Paths([()], np.eye(irs[0].dim)[:1])}
    paths = _couple_last(irs, filter_ir_mid, convention, slice(1))
    return {ir: _Paths(through, tensors.squeeze(1)) for ir, (through, tensors) in paths.items()}


def _couple_last(
    irs: tuple[Irrep, ...], filter_ir_mid: frozenset[Irrep] | None, convention: Convention, components: slice
) -> dict[Irrep, _Paths]:
    paths: dict[Irrep, tuple[list[tuple[Irrep, ...]], list[np.ndarray]]] = {}
    for left, (through, tensors) in _couplings(irs[:-1], filter_ir_mid, convention).items():
        for ir in left * irs[-1]:
            if filter_ir_mid is None or ir in filter_ir_mid:
                w = ir.dim**0.5 * wigner_3j_array(ir.l, left.l, irs[-1].l, convention)[components]
                coupled = np.tensordot(tensors, w, ([1], [1]))  # (paths, *dims, components, last)
                names, arrays = paths.setdefault(ir, ([], []))
                names += [(left, *names_before) for names_before in through] if len(irs) > 2 else through
                arrays.append(np.moveaxis(coupled, -2, 1))
    return {ir: _Paths(names, np.concatenate(arrays)) for ir, (names, arrays) in sorted(paths.items())}
