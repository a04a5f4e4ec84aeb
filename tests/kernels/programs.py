"""Programs to test backends with, and random inputs for them."""

from __future__ import annotations

import numpy
import torch
from hypothesis import strategies as st

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.spec import OUTPUT, Form, Program, Segment, Slot, Term, path
from tesseral.ops.convolution import ConvolutionPlan

IRREPS = {  # features, harmonics and outputs of convolutions
    "equal": ("32x0e+32x1o+32x2e", "0e+1o+2e", "0e+1o+2e"),
    "unequal": ("128x0e+64x1o+32x2e", "0e+1o+2e", "0e+1o+2e"),
    "twenty": ("20x0e+20x1o", "0e+1o+2e", "0e+1o+2e"),
    "odd": ("7x0e+3x1o+1x2e+1x1e", "0e+1o+2e", "0e+0o+1o+1e+2e"),
}


def convolution(name: str) -> Program:
    return ConvolutionPlan(*IRREPS[name]).program


def derivatives(program: Program) -> list[Program]:
    """Forward, backward, double backward."""
    backward = program.gradient().program
    return [program, backward, backward.gradient().program]


def matrix_product(shared: bool = True) -> Program:
    """e3nn's uvw product of (x: u), (y: v) with weights uvw: 1o x 1o -> 0e + 1e."""
    cross = [((a, b, 0, c), s) for a, b, c, s in [(0, 1, 2, 1.0), (1, 2, 0, 1.0), (2, 0, 1, 1.0)]]
    cross += [((b, a, 0, c), -s) for (a, b, _, c), s in cross]
    form = Form(
        (
            Slot("item", (Segment(3, (4,)),)),
            Slot("item", (Segment(3, (2,)),)),
            Slot("shared" if shared else "item", (Segment(1, (4, 2, 5)), Segment(1, (4, 2, 5)))),
            Slot("item", (Segment(1, (5,)), Segment(3, (5,)))),
        ),
        (
            path((0, 0, 0, 0), ("u", "v", "uvw", "w"), [((m, m, 0, 0), 3**-0.5) for m in range(3)]),
            path((0, 0, 1, 1), ("u", "v", "uvw", "w"), cross),
        ),
    )
    return Program(form, ((Term((0, 1, 2, OUTPUT)),),))


def full_product() -> Program:
    """Every channel of x with every channel of y (uvuv), without weights."""
    slots = (Slot("item", (Segment(3, (4,)),)), Slot("item", (Segment(3, (2,)),)), Slot("item", (Segment(1, (4, 2)),)))
    return Program(
        Form(slots, (path((0, 0, 0), ("u", "v", "uv"), [((m, m, 0), 1.0) for m in range(3)]),)), ((Term((0, 1, OUTPUT)),),)
    )


def elementwise() -> Program:
    """Channel by channel (uuu): 1o x 1o -> 0e + 1e, weighted by species."""
    cross = [
        ((0, 1, 0, 2), 1.0),
        ((1, 2, 0, 0), 1.0),
        ((2, 0, 0, 1), 1.0),
        ((1, 0, 0, 2), -1.0),
        ((2, 1, 0, 0), -1.0),
        ((0, 2, 0, 1), -1.0),
    ]
    form = Form(
        (
            Slot("item", (Segment(3, (20,)),)),
            Slot("item", (Segment(3, (20,)),)),
            Slot("species", (Segment(1, (20,)), Segment(1, (20,)))),
            Slot("item", (Segment(1, (20,)), Segment(3, (20,)))),
        ),
        (
            path((0, 0, 0, 0), ("u", "u", "u", "u"), [((m, m, 0, 0), 0.5) for m in range(3)]),
            path((0, 0, 1, 1), ("u", "u", "u", "u"), cross),
        ),
    )
    return Program(form, ((Term((0, 1, 2, OUTPUT)),),))


def symmetric_contraction(order: int = 3, channels: int = 6) -> Program:
    """The invariant (x·x)^(order/2)-like contraction of one tensor with itself, weighted by species: x bound to several slots."""
    coefficients = []
    for index in torch.cartesian_prod(*[torch.arange(3)] * order).tolist():
        values = sorted(index)
        coefficients.append(((*index, 0, 0), float(1 + sum(values) + values[0] * values[-1])))
    vector = Slot("item", (Segment(3, (channels,)),))
    form = Form(
        (*[vector] * order, Slot("species", (Segment(1, (channels,)),)), Slot("item", (Segment(1, (channels,)),))),
        (path((0,) * (order + 2), ("u",) * (order + 2), coefficients),),
    )
    return Program(form, ((Term((*[0] * order, 1, OUTPUT)),),))


def shared_weights() -> Program:
    """A depthwise product whose weights and harmonics are shared by all items: gradients are sums over all items."""
    form = Form(
        (
            Slot("source", (Segment(3, (9,)),)),
            Slot("shared", (Segment(3),)),
            Slot("shared", (Segment(1, (9,)),)),
            Slot("destination", (Segment(1, (9,)),)),
        ),
        (path((0, 0, 0, 0), ("u", "", "u", "u"), [((m, m, 0, 0), 1.0) for m in range(3)]),),
    )
    return Program(form, ((Term((0, 1, 2, OUTPUT)),),))


def inputs(program: Program, items: int = 40, rows: int = 7, dtype=torch.float64, sorted_by: str | None = None, seed: int = 0):
    """(tensors, maps, rows) with the last row of every map unused."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for name in program.form.indices:
        index = torch.randint(0, max(rows - 1, 1), (items,), generator=generator)
        maps.append(IndexMap(index.sort().values if name == sorted_by else index))
    counts = {"item": items, "shared": 1}
    tensors = [
        torch.randn(counts.get(slot.index, rows), slot.dim, dtype=dtype, generator=generator) for slot in program.input_slots
    ]
    return tensors, maps, [rows] * len(maps)


@st.composite
def descriptions(draw) -> dict:
    """Plain data for :func:`build`: a random channelwise form with its axes, segments, multiplicities and coefficients."""
    number = st.integers(1, 3)
    channels = draw(st.lists(st.sampled_from([1, 2, 3, 5, 8, 16, 17, 20, 33]), min_size=1, max_size=3))
    folds = draw(st.integers(1, 2))
    paths = draw(
        st.lists(
            st.tuples(st.integers(0, len(channels) - 1), st.integers(0, folds - 1), number, st.integers(0, 10**6)),
            min_size=1,
            max_size=4,
        )
    )
    axis = st.sampled_from(["item", "shared", "source", "destination"])
    return {
        "channels": channels,
        "components": [draw(number) for _ in channels],
        "fold": [draw(number) for _ in range(folds)],
        "free": draw(st.booleans()),
        "paths": paths,
        "axes": [draw(axis) for _ in range(4)],
        "factor": draw(st.sampled_from([1.0, 2.0])),
        "wanted": draw(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), max_size=2)),
    }


def build(description: dict) -> Program:
    """The program of a description: the forward one, or a derivative with respect to the inputs ``wanted``."""
    d = description
    channels, paths = d["channels"], d["paths"] if d["free"] else [(0, *rest) for _, *rest in d["paths"]]
    left = tuple(Segment(n, (u,)) for n, u in zip(d["components"], channels, strict=True))
    fold = tuple(Segment(n, () if d["free"] else (channels[0],)) for n in d["fold"])
    weights = tuple(Segment(1, (channels[i],)) for i, *_ in paths)
    right = tuple(Segment(n, (channels[i],)) for i, _, n, _ in paths)
    slots = tuple(Slot(axis, segments) for axis, segments in zip(d["axes"], (left, fold, weights, right), strict=True))
    made = []
    for n, (i, j, components, seed) in enumerate(paths):
        dense = numpy.random.default_rng(seed).integers(-2, 3, (left[i].components, fold[j].components, 1, components)) / 2
        dense[0, 0, 0, 0] = 1.0
        made.append(path((i, j, n, n), ("u", "" if d["free"] else "u", "u", "u"), dense))
    program = Program(Form(slots, tuple(made)), ((Term((0, 1, 2, OUTPUT), d["factor"]),),))
    for wanted in d["wanted"]:
        derivative = program.gradient(wanted[: program.num_inputs])
        program = derivative.program if derivative else program
    return program
