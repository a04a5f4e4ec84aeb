"""Irreducible representations of O(3) and their direct sums: static descriptions, without numbers.

The grammar, the sort order and the tuple semantics are those of e3nn, so that its strings, and code that unpacks
``for mul, (l, p) in irreps``, work unchanged.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, SupportsIndex

import torch
from torch import Tensor

_IRREP = re.compile(r"\s*([0-9]+)\s*([eoy])\s*")
_TERM = re.compile(r"\s*(?:([0-9]+)\s*x\s*)?([0-9]+)\s*([eoy])\s*")

IrrepLike = Any  # Irrep | MulIr | str | tuple[int, int]
IrrepsLike = Any  # Irreps | Irrep | MulIr | str | None | Iterable[IrrepLike | tuple[int, IrrepLike]]


def _integer(value: object, name: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None


def _parity(letter: str, l: int) -> int:
    return {"e": 1, "o": -1, "y": (-1) ** l}[letter]


class Irrep(tuple):
    r"""An irreducible representation of O(3): the degree ``l`` and the parity ``p``, a tuple ``(l, p)``.

    It has dimension :math:`2l+1`; under inversion it is multiplied by :math:`p`. Written ``"1o"`` (odd), ``"1e"`` (even), or
    ``"1y"`` for the parity :math:`(-1)^l` of the spherical harmonics. Raises ``ValueError`` for anything that is not an irrep.

    >>> Irrep("1o"), Irrep(1, -1), Irrep((1, -1)), Irrep("1y")
    (1o, 1o, 1o, 1o)
    >>> list(Irrep("1o") * Irrep("2e"))
    [1o, 2o, 3o]
    >>> 3 * Irrep("1o") + Irrep("0e")
    3x1o+1x0e
    """

    __array_ufunc__ = None  # NumPy integers leave the multiplication to us

    def __new__(cls, l: IrrepLike, p: Any = None) -> Irrep:
        if p is None:
            if isinstance(l, Irrep):
                return l
            if isinstance(l, MulIr):
                return l.ir
            if isinstance(l, str):
                match = _IRREP.fullmatch(l)
                if match is None:
                    raise ValueError(f"unable to convert {l!r} into an Irrep: expected a degree and e, o or y, as in '2e'")
                degree = int(match[1])
                return super().__new__(cls, (degree, _parity(match[2], degree)))
            if isinstance(l, tuple) and tuple.__len__(l) == 2:
                l, p = l
            else:
                raise ValueError(f"unable to convert {l!r} into an Irrep: expected '2e', (2, 1), or a degree and a parity")
        degree, parity = _integer(l, "the degree l"), _integer(p, "the parity p")
        if degree < 0:
            raise ValueError(f"the degree l must not be negative, got {degree}")
        if parity not in (-1, 1):
            raise ValueError(f"the parity p must be 1 or -1, got {parity}")
        return super().__new__(cls, (degree, parity))

    @property
    def l(self) -> int:  # noqa: E743
        """The degree."""
        return self[0]

    @property
    def p(self) -> int:
        """The parity, 1 or -1."""
        return self[1]

    @property
    def dim(self) -> int:
        """The dimension 2l+1."""
        return 2 * self[0] + 1

    def is_scalar(self) -> bool:
        """Whether this is 0e, the trivial representation.

        >>> Irrep("0e").is_scalar(), Irrep("0o").is_scalar()
        (True, False)
        """
        return self[0] == 0 and self[1] == 1

    @classmethod
    def iterator(cls, lmax: int | None = None) -> Iterator[Irrep]:
        """All irreps up to degree ``lmax`` (without end for ``None``), at each degree first the parity of the harmonics.

        >>> list(Irrep.iterator(2))
        [0e, 0o, 1o, 1e, 2e, 2o]
        """
        for l in itertools.count() if lmax is None else range(lmax + 1):
            yield Irrep(l, (-1) ** l)
            yield Irrep(l, -((-1) ** l))

    def D_from_matrix(self, R: Tensor) -> Tensor:
        """The matrix of an orthogonal ``R`` (..., 3, 3) in this irrep, (..., 2l+1, 2l+1), see :meth:`Irreps.D_from_matrix`.

        >>> Irrep("1e").D_from_matrix(-torch.eye(3)).diagonal()
        tensor([1., 1., 1.])
        """
        return Irreps(self).D_from_matrix(R)

    def D_from_angles(self, alpha: Tensor, beta: Tensor, gamma: Tensor, k: Tensor | None = None) -> Tensor:
        """The matrix of the rotation with these angles times the k-th power of inversion, see :meth:`Irreps.D_from_angles`."""
        return Irreps(self).D_from_angles(alpha, beta, gamma, k)

    def D_from_quaternion(self, q: Tensor, k: Tensor | None = None) -> Tensor:
        """The matrix of the rotation ``q`` (..., 4) times the k-th power of inversion, see :meth:`Irreps.D_from_quaternion`."""
        return Irreps(self).D_from_quaternion(q, k)

    def D_from_axis_angle(self, axis: Tensor, angle: Tensor) -> Tensor:
        """The matrix of the rotation by ``angle`` about ``axis`` (..., 3), see :meth:`Irreps.D_from_axis_angle`."""
        return Irreps(self).D_from_axis_angle(axis, angle)

    def __mul__(self, other: IrrepLike) -> Iterator[Irrep]:  # type: ignore[override]
        """The irreps in the product of two irreps, in order of their degree."""
        other = Irrep(other)
        parity = self.p * other.p
        return (Irrep(l, parity) for l in range(abs(self.l - other.l), self.l + other.l + 1))

    def __rmul__(self, mul: Any) -> Irreps:  # type: ignore[override]
        return Irreps([(mul, self)])

    def __add__(self, other: IrrepsLike) -> Irreps:  # type: ignore[override]
        return Irreps(self) + Irreps(other)

    def __repr__(self) -> str:
        return f"{self[0]}{'e' if self[1] == 1 else 'o'}"

    def __copy__(self) -> Irrep:
        return self

    def __deepcopy__(self, memo: dict) -> Irrep:
        return self


class MulIr(tuple):
    """A block of :class:`Irreps`: a multiplicity and an irrep, a tuple ``(mul, ir)``.

    >>> block = Irreps("8x1o")[0]
    >>> block.mul, block.ir, block.dim
    (8, 1o, 24)
    """

    def __new__(cls, mul: Any, ir: Any = None) -> MulIr:
        if ir is None:
            mul, ir = mul
        multiplicity = _integer(mul, "the multiplicity")
        if multiplicity < 0:
            raise ValueError(f"the multiplicity of {Irrep(ir)} must not be negative, got {multiplicity}")
        return super().__new__(cls, (multiplicity, Irrep(ir)))

    @property
    def mul(self) -> int:
        """The multiplicity."""
        return self[0]

    @property
    def ir(self) -> Irrep:
        """The irrep."""
        return self[1]

    @property
    def dim(self) -> int:
        """The dimension mul (2l+1)."""
        return self[0] * self[1].dim

    def __repr__(self) -> str:
        return f"{self[0]}x{self[1]}"

    def __copy__(self) -> MulIr:
        return self

    def __deepcopy__(self, memo: dict) -> MulIr:
        return self


class Sorted(NamedTuple):
    """What :meth:`Irreps.sort` returns: ``irreps[p[i]]`` is the old block i, ``inv`` is the inverse permutation of ``p``."""

    irreps: Irreps
    p: tuple[int, ...]
    inv: tuple[int, ...]


def _block(item: Any) -> MulIr:
    """A block from an irrep (multiplicity 1) or a pair of a multiplicity and an irrep."""
    if isinstance(item, MulIr):
        return item
    # an irrep of another library, e3nn's for one, is recognised by its attributes
    if isinstance(item, str | Irrep) or (hasattr(item, "l") and hasattr(item, "p")):
        return MulIr(1, Irrep(item))
    try:
        mul, ir = item
    except (TypeError, ValueError):
        raise ValueError(
            f"unable to interpret {item!r} as a block of irreps: expected '2e', (16, '2e') or (16, (2, 1))"
        ) from None
    return MulIr(mul, Irrep(ir))


def _parse(text: str) -> Iterator[MulIr]:
    if not text.strip():
        return
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(
                f"unable to convert {text!r} into Irreps: {term.strip()!r} is not a term such as '1o' or '16x1o' "
                "(multiplicity, x, degree, and the parity e, o or y)"
            )
        l = int(match[2])
        yield MulIr(int(match[1] or 1), Irrep(l, _parity(match[3], l)))


class Irreps(tuple):
    """A direct sum of irreps with multiplicities, a tuple of :class:`MulIr`; how a feature tensor transforms.

    Made from a string, an irrep, or an iterable of irreps and ``(mul, irrep)`` pairs; blocks keep their order, and
    zero multiplicities stay. Equality and hash are those of the plain tuple. Raises ``ValueError`` for anything else.

    >>> irreps = Irreps("16x0e + 8x1o + 2e")
    >>> irreps
    16x0e+8x1o+1x2e
    >>> irreps.dim, irreps.num_irreps, irreps.lmax
    (45, 25, 2)
    >>> irreps == Irreps([(16, "0e"), (8, (1, -1)), "2e"])
    True
    >>> [mul * l for mul, (l, p) in irreps]
    [0, 8, 2]
    >>> "1o" in irreps, irreps.count("1o")
    (True, 8)
    """

    __array_ufunc__ = None  # NumPy integers leave the multiplication to us

    # e3nn's mark of an Irreps whose class was loaded twice, as torch.package does
    _e3nn_irreps_marker = True

    _dim: int
    _slices: tuple[slice, ...]

    def __new__(cls, irreps: IrrepsLike = None) -> Irreps:
        if type(irreps) is cls:
            return irreps
        blocks: Iterable[MulIr]
        if irreps is None:
            blocks = ()
        elif isinstance(irreps, str):
            blocks = _parse(irreps)
        elif isinstance(irreps, Irrep | MulIr) or (hasattr(irreps, "l") and hasattr(irreps, "p")):
            blocks = (_block(irreps),)
        else:
            try:
                items = iter(irreps)
            except TypeError:
                raise ValueError(f"unable to convert {irreps!r} into Irreps: expected a string such as '16x0e+8x1o'") from None
            blocks = [_block(item) for item in items]
        self = super().__new__(cls, blocks)
        ends = [0, *itertools.accumulate(block.dim for block in self)]
        # plain attributes rather than cached properties, so that Dynamo can read them
        self._dim = ends[-1]
        self._slices = tuple(map(slice, ends[:-1], ends[1:]))
        return self

    @staticmethod
    def spherical_harmonics(lmax: int, p: int = -1) -> Irreps:
        """The irreps of the spherical harmonics up to degree ``lmax``, of functions of a vector of parity ``p``.

        >>> Irreps.spherical_harmonics(3)
        1x0e+1x1o+1x2e+1x3o
        >>> Irreps.spherical_harmonics(2, p=1)
        1x0e+1x1e+1x2e
        """
        return Irreps([(1, (l, p**l)) for l in range(lmax + 1)])

    @property
    def dim(self) -> int:
        """The dimension, the sum of mul (2l+1)."""
        return self._dim

    @property
    def num_irreps(self) -> int:
        """The number of irreps, the sum of the multiplicities."""
        return sum([block[0] for block in self])

    @property
    def ls(self) -> list[int]:
        """The degree of every irrep, repeated by multiplicity.

        >>> Irreps("2x0e+1o").ls
        [0, 0, 1]
        """
        return [ir[0] for mul, ir in self for _ in range(mul)]

    @property
    def lmax(self) -> int:
        """The highest degree with a non-zero multiplicity. Raises ``ValueError`` if there is none."""
        ls = [ir[0] for mul, ir in self if mul > 0]
        if not ls:
            raise ValueError(f"empty irreps {str(self)!r} have no lmax")
        return max(ls)

    def slices(self) -> list[slice]:
        """The place of each block in the last axis of a feature tensor.

        >>> Irreps("2x0e+1e").slices()
        [slice(0, 2, None), slice(2, 5, None)]
        """
        return list(self._slices)

    def count(self, ir: IrrepLike) -> int:  # type: ignore[override]
        """The multiplicity of ``ir`` in all blocks together."""
        ir = Irrep(ir)
        return sum([mul for mul, other in self if other == ir])

    def index(self, ir: IrrepLike, *span: SupportsIndex) -> int:  # type: ignore[override]
        """The position of the first block of ``ir``. Raises ``ValueError`` if there is none.

        >>> Irreps("2x0e+1e").index("1e")
        1
        """
        return [other for _, other in self].index(Irrep(ir), *span)

    def simplify(self) -> Irreps:
        """Merge neighbouring blocks of the same irrep and drop empty ones; the data keep their places in mul_ir layout.

        >>> Irreps("1e + 1e + 0x2o + 0e + 1e").simplify()
        2x1e+1x0e+1x1e
        """
        merged: list[tuple[int, Irrep]] = []
        for mul, ir in self:
            if merged and merged[-1][1] == ir:
                merged[-1] = (merged[-1][0] + mul, ir)
            elif mul > 0:
                merged.append((mul, ir))
        return Irreps(merged)

    def remove_zero_multiplicities(self) -> Irreps:
        """Drop the empty blocks.

        >>> Irreps("4x0e + 0x1o + 2x3e").remove_zero_multiplicities()
        4x0e+2x3e
        """
        return Irreps([(mul, ir) for mul, ir in self if mul > 0])

    def sort(self) -> Sorted:
        """Sort the blocks by degree, odd before even; stable.

        >>> Irreps("2o + 1e + 0e + 1e").sort()
        Sorted(irreps=1x0e+1x1e+1x1e+1x2o, p=(3, 1, 0, 2), inv=(2, 1, 3, 0))
        """
        inv = sorted(range(len(self)), key=lambda i: 2 * self[i][1][0] + (self[i][1][1] == 1))
        p = sorted(range(len(self)), key=inv.__getitem__)
        return Sorted(Irreps([self[i] for i in inv]), tuple(p), tuple(inv))

    def regroup(self) -> Irreps:
        """Sort, then simplify.

        >>> Irreps("1e + 0e + 1e + 0x2e").regroup()
        1x0e+2x1e
        """
        return self.sort().irreps.simplify()

    def filter(
        self,
        keep: IrrepsLike | Callable[[MulIr], bool] = None,
        *,
        drop: IrrepsLike | Callable[[MulIr], bool] = None,
        lmax: int | None = None,
    ) -> Irreps:
        """The blocks whose irrep is in ``keep``, or not in ``drop``, or has at most degree ``lmax``.

        ``keep`` and ``drop`` are irreps (multiplicities are ignored) or a function of a block. Raises ``ValueError`` if more
        than one of the three is given.

        >>> Irreps("1e + 2e + 0e").filter(keep="2e + 2x1e")
        1x1e+1x2e
        >>> Irreps("1e + 2e + 0e").filter(drop=["2e", "1e"])
        1x0e
        >>> Irreps("1e + 2e + 0e").filter(lmax=1)
        1x1e+1x0e
        """
        if sum(argument is not None for argument in (keep, drop, lmax)) > 1:
            raise ValueError("give only one of keep, drop and lmax to Irreps.filter; chain calls to combine them")
        if lmax is not None:
            return Irreps([block for block in self if block.ir.l <= lmax])
        chosen = keep if keep is not None else drop
        if chosen is None:
            return self
        if callable(chosen):
            matches = [bool(chosen(block)) for block in self]
        else:
            irs = {ir for _, ir in Irreps(chosen)}
            matches = [block.ir in irs for block in self]
        return Irreps([block for block, match in zip(self, matches) if match is (keep is not None)])

    @property
    def slice_by_mul(self) -> SliceByMul:
        """Slicing by the index of an irrep, counted with multiplicities.

        >>> Irreps("1x0e + 2x1o + 3x0e").slice_by_mul[1:4]
        2x1o+1x0e
        """
        return SliceByMul(self)

    def randn(
        self,
        *size: int,
        normalization: str = "component",
        requires_grad: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A random tensor of shape ``size``, where one -1 stands for ``self.dim``, in layout mul_ir.

        ``normalization="component"`` draws every component from the unit normal distribution; ``"norm"`` gives every irrep
        norm 1. Draws as e3nn does, so the same seed gives the same numbers. Raises ``ValueError`` without exactly one -1.

        >>> Irreps("5x0e + 10x1o").randn(5, -1, 2).shape
        torch.Size([5, 35, 2])
        >>> Irreps("2o").randn(2, -1, normalization="norm").norm(dim=1)
        tensor([1.0000, 1.0000])
        """
        if size.count(-1) != 1:
            raise ValueError(f"the size must contain exactly one -1, the place of the {self.dim} components; got {size}")
        axis = size.index(-1)
        before, after = size[:axis], size[axis + 1 :]

        def draw(*middle: int) -> Tensor:
            return torch.randn(*before, *middle, *after, dtype=dtype, device=device, generator=generator)

        if normalization == "component":
            x = draw(self.dim)
        elif normalization == "norm":
            blocks = [draw(mul, ir.dim) for mul, ir in self]
            units = [(block / block.norm(dim=axis + 1, keepdim=True)).flatten(axis, axis + 1) for block in blocks]
            x = torch.cat(units, axis) if units else draw(0)
        else:
            raise ValueError(f"normalization must be 'component' or 'norm', got {normalization!r}")
        return x.requires_grad_(requires_grad)

    def D_from_matrix(self, R: Tensor, layout: str = "mul_ir", check: bool = True) -> Tensor:
        r"""The block-diagonal matrix of an orthogonal ``R`` (..., 3, 3) in this representation, (..., dim, dim).

        A polynomial in the entries of ``R``, so smooth everywhere: there are no angles inside. Reflections are multiplied by the
        parity. ``layout`` says how the features that it acts on are arranged: :math:`1 \otimes D` in blocks for ``"mul_ir"``,
        :math:`D \otimes 1` for ``"ir_mul"``. Raises ``ValueError`` if ``R`` is not orthogonal, see
        :func:`rotations.check_orthogonal`; skipped in compiled code, or with ``check=False``.

        >>> Irreps("2x0e+1o").D_from_matrix(-torch.eye(3)).diagonal()
        tensor([ 1.,  1., -1., -1., -1.])
        """
        from tesseral.o3 import wigner

        return wigner.representation_from_matrix(self, R, layout=layout, check=check)

    def D_from_angles(
        self, alpha: Tensor, beta: Tensor, gamma: Tensor, k: Tensor | None = None, layout: str = "mul_ir"
    ) -> Tensor:
        r"""The matrix of :math:`R_y(\alpha) R_x(\beta) R_y(\gamma)` times the k-th power of inversion, (..., dim, dim).

        Angles in radians and the integers ``k`` have broadcastable shapes (...).
        """
        from tesseral.o3 import rotations, wigner

        return wigner.representation_from_matrix(
            self, rotations.angles_to_matrix(alpha, beta, gamma), k=k, layout=layout, check=False
        )

    def D_from_quaternion(self, q: Tensor, k: Tensor | None = None, layout: str = "mul_ir") -> Tensor:
        """The matrix of the rotation ``q`` (..., 4), normalised first, times the k-th power of inversion, (..., dim, dim)."""
        from tesseral.o3 import rotations, wigner

        return wigner.representation_from_matrix(self, rotations.quaternion_to_matrix(q), k=k, layout=layout, check=False)

    def D_from_axis_angle(self, axis: Tensor, angle: Tensor, layout: str = "mul_ir") -> Tensor:
        """The matrix of the rotation by ``angle`` (...) in radians about ``axis`` (..., 3) of any length, (..., dim, dim)."""
        from tesseral.o3 import rotations, wigner

        return wigner.representation_from_matrix(self, rotations.axis_angle_to_matrix(axis, angle), layout=layout, check=False)

    def __getitem__(self, i: Any) -> Any:
        x = super().__getitem__(i)
        return Irreps(x) if isinstance(i, slice) else x

    def __contains__(self, ir: object) -> bool:
        ir = Irrep(ir)
        return any(other == ir for _, other in self)

    def __add__(self, other: IrrepsLike) -> Irreps:  # type: ignore[override]
        return Irreps((*self, *Irreps(other)))

    def __radd__(self, other: IrrepsLike) -> Irreps:
        return Irreps(other) + self

    def __mul__(self, times: Any) -> Irreps:  # type: ignore[override]
        if isinstance(times, Irreps):
            raise NotImplementedError("the product of two Irreps depends on how channels are paired: use a tensor product")
        return Irreps(tuple(self) * _integer(times, "the number of repetitions"))

    def __rmul__(self, times: Any) -> Irreps:  # type: ignore[override]
        """
        >>> 2 * Irreps("0e + 1e")
        1x0e+1x1e+1x0e+1x1e
        """
        return self * times

    def __repr__(self) -> str:
        return "+".join([repr(block) for block in self])

    def __getstate__(self) -> None:
        """Nothing: the blocks alone are pickled, the rest follows from them."""

    def __copy__(self) -> Irreps:
        return self

    def __deepcopy__(self, memo: dict) -> Irreps:
        return self


class SliceByMul:
    """What :attr:`Irreps.slice_by_mul` returns."""

    def __init__(self, irreps: Irreps) -> None:
        self._irreps = irreps

    def __getitem__(self, span: slice) -> Irreps:
        if not isinstance(span, slice):
            raise TypeError(f"slice_by_mul takes a slice such as [2:5], got {span!r}")
        start, stop, step = span.indices(self._irreps.num_irreps)
        if step != 1:
            raise ValueError(f"slice_by_mul takes slices of step 1, got step {step}")
        blocks = []
        first = 0
        for mul, ir in self._irreps:
            inside = min(stop, first + mul) - max(start, first)
            if inside > 0:
                blocks.append((inside, ir))
            first += mul
        return Irreps(blocks)


for _static in (Irrep, MulIr, Irreps):
    # in a pytree, such as the arguments of an exported function, irreps are a constant and not a tuple of numbers
    torch.utils._pytree.register_constant(_static)
