"""A tensor that knows how it transforms: irreps and layout beside the numbers.

A plain frozen dataclass and a pytree, not a subclass of ``Tensor``: ``torch.func``, ``torch.compile`` and autograd see the array
inside. Layers take plain tensors, so this is for data, analysis and glue, where a wrong layout or a sum of unlike irreps should
be an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from tesseral.o3.irreps import Irreps, IrrepsLike
from tesseral.o3.layout import check_layout, to_layout
from tesseral.o3.rotations import rotation_vector_to_matrix


@dataclass(frozen=True, eq=False, init=False, repr=False)
class IrrepsTensor:
    """Features ``array`` (..., irreps.dim) with their irreps and layout.

    Indexing takes the leading axes, and names irreps on the last: ``x[0]``, ``x[..., "2x1o"]``, ``x["2x1o"]``. Raises
    ``ValueError`` where the array does not have the dimension of the irreps.

    >>> x = IrrepsTensor("2x0e+1x1o", torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    >>> x
    2x0e+1x1o (mul_ir) tensor([[1., 2., 3., 4., 5.]])
    >>> x["1o"].array + x[0].filter("1o").array
    tensor([[ 6.,  8., 10.]])
    >>> (2 * x - x).transform_by_matrix(-torch.eye(3)).array
    tensor([[ 1.,  2., -3., -4., -5.]])
    """

    irreps: Irreps
    array: Tensor
    layout: str = "mul_ir"

    def __init__(self, irreps: IrrepsLike, array: Tensor, layout: str = "mul_ir") -> None:
        irreps = Irreps(irreps)
        check_layout(layout)
        if array.ndim < 1 or array.shape[-1] != irreps.dim:
            raise ValueError(f"{irreps} has dimension {irreps.dim}, got an array of shape {tuple(array.shape)}")
        for name, value in (("irreps", irreps), ("array", array), ("layout", layout)):
            object.__setattr__(self, name, value)

    # ---- making

    @staticmethod
    def from_chunks(irreps: IrrepsLike, chunks: Sequence[Float[Tensor, "..."]], layout: str = "mul_ir") -> IrrepsTensor:
        """From one tensor (..., mul, 2l+1) for each block. Raises ``ValueError`` for chunks that do not fit.

        >>> IrrepsTensor.from_chunks("2x0e+1o", [torch.ones(2, 1), torch.zeros(1, 3)]).array
        tensor([1., 1., 0., 0., 0.])
        """
        irreps = Irreps(irreps)
        expected = [(mul, ir.dim) for mul, ir in irreps]
        if not chunks or [tuple(c.shape[-2:]) for c in chunks] != expected:
            raise ValueError(f"chunks of {irreps} end in {expected}, got {[tuple(c.shape) for c in chunks]}")
        pieces = [(c if layout == "mul_ir" else c.transpose(-1, -2)).flatten(-2) for c in chunks]
        return IrrepsTensor(irreps, torch.cat(pieces, -1), layout)

    @staticmethod
    def zeros(irreps: IrrepsLike, leading: Sequence[int] = (), layout: str = "mul_ir", **options: Any) -> IrrepsTensor:
        """Zeros with leading axes; ``options`` are dtype and device."""
        return IrrepsTensor(Irreps(irreps), torch.zeros(*leading, Irreps(irreps).dim, **options), layout)

    @staticmethod
    def ones(irreps: IrrepsLike, leading: Sequence[int] = (), layout: str = "mul_ir", **options: Any) -> IrrepsTensor:
        """Ones with leading axes; ``options`` are dtype and device."""
        return IrrepsTensor(Irreps(irreps), torch.ones(*leading, Irreps(irreps).dim, **options), layout)

    @staticmethod
    def randn(irreps: IrrepsLike, leading: Sequence[int] = (), layout: str = "mul_ir", **options: Any) -> IrrepsTensor:
        """Normal numbers with leading axes; ``options`` are dtype, device and generator."""
        return IrrepsTensor(Irreps(irreps), torch.randn(*leading, Irreps(irreps).dim, **options), layout)

    # ---- looking

    @property
    def shape(self) -> torch.Size:
        """The shape of the array, the dimension of the irreps last."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of axes of the array."""
        return self.array.ndim

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the array."""
        return self.array.dtype

    @property
    def device(self) -> torch.device:
        """The device of the array."""
        return self.array.device

    @property
    def chunks(self) -> list[Tensor]:
        """One view (..., mul, 2l+1) for each block, in either layout."""
        result = []
        for (mul, ir), place in zip(self.irreps, self.irreps.slices()):
            block = self.array[..., place]
            if self.layout == "mul_ir":
                result.append(block.unflatten(-1, (mul, ir.dim)))
            else:
                result.append(block.unflatten(-1, (ir.dim, mul)).transpose(-1, -2))
        return result

    def __repr__(self) -> str:
        return f"{self.irreps} ({self.layout}) {self.array}"

    def __len__(self) -> int:
        return len(self.array) if self.ndim > 1 else len(self.irreps)

    def __getitem__(self, index: Any) -> IrrepsTensor:
        named: Any = None
        if isinstance(index, (str, Irreps)):
            index, named = (...,), index
        elif isinstance(index, tuple) and index and isinstance(index[-1], (str, Irreps)):
            index, named = (index[:-1] if Ellipsis in index[:-1] else (*index[:-1], ...)), index[-1]
        else:
            index = index if isinstance(index, tuple) else (index,)
            taken = sum(1 for i in index if i is not None and i is not Ellipsis)
            if taken >= self.ndim:
                raise IndexError("the last axis is indexed by irreps, as in x[..., '1o'], or by x.slice_by_mul[2:4]")
            index = index if Ellipsis in index else (*index, ...)
        if named is None:
            return IrrepsTensor(self.irreps, self.array[index], self.layout)
        wanted = Irreps(named)
        starts = [i for i in range(len(self.irreps) - len(wanted) + 1) if self.irreps[i : i + len(wanted)] == wanted]
        if len(starts) != 1 or not wanted:
            found = "twice" if len(starts) > 1 else "not"
            raise IndexError(f"{wanted} is {found} in {self.irreps}: name consecutive blocks, or use filter")
        slices = self.irreps.slices()
        place = slice(slices[starts[0]].start, slices[starts[0] + len(wanted) - 1].stop)
        return IrrepsTensor(wanted, self.array[index][..., place], self.layout)

    @property
    def slice_by_mul(self) -> _SliceByMul:
        """Slicing by the index of an irrep, counted with multiplicities.

        >>> IrrepsTensor("2x0e+2x1o", torch.arange(8.0)).slice_by_mul[1:3]
        1x0e+1x1o (mul_ir) tensor([1., 2., 3., 4.])
        """
        return _SliceByMul(self)

    # ---- rearranging

    def to_layout(self, layout: str) -> IrrepsTensor:
        """The same features in another layout."""
        return IrrepsTensor(self.irreps, to_layout(self.array, self.irreps, self.layout, layout), layout)

    def rechunk(self, irreps: IrrepsLike) -> IrrepsTensor:
        """The same irreps in the same order, in blocks of other sizes. Raises ``ValueError`` for others.

        >>> IrrepsTensor("1o+1o", torch.arange(6.0)).rechunk("2x1o").irreps
        2x1o
        """
        irreps = Irreps(irreps)
        if irreps.simplify() != self.irreps.simplify():
            raise ValueError(f"{self.irreps} and {irreps} are not the same irreps in the same order")
        flat = self.to_layout("mul_ir").array
        return IrrepsTensor(irreps, flat, "mul_ir").to_layout(self.layout)

    def simplify(self) -> IrrepsTensor:
        """Neighbouring blocks of one irrep merged."""
        return self.rechunk(self.irreps.simplify())

    def sort(self) -> IrrepsTensor:
        """Blocks in order of degree, odd before even; stable."""
        return self._take(self.irreps.sort().inv)

    def regroup(self) -> IrrepsTensor:
        """Sorted, then simplified.

        >>> IrrepsTensor("1x1o+1x0e+1x1o", torch.arange(7.0)).regroup()
        1x0e+2x1o (mul_ir) tensor([3., 0., 1., 2., 4., 5., 6.])
        """
        return self.sort().simplify()

    def filter(self, keep: Any = None, *, drop: Any = None, lmax: int | None = None) -> IrrepsTensor:
        """The blocks that :meth:`Irreps.filter` keeps."""
        numbered = [Irreps([block]).filter(keep, drop=drop, lmax=lmax) for block in self.irreps]
        return self._take([i for i, found in enumerate(numbered) if len(found)])

    def extend_with_zeros(self, irreps: IrrepsLike) -> IrrepsTensor:
        """Blocks of zeros where ``irreps`` has more than this tensor, whose blocks must be among them in their order.

        >>> IrrepsTensor("1x1o", torch.ones(3)).extend_with_zeros("2x0e+1x1o").array
        tensor([0., 0., 1., 1., 1.])
        """
        irreps, chunks = Irreps(irreps), list(zip(self.irreps, self.chunks))
        filled = []
        for block in irreps:
            if chunks and chunks[0][0] == block:
                filled.append(chunks.pop(0)[1])
            else:
                filled.append(self.array.new_zeros(*self.shape[:-1], block.mul, block.ir.dim))
        if chunks:
            raise ValueError(f"{chunks[0][0]} of {self.irreps} has no place in {irreps}")
        return IrrepsTensor.from_chunks(irreps, filled, self.layout)

    def mul_to_axis(self, factor: int | None = None) -> IrrepsTensor:
        """Channels as an axis of their own, (..., factor, dim / factor); ``factor`` (default: the largest) divides all
        multiplicities.

        >>> IrrepsTensor("4x0e+2x1o", torch.zeros(7, 10)).mul_to_axis().shape
        torch.Size([7, 2, 5])
        """
        factor = math.gcd(*(mul for mul, _ in self.irreps)) if factor is None else factor
        if factor < 1 or any(mul % factor for mul, _ in self.irreps):
            raise ValueError(f"{factor} does not divide the multiplicities of {self.irreps}")
        chunks = [c.unflatten(-2, (factor, -1)) for c in self.chunks]
        return IrrepsTensor.from_chunks([(mul // factor, ir) for mul, ir in self.irreps], chunks, self.layout)

    def axis_to_mul(self) -> IrrepsTensor:
        """The last axis before the irreps becomes part of the multiplicities: the inverse of :meth:`mul_to_axis`."""
        if self.ndim < 2:
            raise ValueError("axis_to_mul needs an axis before that of the irreps")
        factor = self.shape[-2]
        chunks = [c.flatten(-3, -2) for c in self.chunks]
        return IrrepsTensor.from_chunks([(mul * factor, ir) for mul, ir in self.irreps], chunks, self.layout)

    def reshape(self, *leading: int) -> IrrepsTensor:
        """The leading axes in another shape."""
        return IrrepsTensor(self.irreps, self.array.reshape(*leading, self.shape[-1]), self.layout)

    def broadcast_to(self, *leading: int) -> IrrepsTensor:
        """The leading axes expanded."""
        return IrrepsTensor(self.irreps, self.array.expand(*leading, self.shape[-1]), self.layout)

    def to(self, *args: Any, **options: Any) -> IrrepsTensor:
        """The array in another dtype or on another device."""
        return IrrepsTensor(self.irreps, self.array.to(*args, **options), self.layout)

    def detach(self) -> IrrepsTensor:
        """Without the graph of gradients."""
        return IrrepsTensor(self.irreps, self.array.detach(), self.layout)

    def sum(self, axis: int) -> IrrepsTensor:
        """The sum over a leading axis."""
        return IrrepsTensor(self.irreps, self.array.sum(self._leading(axis)), self.layout)

    def mean(self, axis: int) -> IrrepsTensor:
        """The mean over a leading axis."""
        return IrrepsTensor(self.irreps, self.array.mean(self._leading(axis)), self.layout)

    # ---- transforming

    def transform_by_matrix(self, R: Float[Tensor, "... 3 3"]) -> IrrepsTensor:
        """The features after an orthogonal transformation; reflections act by the parities."""
        return self._act(self.irreps.D_from_matrix(R.to(self.array), self.layout))

    def transform_by_angles(self, alpha: Tensor, beta: Tensor, gamma: Tensor, k: Tensor | None = None) -> IrrepsTensor:
        """The features after R_y(alpha) R_x(beta) R_y(gamma) and k inversions."""
        return self._act(self.irreps.D_from_angles(alpha, beta, gamma, k, self.layout))

    def transform_by_quaternion(self, q: Float[Tensor, "... 4"], k: Tensor | None = None) -> IrrepsTensor:
        """The features after the rotation of a quaternion (w, x, y, z) and k inversions."""
        return self._act(self.irreps.D_from_quaternion(q, k, self.layout))

    def transform_by_axis_angle(self, axis: Float[Tensor, "... 3"], angle: Tensor) -> IrrepsTensor:
        """The features after a rotation about an axis by an angle in radians."""
        return self._act(self.irreps.D_from_axis_angle(axis, angle, self.layout))

    def transform_by_log_coordinates(self, vector: Float[Tensor, "... 3"]) -> IrrepsTensor:
        """The features after the rotation about ``vector`` by its length."""
        return self._act(self.irreps.D_from_matrix(rotation_vector_to_matrix(vector), self.layout, check=False))

    # ---- computing

    def norm(self, squared: bool = False) -> IrrepsTensor:
        """The norm of each irrep as a scalar; its gradient at a vanishing irrep is zero.

        >>> IrrepsTensor("1x0e+1x1o", torch.tensor([-2.0, 0.0, 3.0, 4.0])).norm()
        2x0e (mul_ir) tensor([2., 5.])
        """
        squares = torch.cat([c.square().sum(-1) for c in self.chunks], -1)
        if not squared:
            safe = torch.where(squares > 0, squares, torch.ones_like(squares)).sqrt()
            squares = torch.where(squares > 0, safe, torch.zeros_like(squares))
        return IrrepsTensor(Irreps([(self.irreps.num_irreps, (0, 1))]), squares, self.layout)

    def dot(self, other: IrrepsTensor) -> Float[Tensor, "*batch"]:
        """The invariant product, the sum over all components. Raises ``ValueError`` for other irreps."""
        return (self.array * self._same(other).array).sum(-1)

    def __neg__(self) -> IrrepsTensor:
        return IrrepsTensor(self.irreps, -self.array, self.layout)

    def __add__(self, other: IrrepsTensor) -> IrrepsTensor:
        return IrrepsTensor(self.irreps, self.array + self._same(other).array, self.layout)

    def __sub__(self, other: IrrepsTensor) -> IrrepsTensor:
        return IrrepsTensor(self.irreps, self.array - self._same(other).array, self.layout)

    def __mul__(self, factor: Any) -> IrrepsTensor:
        """Times numbers, invariant tensors (..., 1), or scalars as a tensor of irreps: one, or one for each irrep."""
        if isinstance(factor, IrrepsTensor):
            return self._times_scalars(factor)
        if isinstance(factor, Tensor) and factor.ndim and factor.shape[-1] != 1:
            raise ValueError(f"only invariants multiply all components: a factor has shape (..., 1), got {tuple(factor.shape)}")
        return IrrepsTensor(self.irreps, self.array * factor, self.layout)

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> IrrepsTensor:
        if isinstance(factor, IrrepsTensor):
            if any(ir.l for _, ir in factor.irreps):
                raise ValueError(f"only scalars divide, got {factor.irreps}")
            factor = IrrepsTensor(factor.irreps, 1 / factor.array, factor.layout)
            return self * factor
        return self * (1 / factor)

    def _times_scalars(self, factor: IrrepsTensor) -> IrrepsTensor:
        scalars, number = factor.irreps, self.irreps.num_irreps
        if any(ir.l for _, ir in scalars) or scalars.num_irreps not in (1, number):
            raise ValueError(f"{scalars} does not multiply {self.irreps}: give one scalar, or {number}; or use a tensor product")
        if scalars.num_irreps == 1:
            irreps = Irreps([(mul, (ir.l, ir.p * scalars[0].ir.p)) for mul, ir in self.irreps])
            return IrrepsTensor(irreps, self.array * factor.array, self.layout)
        parities = [ir.p for mul, ir in scalars for _ in range(mul)]
        single = self.rechunk([(1, ir) for mul, ir in self.irreps for _ in range(mul)])
        irreps = Irreps([(1, (ir.l, ir.p * p)) for (_, ir), p in zip(single.irreps, parities)])
        chunks = [c * factor.array[..., i : i + 1, None] for i, c in enumerate(single.chunks)]
        return IrrepsTensor.from_chunks(irreps, chunks, self.layout).simplify()

    def _act(self, D: Tensor) -> IrrepsTensor:
        moved = (D.to(self.array) @ self.array.unsqueeze(-1)).squeeze(-1)
        return IrrepsTensor(self.irreps, moved, self.layout)

    def _same(self, other: Any) -> IrrepsTensor:
        if not isinstance(other, IrrepsTensor) or other.irreps != self.irreps:
            what = other.irreps if isinstance(other, IrrepsTensor) else type(other).__name__
            raise ValueError(f"{self.irreps} and {what} do not combine: both must have the same irreps")
        return other.to_layout(self.layout)

    def _take(self, blocks: Iterable[int]) -> IrrepsTensor:
        blocks, slices = list(blocks), self.irreps.slices()
        pieces = [self.array[..., slices[i]] for i in blocks]
        array = torch.cat(pieces, -1) if pieces else self.array[..., :0]
        return IrrepsTensor(Irreps([self.irreps[i] for i in blocks]), array, self.layout)

    def _leading(self, axis: int) -> int:
        axis = axis + self.ndim if axis < 0 else axis
        if not 0 <= axis < self.ndim - 1:
            raise ValueError(f"axis {axis} is not one of the {self.ndim - 1} leading axes: a sum over irreps has no meaning")
        return axis


class _SliceByMul:
    """What :attr:`IrrepsTensor.slice_by_mul` returns."""

    def __init__(self, tensor: IrrepsTensor) -> None:
        self._tensor = tensor

    def __getitem__(self, span: slice) -> IrrepsTensor:
        tensor = self._tensor
        irreps = tensor.irreps.slice_by_mul[span]
        start, stop, _ = span.indices(tensor.irreps.num_irreps)
        chunks, first = [], 0
        for (mul, _), chunk in zip(tensor.irreps, tensor.chunks):
            a, b = max(start, first) - first, min(stop, first + mul) - first
            if a < b:
                chunks.append(chunk[..., a:b, :])
            first += mul
        if not chunks:
            return IrrepsTensor(Irreps(), tensor.array[..., :0], tensor.layout)
        return IrrepsTensor.from_chunks(irreps, chunks, tensor.layout)


def concatenate(tensors: Sequence[IrrepsTensor], axis: int = -1) -> IrrepsTensor:
    """Tensors side by side: along the last axis their irreps add up, along another they must be equal.

    All take the layout of the first. Raises ``ValueError`` for no tensors and for unlike irreps.

    >>> concatenate([IrrepsTensor("0e", torch.ones(1)), IrrepsTensor("1o", torch.zeros(3))])
    1x0e+1x1o (mul_ir) tensor([1., 0., 0., 0.])
    """
    return _joined(tensors, axis, torch.cat)


def stack(tensors: Sequence[IrrepsTensor], axis: int = 0) -> IrrepsTensor:
    """Tensors of equal irreps along a new leading axis. Raises ``ValueError`` for no tensors and for unlike irreps."""
    if not 0 <= axis < max((t.ndim for t in tensors), default=1):
        raise ValueError(f"axis {axis} is not a new leading axis: the last axis is that of the irreps")
    return _joined(tensors, axis, torch.stack)


def _joined(tensors: Sequence[IrrepsTensor], axis: int, join: Callable[..., Tensor]) -> IrrepsTensor:
    if not tensors:
        raise ValueError("there are no tensors to join")
    first = tensors[0]
    if join is torch.cat and axis in (-1, first.ndim - 1):
        alike = [t.to_layout(first.layout) for t in tensors]
        irreps = Irreps([block for t in alike for block in t.irreps])
    else:
        alike, irreps = [first._same(t) for t in tensors], first.irreps
    return IrrepsTensor(irreps, join([t.array for t in alike], axis), first.layout)


def _flatten(x: IrrepsTensor) -> tuple[list[Any], tuple[str, str]]:
    return [x.array], (str(x.irreps), x.layout)


def _flatten_with_keys(x: IrrepsTensor) -> tuple[list[tuple[Any, Any]], tuple[str, str]]:
    return [(pytree.GetAttrKey("array"), x.array)], (str(x.irreps), x.layout)


def _unflatten(values: Any, context: Sequence[str]) -> IrrepsTensor:
    # Transformations put placeholders where the array belongs, so this door stays open to anything.
    x = object.__new__(IrrepsTensor)
    (array,) = values
    for name, value in (("irreps", Irreps(context[0])), ("array", array), ("layout", context[1])):
        object.__setattr__(x, name, value)
    return x


pytree.register_pytree_node(
    IrrepsTensor,
    _flatten,
    _unflatten,
    serialized_type_name="tesseral.o3.IrrepsTensor",
    to_dumpable_context=list,
    from_dumpable_context=tuple,
    flatten_with_keys_fn=_flatten_with_keys,
)
