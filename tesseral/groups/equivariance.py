"""The meter: by how much does a function fail to commute with a group?

One function, :func:`equivariance_error`, serves every layer, model, wrapper and approximate method. What an element does to a
tensor is said by a representation: :class:`OfIrreps`, :class:`Positions`, :class:`Cartesian`, :class:`Invariant`,
:class:`NodeIndex`, :class:`Matrices`, or any object with ``transform(element, value)``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tesseral.groups.elements import Element as Element
from tesseral.groups.elements import elements_of, randn
from tesseral.o3 import Irreps


@runtime_checkable
class Representation(Protocol):
    """How the elements of a group act on a value; a random value is drawn by ``sample`` where no input is given."""

    def transform(self, element: Any, value: Any) -> Any:
        """The value after the element has acted."""
        ...


@dataclass(frozen=True)
class OfIrreps:
    """Tensors ``(..., irreps.dim)`` in a layout, which do not see translations."""

    irreps: Irreps
    layout: str = "ir_mul"

    def transform(self, element: Any, value: Tensor) -> Tensor:
        matrix = self.irreps.D_from_matrix(_rotation(element), layout=self.layout)
        return _apply(matrix, value)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        return randn((*shape, self.irreps.dim), generator)


@dataclass(frozen=True)
class Positions:
    """Points ``(..., 3)`` that rotate and translate."""

    def transform(self, element: Any, value: Tensor) -> Tensor:
        moved = _apply(_rotation(element), value)
        translation = getattr(element, "translation", None)
        return moved if translation is None else (moved.double() + translation.to(moved.device)).to(moved.dtype)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        return randn((*shape, 3), generator)


@dataclass(frozen=True)
class Cartesian:
    """Cartesian tensors of a rank, ``(..., 3, ..., 3)``: vectors (rank 1, also rows of a cell), stress (rank 2), elasticity
    (rank 4).

    ``pseudo`` tensors change sign under improper elements in addition.
    """

    rank: int = 1
    pseudo: bool = False

    def transform(self, element: Any, value: Tensor) -> Tensor:
        rotation = _rotation(element).to(value.device)
        result = value.double()
        for axis in range(result.ndim - self.rank, result.ndim):
            result = torch.tensordot(result, rotation, dims=([axis], [1])).movedim(-1, axis)
        if self.pseudo:
            result = result * torch.linalg.det(rotation).round()
        return result.to(value.dtype)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        return randn((*shape, *[3] * self.rank), generator)


@dataclass(frozen=True)
class Invariant:
    """Values that no element changes: energies, species, radial weights; not only tensors."""

    def transform(self, element: Any, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Matrices:
    """Tensors ``(..., n)`` on which an element acts by the ``(n, n)`` matrix ``of(element)``: any group, finite ones too."""

    of: Callable[[Any], Tensor]

    def transform(self, element: Any, value: Tensor) -> Tensor:
        return _apply(self.of(element), value)


@dataclass(frozen=True)
class PerNode:
    """Values with nodes on an axis: they transform by ``each`` and follow the permutation of the nodes."""

    each: Any
    axis: int = 0

    def transform(self, element: Any, value: Tensor) -> Tensor:
        moved = representation(self.each).transform(element, value)
        permutation = getattr(element, "permutation", None)
        return moved if permutation is None else moved.index_select(self.axis, torch.argsort(permutation).to(moved.device))

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        return representation(self.each).sample(shape, generator)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class NodeIndex:
    """Integer tensors that name nodes, such as ``edge_index``: their values follow the permutation."""

    def transform(self, element: Any, value: Tensor) -> Tensor:
        permutation = getattr(element, "permutation", None)
        return value if permutation is None else permutation.to(value.device)[value]


@dataclass(frozen=True)
class EquivarianceError:
    """What :func:`equivariance_error` found; ``float()`` gives the relative error of the worst element.

    ``absolute`` is the largest difference of any component, ``scale`` the root mean square of the outputs,
    ``relative`` their ratio (0 for outputs that vanish identically, infinite for values that are not finite).
    """

    absolute: float
    relative: float
    scale: float
    worst: Any
    output: int
    each: tuple[tuple[str, float], ...]

    def __float__(self) -> float:
        return self.relative

    def __str__(self) -> str:
        note = " (the output vanishes identically: nothing was tested)" if self.scale == 0 else ""
        return (
            f"{self.relative:.1e} relative, {self.absolute:.1e} absolute of {self.scale:.1e}, "
            f"worst of {len(self.each)} elements: {self.worst}, output {self.output}{note}"
        )


def equivariance_error(
    f: Callable[..., Any],
    rep_in: Any,
    rep_out: Any,
    group: Any = "O(3)",
    *,
    inputs: Sequence[Any] | None = None,
    shape: Sequence[int] = (7,),
    samples: int = 3,
    nodes: int | None = None,
    dtype: torch.dtype = torch.float64,
    generator: torch.Generator | None = None,
) -> EquivarianceError:
    r"""Largest deviation :math:`\max_g \| f(g x) - g f(x) \|_\infty` over elements g of a group.

    ``rep_in`` is the representation of the argument of ``f``, or a list of them, one for each argument; ``rep_out`` likewise
    for a result or a tuple of results; a mapping stands for a dictionary. In the place of a representation, ``Irreps`` or its
    string mean :class:`OfIrreps` in the ``ir_mul`` layout, ``None`` means :class:`Invariant` and a callable :class:`Matrices`.

    ``group`` is "O(3)", "E(3)", "SO(3)", "SE(3)" or "permutations", or a continuous group, of which elements are drawn (see
    :func:`sample_elements`); the name of a point group, a point group, a molecule's symmetry or a space group, of which all are
    taken; or an iterable of elements. ``nodes`` permutes that many nodes as well. Without ``inputs``, normal random tensors of
    ``shape`` and ``dtype`` are drawn. The function is called every time with the same state of the random generator, so that
    dropout can be measured.

    Raises ``ValueError`` for an unknown group, no element, or a representation that cannot draw the input that is missing.

    >>> float(equivariance_error(lambda x: 2 * x, "4x0o+2x1e", "4x0o+2x1e")) < 1e-14
    True
    >>> error = equivariance_error(lambda x: x**2, Positions(), "1o", group="E(3)")
    >>> float(error) > 0.1
    True
    """
    generator = torch.Generator("cpu").manual_seed(0) if generator is None else generator
    elements = elements_of(group, samples, nodes, generator)
    if not elements:
        raise ValueError("the group has no elements: give at least one")
    many = isinstance(rep_in, list | tuple)
    reps_in = tuple(representation(rep) for rep in rep_in) if many else (representation(rep_in),)
    reps_out = representation(rep_out)
    if inputs is None:
        inputs = tuple(_draw(rep, elements[0], shape, dtype, generator) for rep in reps_in)
    if len(inputs) != len(reps_in):
        raise ValueError(f"{len(inputs)} inputs for {len(reps_in)} representations: give one for each argument of the function")

    state = torch.get_rng_state()
    call = _Repeatable(f, state)
    try:
        expected_at_identity = call(*inputs)
        scale = _rms(_leaves(expected_at_identity))
        worst, worst_output, absolute, each = elements[0], 0, 0.0, []
        for element in elements:
            actual = _leaves(call(*(rep.transform(element, x) for rep, x in zip(reps_in, inputs, strict=True))))
            expected = _leaves(reps_out.transform(element, expected_at_identity))
            differences = [_difference(a, e) for a, e in zip(actual, expected, strict=True)]
            error = max(differences)
            each.append((str(element), error))
            if error > absolute:
                worst, worst_output, absolute = element, differences.index(error), error
    finally:
        torch.set_rng_state(state)
    relative = absolute / scale if scale > 0 else math.inf if absolute > 0 else 0.0
    if not math.isfinite(scale):
        absolute = relative = math.inf
    return EquivarianceError(absolute, relative, scale, worst, worst_output, tuple(each))


def representation(rep: Any) -> Representation:
    """The representation that a shorthand stands for.

    >>> representation("2x1o").irreps.dim, representation(None)
    (6, Invariant())
    """
    if rep is None:
        return Invariant()
    if isinstance(rep, str | Irreps):
        return OfIrreps(Irreps(rep))
    if isinstance(rep, Mapping):
        return _Fields(tuple((key, representation(value)) for key, value in rep.items()))
    if isinstance(rep, list | tuple):
        return _Several(tuple(representation(r) for r in rep))
    if isinstance(rep, Representation):
        return rep
    if callable(rep):
        return Matrices(rep)
    raise ValueError(
        f"{rep!r} is no representation: give irreps, a representation of this module, or a function element -> matrix"
    )


@dataclass(frozen=True)
class _Several:
    each: tuple[Representation, ...]

    def transform(self, element: Any, value: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(rep.transform(element, v) for rep, v in zip(self.each, value, strict=True))


@dataclass(frozen=True)
class _Fields:
    each: tuple[tuple[str, Representation], ...]

    def transform(self, element: Any, value: Mapping[str, Any]) -> dict[str, Any]:
        moved = {key: rep.transform(element, value[key]) for key, rep in self.each}
        return {key: moved.get(key, value[key]) for key in value}


@dataclass(frozen=True)
class _Repeatable:
    """A function that finds the random generator in the same state at every call."""

    f: Callable[..., Any]
    state: Tensor

    def __call__(self, *inputs: Any) -> Any:
        torch.set_rng_state(self.state)
        return self.f(*inputs)


def _rotation(element: Any) -> Tensor:
    rotation = getattr(element, "rotation", None)
    if rotation is None:
        raise ValueError(f"{element!r} has no rotation: give elements of O(3), or representations by Matrices(element -> matrix)")
    return torch.as_tensor(rotation, dtype=torch.float64)


def _apply(matrix: Tensor, value: Tensor) -> Tensor:
    """``matrix`` on the last axis, in float64, so that the meter adds no error to a float32 value."""
    high = torch.complex128 if matrix.is_complex() or value.is_complex() else torch.float64
    moved = value.to(high) @ matrix.to(device=value.device, dtype=high).T
    return moved if high == torch.complex128 else moved.to(value.dtype)


def _draw(rep: Representation, element: Any, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if isinstance(rep, Matrices):
        return randn((*shape, rep.of(element).shape[-1]), generator).to(dtype)
    if not hasattr(rep, "sample"):
        raise ValueError(f"{rep} does not say which values to draw: pass inputs=(...)")
    return rep.sample(shape, generator).to(dtype)


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for key in value for leaf in _leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [torch.as_tensor(value)]


def _rms(tensors: Sequence[Tensor]) -> float:
    flat = [t.detach().abs().double().flatten() for t in tensors if t.numel()]
    return float(torch.cat(flat).square().mean().sqrt()) if flat else 0.0


def _difference(actual: Tensor, expected: Tensor) -> float:
    if actual.shape != expected.shape:
        raise ValueError(
            f"the function returned shape {tuple(actual.shape)} for the transformed input, {tuple(expected.shape)} before"
        )
    if not actual.numel():
        return 0.0
    high = torch.complex128 if actual.is_complex() or expected.is_complex() else torch.float64
    error = float((actual.detach().to(high) - expected.detach().to(high)).abs().max())
    return error if math.isfinite(error) else math.inf
