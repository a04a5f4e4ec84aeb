"""Triton against the definition: compiled where there is a GPU, else interpreted on the CPU.

Triton decides between the two when it is first imported, so `test_triton.py` runs this file in a process of its own.
By hand: `TRITON_INTERPRET=1 pytest tests/kernels/triton_agreement.py`, or without the variable on a machine with a GPU.
"""

import pytest
import torch
from hypothesis import given, settings

from tesseral.kernels import dispatch, reference, triton
from tesseral.kernels.index_map import IndexMap, sort
from tesseral.kernels.triton_source import Tiling
from tesseral.nn import Convolution
from tesseral.ops.convolution import ConvolutionPlan
from tests.kernels import programs

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
IRREPS = {
    "uneven": ("8x0e+4x1o+2x2e", "0e+1o+2e", "0e+1o+2e"),
    "twenty": ("20x0e+20x1o", "0e+1o", "0e+1o"),
    "three": ("3x0e+3x1o+3x1e", "0e+1o", "0e+0o+1o+1e"),
}


@pytest.fixture(autouse=True)
def runs_here():
    reason = triton.refusal(ConvolutionPlan("1x0e", "0e", "0e").program, DEVICE, torch.float32)
    if reason:
        pytest.skip(reason)


def inputs(program, **settings):
    tensors, maps, rows = programs.inputs(program, **{"items": 5, "rows": 4, **settings})
    return [t.to(DEVICE) for t in tensors], [IndexMap(m.index.to(DEVICE)) for m in maps], rows


def assert_agreement(program, tensors, maps, rows, tiling=None):
    """The kernels agree with the float64 reference, relative to each output's largest entry."""
    found = triton.kernel(program, tensors[0].dtype, tiling or Tiling())(tensors, maps, rows)
    expected = reference.execute(program, [t.double() for t in tensors], maps, rows)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == tensors[0].dtype
        if b.numel():
            error = (a.double() - b).abs().max().item() / max(b.abs().max().item(), 1e-30)
            assert error <= TOLERANCE[a.dtype], f"{error:.1e} for {program}"
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", list(IRREPS))
@pytest.mark.parametrize("order", [0, 1, 2])
def test_convolution(name, order, dtype):
    program = programs.derivatives(ConvolutionPlan(*IRREPS[name]).program)[order]
    assert_agreement(program, *inputs(program, dtype=dtype))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_no_items(order):
    program = programs.derivatives(ConvolutionPlan(*IRREPS["uneven"]).program)[order]
    assert_agreement(program, *inputs(program, items=0))
    assert_agreement(program, *inputs(program, items=0, rows=0))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_orders_that_are_known(order):
    """The pass over sources and that over destinations find their items with and without given orders and pointers."""
    program = programs.derivatives(ConvolutionPlan(*IRREPS["three"]).program)[order]
    tensors, maps, rows = inputs(program, sorted_by="destination")
    first = assert_agreement(program, tensors, maps, rows)
    known = [sort(m.index, n) for m, n in zip(maps, rows, strict=True)]
    source, destination = known
    for given_maps in (known, [IndexMap(source.index, source.order), IndexMap(destination.index, None, destination.pointers)]):
        for a, b in zip(first, triton.execute(program, tensors, given_maps, rows), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("order", [0, 1])
def test_several_blocks_of_channels(order):
    """Sums over channels are put together from the blocks of all groups."""
    program = programs.derivatives(ConvolutionPlan("70x0e+33x1o", "0e+1o", "0e+1o").program)[order]
    narrow = Tiling(lanes=32)
    launches = triton.kernel(program, torch.float64, narrow).launches
    assert sum(blocks for launch in launches for _, blocks in launch.kernels) == 3 + 2
    assert_agreement(program, *inputs(program, items=4, rows=3), narrow)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("make", [programs.elementwise, programs.shared_weights, programs.symmetric_contraction])
def test_other_channelwise_programs(make, order, monkeypatch):
    program = programs.derivatives(make())[order]
    found = assert_agreement(program, *inputs(program))
    monkeypatch.setattr(triton, "_splits", lambda items, rows: 3)
    for a, b in zip(found, assert_agreement(program, *inputs(program)), strict=True):
        torch.testing.assert_close(a, b)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(programs.descriptions())
def test_random_programs(description):
    program = programs.build(description)
    assert_agreement(program, *inputs(program, items=5, rows=4))


def test_repeats_are_bit_identical():
    program = programs.derivatives(ConvolutionPlan(*IRREPS["twenty"]).program)[1]
    arguments = inputs(program, dtype=torch.float32)
    for a, b in zip(triton.execute(program, *arguments), triton.execute(program, *arguments), strict=True):
        assert torch.equal(a, b)


def test_non_contiguous_tensors():
    program = ConvolutionPlan(*IRREPS["three"]).program
    tensors, maps, rows = inputs(program)
    strided = [torch.stack([t, t], dim=-1)[..., 0] for t in tensors]
    index = torch.stack([m.index for m in maps], dim=1)
    assert_agreement(program, strided, [IndexMap(index[:, 0]), IndexMap(index[:, 1])], rows)


@pytest.mark.skipif(DEVICE.type != "cpu", reason="a GPU reports a wrong index later, and for good")
def test_indices_out_of_range_are_refused():
    program = ConvolutionPlan(*IRREPS["three"]).program
    tensors, maps, rows = inputs(program)
    maps[0].index[3] = rows[0]
    with pytest.raises(ValueError, match=r"'source' must lie in 0\.\.3; found 0\.\.4"):
        triton.execute(program, tensors, maps, rows)


class TestLayer:
    """Through the public door: unsorted edges, a node without edges."""

    edges = torch.tensor([[2, 0, 1, 0, 2], [1, 0, 0, 1, 1]], device=DEVICE)  # nothing arrives at node 2

    def arguments(self, convolution, edges):
        generator = torch.Generator().manual_seed(3)
        shapes = (
            (3, convolution.irreps_in.dim),
            (edges.shape[1], convolution.irreps_sh.dim),
            (edges.shape[1], convolution.weight_numel),
        )
        return [torch.randn(shape, dtype=torch.float64, generator=generator).to(DEVICE).requires_grad_() for shape in shapes]

    @pytest.mark.parametrize("edges", [edges, edges[:, :0]], ids=["edges", "no edges"])
    def test_forward_and_gradients(self, edges):
        results = []
        for backend in ("triton", "reference"):
            convolution = Convolution(*IRREPS["uneven"], backend=backend)
            arguments = self.arguments(convolution, edges)
            out = convolution(*arguments, edges)
            first = torch.autograd.grad(out.sin().sum(), arguments, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first), arguments)
            results.append((out, *first, *second))
        assert torch.all(results[0][0][2] == 0)
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)

    def test_gradcheck_and_gradgradcheck(self):
        convolution = Convolution("2x0e+1x1o", "0e+1o", "0e+1o", backend="triton")
        arguments = self.arguments(convolution, self.edges)
        torch.autograd.gradcheck(lambda *a: convolution(*a, self.edges), arguments, fast_mode=True)
        torch.autograd.gradgradcheck(lambda *a: convolution(*a, self.edges), arguments, fast_mode=True)

    def test_the_backend_that_ran_is_triton(self):
        program = Convolution(*IRREPS["three"]).plan.program
        assert dispatch.choose(program, DEVICE, torch.float32, "triton") == ("triton", "asked for")
        assert "triton (asked for)" in dispatch.explain(program, DEVICE, backend="triton")
