r"""Products of irreps: every way in which the channels of two features can be joined by Clebsch-Gordan coefficients.

A product is a sum of *paths*, block i of the first input times block j of the second into block k of the output,

.. math:: z^{(k)}_{c\,w} = \sum_{\text{paths}} \alpha \sum_{ab} C_{abc} \sum_{uv} W_{uvw}\, x^{(i)}_{a\,u}\, y^{(j)}_{b\,v},

with a connection mode that says which of the channels u, v, w are joined. The work is done by the kernels: a plan holds their
programs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Form, Path, Program, Segment, Slot, Term
from tesseral.o3 import Irreps, permutation, to_layout
from tesseral.o3.clebsch_gordan import wigner_3j_sparse
from tesseral.ops.linear import linear
from tesseral.ops.linear_plan import LinearPlan, linear_plan

MODES = ("uvw", "uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw")


class Instruction(NamedTuple):
    """A path; ``path_weight`` is its coefficient α, the square root included, and ``path_shape`` the shape of its weights."""

    i_in1: int
    i_in2: int
    i_out: int
    connection_mode: str
    has_weight: bool
    path_weight: float
    path_shape: tuple[int, ...]


class Stage(NamedTuple):
    """A program for some of the paths, and the columns of the weights it takes (empty without weights).

    With ``mixing`` the program makes the products channel by channel, and the weights mix their channels by a linear map.
    """

    program: Program
    weights: tuple[tuple[int, int], ...]
    mixing: LinearPlan | None = None


@dataclass(frozen=True)
class TensorProductPlan:
    """What a tensor product computes, as data: hashable, printable, made by :func:`tensor_product_plan`."""

    irreps_in1: Irreps
    irreps_in2: Irreps
    irreps_out: Irreps
    instructions: tuple[Instruction, ...]
    layout: str
    shared_weights: bool
    weight_numel: int
    stages: tuple[Stage, ...]
    columns1: tuple[int, ...] | None
    columns2: tuple[int, ...] | None

    def __repr__(self) -> str:
        paths = sum(math.prod(i.path_shape) for i in self.instructions)
        return f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out} | {paths} paths | {self.weight_numel} weights"


def tensor_product_plan(
    irreps_in1: object,
    irreps_in2: object,
    irreps_out: object,
    instructions: Sequence[tuple],
    *,
    variances: tuple[Sequence[float] | None, Sequence[float] | None, Sequence[float] | None] = (None, None, None),
    irrep_normalization: str = "component",
    path_normalization: str = "element",
    shared_weights: bool = True,
    layout: str = "ir_mul",
    convention: str = "0.6",
) -> TensorProductPlan:
    r"""The plan of the product with the given ``instructions``, tuples
    ``(i_in1, i_in2, i_out, mode, has_weight[, path_weight])``.

    The modes and the shapes of their weights: ``uvw`` (u, v, w) joins all channels; ``uvu``, ``uvv`` (u, v) sum over the
    channels of one input; ``uvuv`` (u, v) keeps all pairs; ``uuw`` (u, w) and ``uuu`` (u,) pair equal channels; ``uvu<v`` and
    ``u<vw`` are ``uuu`` and ``uuw`` over the pairs u < v. The coefficients are e3nn's,

    .. math:: \alpha = \sqrt{A\, \sigma^2_k\, p / X},

    where A is :math:`2l_k+1` (``"component"``), :math:`(2l_i+1)(2l_j+1)` (``"norm"``) or 1 (``"none"``),
    with the path's weight p and ``variances`` :math:`(\sigma^2_i, \sigma^2_j, \sigma^2_k)` of the blocks of both inputs and the
    output (default 1); X is the sum over the paths into block k of :math:`\sigma^2_i \sigma^2_j n` (``"element"``), that of the
    path times their number (``"path"``), or 1 (``"none"``), where n counts the terms of the sum over channels.
    ``convention`` is the sign convention of the coefficients C. Raises ``ValueError`` for an instruction that cannot be.

    >>> tensor_product_plan("4x1o", "1x1o", "4x0e+4x1e", [(0, 0, 0, "uvu", True), (0, 0, 1, "uvu", True)])
    4x1o x 1x1o -> 4x0e+4x1e | 8 paths | 8 weights
    """
    first, second, last = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
    for name, value, known in (
        ("irrep_normalization", irrep_normalization, ("component", "norm", "none")),
        ("path_normalization", path_normalization, ("element", "path", "none")),
        ("layout", layout, ("ir_mul", "mul_ir")),
    ):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(known)}")
    filled = [[1.0] * len(irreps) if v is None else list(v) for v, irreps in zip(variances, (first, second, last), strict=True)]
    for v, irreps in zip(filled, (first, second, last), strict=True):
        if len(v) != len(irreps):
            raise ValueError(f"{len(v)} variances for the {len(irreps)} blocks of {irreps}: give one for each")
    given = [(*i, 1.0)[:6] for i in instructions]
    shapes = [_check(i, first, second, last) for i in given]
    done = []
    for ins, (shape, count) in zip(given, shapes, strict=True):
        i, j, k, mode, has_weight, path_weight = ins
        ir1, ir2, ir3 = first[i].ir, second[j].ir, last[k].ir
        dims = {"component": ir3.dim, "norm": ir1.dim * ir2.dim, "none": 1}[irrep_normalization]
        same = [(o, c) for o, (_, c) in zip(given, shapes, strict=True) if o[2] == k]
        if path_normalization == "element":
            x = sum(filled[0][o[0]] * filled[1][o[1]] * c for o, c in same)
        else:
            x = filled[0][i] * filled[1][j] * count * len(same) if path_normalization == "path" else 1.0
        variance = dims * filled[2][k] * path_weight / x if x > 0 else dims * filled[2][k] * path_weight
        if variance < 0:
            raise ValueError(f"the path weight of instruction {ins} is a variance, so it must not be negative")
        done.append(Instruction(i, j, k, mode, bool(has_weight), math.sqrt(variance), shape))
    paths = tuple(done)
    pairs = [_Pairs(irreps) for irreps in (first, second)]
    stages = _stages(paths, pairs, last, shared_weights, convention)
    numel = sum(math.prod(p.path_shape) for p in paths if p.has_weight)
    columns = [p.columns() for p in pairs]
    return TensorProductPlan(first, second, last, paths, layout, shared_weights, numel, stages, columns[0], columns[1])


def tensor_product(
    x: Float[Tensor, "*batch1 dim1"],
    y: Float[Tensor, "*batch2 dim2"],
    weight: Float[Tensor, "*batch3 weight_numel"] | None,
    plan: TensorProductPlan,
    backend: str = "auto",
) -> Float[Tensor, "*out dim_out"]:
    """The product of features ``x`` and ``y`` by a plan; leading axes broadcast.

    ``weight`` holds the weights of the instructions that have them, one after the other, each row-major: one row for plans with
    ``shared_weights``, else with leading axes that broadcast with those of the features. ``None`` where the plan has no weights.
    Raises ``ValueError`` for tensors that do not fit the plan.

    >>> plan = tensor_product_plan("1x1o", "1x1o", "1x0e", [(0, 0, 0, "uuu", False)])
    >>> x = torch.tensor([1.0, 2.0, 2.0])
    >>> tensor_product(x, x, None, plan) * 3**0.5
    tensor([9.])
    """
    dims = (plan.irreps_in1.dim, plan.irreps_in2.dim)
    if (x.shape[-1], y.shape[-1]) != dims:
        raise ValueError(f"the features must end in {dims[0]} and {dims[1]}, got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    numel, shared = plan.weight_numel, plan.shared_weights
    if not numel:
        weight = None
    elif weight is None or weight.shape[-1] != numel or (shared and weight.ndim != 1):
        wanted = f"({numel},)" if shared else f"(..., {numel})"
        raise ValueError(f"the weights must have shape {wanted}, got {None if weight is None else tuple(weight.shape)}")
    batch = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], () if weight is None or shared else weight.shape[:-1])
    rows = [
        _rows(to_layout(t, irreps, plan.layout, "ir_mul"), batch) for t, irreps in ((x, plan.irreps_in1), (y, plan.irreps_in2))
    ]
    for n, columns in enumerate((plan.columns1, plan.columns2)):
        if columns is not None:
            rows[n] = rows[n].index_select(-1, torch.tensor(columns, device=x.device))
    weights = None if weight is None else weight[None] if shared else _rows(weight, batch)
    result = None
    for stage in plan.stages:
        tensors = list(rows)
        if stage.weights and weights is not None:
            pieces = [weights[:, a:b] for a, b in stage.weights]
            tensors.append(pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1))
        mixed = tensors.pop() if stage.mixing is not None else None
        (value,) = multilinear(stage.program, [t.contiguous() for t in tensors], (), (), backend)
        if stage.mixing is not None and mixed is not None:
            value = linear(value, mixed[0] if shared else mixed, stage.mixing)
        result = value if result is None else result + value
    if result is None:
        result = rows[0].new_zeros(rows[0].shape[0], plan.irreps_out.dim)
    return to_layout(result.reshape(*batch, plan.irreps_out.dim), plan.irreps_out, "ir_mul", plan.layout)


def right(
    y: Float[Tensor, "*batch2 dim2"],
    weight: Float[Tensor, "*batch3 weight_numel"] | None,
    plan: TensorProductPlan,
    backend: str = "auto",
) -> Float[Tensor, "*out dim1 dim_out"]:
    """The matrix ``M`` with ``tensor_product(x, y, weight, plan) == x @ M``.

    >>> plan = tensor_product_plan("2x1o", "1x0e", "2x1o", [(0, 0, 0, "uvu", False)])
    >>> right(torch.tensor([2.0]), None, plan).equal(2 * torch.eye(6))
    True
    """
    identity = torch.eye(plan.irreps_in1.dim, dtype=y.dtype, device=y.device)
    if weight is not None and not plan.shared_weights:
        weight = weight.unsqueeze(-2)
    return tensor_product(identity, y.unsqueeze(-2), weight, plan, backend)


def regrouping(source: Irreps, target: Irreps) -> tuple[int, ...] | None:
    """Columns that turn ``ir_mul`` features of ``source`` into those of ``target``, which has the same irreps in blocks of other
    sizes.

    ``None`` where nothing moves. Merging or splitting blocks moves no number in the ``mul_ir`` layout, but does in ``ir_mul``.

    >>> regrouping(Irreps("1x1o+1x1o"), Irreps("2x1o"))
    (0, 3, 1, 4, 2, 5)
    """
    if source.simplify() != target.simplify():
        raise ValueError(f"{source} and {target} are not the same irreps in the same order")
    columns = permutation(source, "ir_mul", "mul_ir")[permutation(target, "mul_ir", "ir_mul")].tolist()
    return None if columns == list(range(len(columns))) else tuple(columns)


def _check(ins: tuple, first: Irreps, second: Irreps, last: Irreps) -> tuple[tuple[int, ...], int]:
    """Shape of the weights of an instruction, and the number of terms in its sum over channels."""
    i, j, k, mode, has_weight, _ = ins
    if not (0 <= i < len(first) and 0 <= j < len(second) and 0 <= k < len(last)):
        raise ValueError(f"instruction {ins} names a block that {first}, {second} or {last} does not have")
    (u, ir1), (v, ir2), (w, ir3) = first[i], second[j], last[k]
    if ir3 not in ir1 * ir2:
        raise ValueError(f"instruction {ins}: {ir3} is not in {ir1} x {ir2}")
    n = u * (u - 1) // 2
    rules = {
        "uvw": ((u, v, w), u * v, has_weight),
        "uvu": ((u, v), v, w == u),
        "uvv": ((u, v), u, w == v),
        "uuw": ((u, w), u, u == v and (has_weight or w == 1)),
        "uuu": ((u,), 1, u == v == w),
        "uvuv": ((u, v), 1, w == u * v),
        "uvu<v": ((n,), 1, u == v and w == n),
        "u<vw": ((n, w), n, u == v and bool(has_weight)),
    }
    if mode not in rules:
        raise ValueError(f"unknown connection mode {mode!r}: expected one of {', '.join(MODES)}")
    shape, count, fits = rules[mode]
    if not fits:
        raise ValueError(f"instruction {ins}: mode {mode} does not fit {u}x{ir1} times {v}x{ir2} into {w}x{ir3}")
    return shape, count


class _Pairs:
    """Blocks of an input, and after them blocks of its channel pairs: the first or second channel of each pair u < v."""

    def __init__(self, irreps: Irreps) -> None:
        self.irreps = irreps
        self.segments = [Segment(ir.dim, (mul,)) for mul, ir in irreps]
        self.found: dict[tuple[int, int], int] = {}

    def segment(self, block: int, side: int) -> int:
        if (block, side) not in self.found:
            self.found[block, side] = len(self.segments)
            mul, ir = self.irreps[block]
            self.segments.append(Segment(ir.dim, (mul * (mul - 1) // 2,)))
        return self.found[block, side]

    def columns(self) -> tuple[int, ...] | None:
        if not self.found:
            return None
        columns = list(range(self.irreps.dim))
        for block, side in self.found:
            mul, ir = self.irreps[block]
            start = self.irreps.slices()[block].start
            channels = [(u, v)[side] for u in range(mul) for v in range(u + 1, mul)]
            columns += [start + m * mul + c for m in range(ir.dim) for c in channels]
        return tuple(columns)


def _stages(paths: Sequence[Instruction], pairs: list[_Pairs], last: Irreps, shared: bool, convention: str) -> tuple[Stage, ...]:
    """Programs for the paths: usually one; more where paths with and without weights, or of unlike output channels, meet."""
    offsets, start = [], 0
    for p in paths:
        offsets.append(start)
        start += math.prod(p.path_shape) if p.has_weight else 0
    drawn = []  # (has weight, segments of both inputs, subscripts, channels of the output)
    for p in paths:
        letters = {"uvu<v": "uuu", "u<vw": "uuw"}.get(p.connection_mode, p.connection_mode)
        if "<" in p.connection_mode:
            ends = (pairs[0].segment(p.i_in1, 0), pairs[1].segment(p.i_in2, 1))
        else:
            ends = (p.i_in1, p.i_in2)
        out = letters[2:]
        channels = p.path_shape if out == "uv" else (last[p.i_out].mul,)
        drawn.append((ends, (letters[0], letters[1], _weight_letters(letters), out), channels))

    stages = []
    mixed: list[int] = []
    if all(mul == 1 for mul, _ in pairs[1].irreps):  # a matrix product after a channelwise one
        mixed = [n for n, p in enumerate(paths) if p.connection_mode == "uvw" and p.has_weight and math.prod(p.path_shape) > 0]
    if mixed:
        columns = _runs([(offsets[n], math.prod(paths[n].path_shape)) for n in mixed])
        stages.append(Stage(*_mixing([paths[n] for n in mixed], pairs, last, convention, columns)))

    groups: list[tuple[bool, dict[int, tuple[int, ...]], list[int]]] = []
    for n, (p, (_, _, channels)) in enumerate(zip(paths, drawn, strict=True)):
        if not math.prod(channels) or not math.prod(p.path_shape) or n in mixed:
            continue
        for has_weight, shapes, members in groups:
            if has_weight == p.has_weight and shapes.get(p.i_out, channels) == channels:
                shapes[p.i_out] = channels
                members.append(n)
                break
        else:
            groups.append((p.has_weight, {p.i_out: channels}, [n]))

    inputs = tuple(Slot(ITEM, tuple(p.segments)) for p in pairs)
    for has_weight, shapes, members in groups:
        result = Slot(ITEM, tuple(Segment(ir.dim, shapes.get(k, (mul,))) for k, (mul, ir) in enumerate(last)))
        weights = Slot(SHARED if shared else ITEM, tuple(Segment(1, paths[n].path_shape) for n in members if has_weight))
        terms = []
        for number, n in enumerate(members):
            p, (ends, subscripts, _) = paths[n], drawn[n]
            l1, l2, l3 = (irreps[b].ir.l for irreps, b in zip((pairs[0].irreps, pairs[1].irreps, last), p[:3], strict=True))
            index, value = wigner_3j_sparse(l1, l2, l3, convention)
            scaled = [(tuple(map(int, i)), float(v) * p.path_weight) for i, v in zip(index, value, strict=True)]
            if has_weight:
                entries = tuple(((i[0], i[1], 0, i[2]), v) for i, v in scaled)
                terms.append(Path((*ends, number, p.i_out), subscripts, entries))
            else:
                terms.append(Path((*ends, p.i_out), subscripts[:2] + subscripts[3:], tuple(scaled)))
        slots = (*inputs, weights, result) if has_weight else (*inputs, result)
        form = _without_single_channels(Form(slots, tuple(terms)))
        program = Program(form, ((Term((*range(len(slots) - 1), OUTPUT)),),))
        assert program.key  # worked out now, because Dynamo cannot enter a cached property
        stages.append(
            Stage(program, _runs([(offsets[n], math.prod(paths[n].path_shape)) for n in members]) if has_weight else ())
        )
    return tuple(stages)


def _mixing(
    paths: Sequence[Instruction], pairs: list[_Pairs], last: Irreps, convention: str, columns: tuple[tuple[int, int], ...]
) -> tuple[Program, tuple[tuple[int, int], ...], LinearPlan]:
    """The stage of *uvw* paths whose second input has single channels: one block of products for each path, then a linear map."""
    first, second = pairs[0].irreps, pairs[1].irreps
    between = Irreps([(first[p.i_in1].mul, last[p.i_out].ir) for p in paths])
    plan = linear_plan(between, last, instructions=[(n, p.i_out) for n, p in enumerate(paths)])
    terms = []
    for n, (p, mix) in enumerate(zip(paths, plan.paths, strict=True)):
        index, value = wigner_3j_sparse(first[p.i_in1].ir.l, second[p.i_in2].ir.l, last[p.i_out].ir.l, convention)
        scaled = value * (p.path_weight / mix.coefficient)
        entries = tuple((tuple(map(int, i)), float(v)) for i, v in zip(index, scaled, strict=True))
        terms.append(Path((p.i_in1, p.i_in2, n), ("u", "v", "u"), entries))
    slots = (*(Slot(ITEM, tuple(p.segments)) for p in pairs), Slot(ITEM, tuple(Segment(ir.dim, (mul,)) for mul, ir in between)))
    program = Program(_without_single_channels(Form(slots, tuple(terms))), ((Term((0, 1, OUTPUT)),),))
    assert program.key  # as above
    return program, columns, plan


def _without_single_channels(form: Form) -> Form:
    """The same form without the channel axes that are of length 1 in all segments of a slot.

    With them the product with harmonics of multiplicity 1 is channelwise, for which there are fast kernels.
    """
    dropped = []
    for slot in form.slots:
        ranks = {len(segment.channels) for segment in slot.segments}
        common = range(max(ranks)) if len(ranks) == 1 else ()
        dropped.append({axis for axis in common if all(segment.channels[axis] == 1 for segment in slot.segments)})

    def kept(values: Sequence, slot: int) -> list:
        return [value for axis, value in enumerate(values) if axis not in dropped[slot]]

    slots = tuple(
        Slot(slot.index, tuple(Segment(s.components, tuple(kept(s.channels, n))) for s in slot.segments))
        for n, slot in enumerate(form.slots)
    )
    paths = []
    for p in form.paths:
        subscripts = ["".join(kept(letters, n)) for n, letters in enumerate(p.subscripts)]
        names = dict(zip(dict.fromkeys("".join(subscripts)), "uvw", strict=False))
        renamed = tuple("".join(names[letter] for letter in letters) for letters in subscripts)
        paths.append(Path(p.segments, renamed, p.coefficients))
    return Form(slots, tuple(paths))


def _weight_letters(letters: str) -> str:
    return {"uvw": "uvw", "uvu": "uv", "uvv": "uv", "uuw": "uw", "uuu": "u", "uvuv": "uv"}[letters]


def _runs(pieces: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Adjacent pieces (start, length) as few intervals (start, stop)."""
    runs: list[tuple[int, int]] = []
    for start, length in pieces:
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], start + length)
        else:
            runs.append((start, start + length))
    return tuple(runs)


def _rows(x: Tensor, batch: Sequence[int]) -> Tensor:
    return x.expand(*batch, x.shape[-1]).reshape(math.prod(batch), x.shape[-1])
