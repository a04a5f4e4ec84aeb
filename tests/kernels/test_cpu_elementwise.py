"""Tables of multiply-adds against the definition: every derivative, odd numbers of channels, several maps, several threads."""

import numpy
import pytest
import torch

from tesseral.kernels import cpu_elementwise, cpu_source, reference
from tesseral.kernels.index_map import IndexMap, sort
from tesseral.kernels.spec import OUTPUT, Form, Program, Segment, Slot, Term, path
from tests.kernels import programs

CHANNELS = [1, 7, 16, 33, 40]


def quartic(channels: int, index: str = "item") -> Program:
    """x x x y w -> out: symmetric in three slots, with two maps, two segments."""
    rng = numpy.random.default_rng(0)
    cube = rng.standard_normal((2, 2, 2))
    cube = sum(cube.transpose(p) for p in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
    x, w = Slot("item", (Segment(2, (channels,)),)), Slot("species", (Segment(2, (channels,)), Segment(1, (channels,))))
    y, out = Slot("site", (Segment(1, (channels,)),)), Slot(index, (Segment(1, (channels,)), Segment(2, (channels,))))
    first = cube[:, :, :, None, None, None] * numpy.array([1.0, -0.5])[:, None]
    second = cube[:, :, :, None, None, None] * numpy.array([0.3, 1.0])
    letters = ("u",) * 6
    paths = (path((0, 0, 0, 0, 0, 0), letters, first), path((0, 0, 0, 0, 1, 1), letters, second))
    return Program(Form((x, x, x, y, w, out), paths), ((Term((0, 0, 0, 1, 2, OUTPUT)),),))


def arguments(program, dtype, items=9):
    torch.manual_seed(0)
    rows = {"species": 4, "site": 5}
    maps = [IndexMap(torch.randint(rows[name], (items,))) for name in program.form.indices]
    counts = {"item": items, "shared": 1, **rows}
    tensors = [torch.randn(counts[slot.index], slot.dim, dtype=dtype) for slot in program.input_slots]
    return tensors, maps, [rows[name] for name in program.form.indices]


def check(program, dtype, tolerance, **options):
    found = cpu_elementwise.Kernel(program, dtype)(*arguments(program, dtype, **options))
    tensors, maps, rows = arguments(program, dtype, **options)
    expected = reference.execute(program, [t.double() for t in tensors], maps, rows)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * float(b.abs().max()) if b.numel() else 0)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("index", ["item", "shared", "species"])
def test_derivatives_agree_with_the_definition(channels, index):
    for program in programs.derivatives(quartic(channels, index)):
        check(program, torch.float64, 1e-12)


def test_float32():
    for program in programs.derivatives(quartic(20)):
        check(program, torch.float32, 1e-5)


@pytest.mark.parametrize("items", [0, 1])
def test_few_items(items):
    for program in programs.derivatives(quartic(5)):
        check(program, torch.float64, 1e-12, items=items)


def test_results_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            some = []
            for program in programs.derivatives(quartic(70)):
                some += cpu_elementwise.Kernel(program, torch.float64)(*arguments(program, torch.float64, items=200))
            results.append(some)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_known_order_is_used():
    program = programs.derivatives(quartic(8))[1]
    tensors, maps, rows = arguments(program, torch.float64)
    kernel = cpu_elementwise.Kernel(program, torch.float64)
    expected = kernel(tensors, maps, rows)
    given = kernel(tensors, [sort(m.index, count) for m, count in zip(maps, rows, strict=True)], rows)
    assert all(torch.equal(a, b) for a, b in zip(given, expected, strict=True))


def test_products_are_shared():
    """The square of x enters twice and is made once."""
    slot = Slot("item", (Segment(1, (4,)),))
    form = Form((slot,) * 4, (path((0, 0, 0, 0), ("u",) * 4, [((0, 0, 0, 0), 1.0)]),))
    tables = cpu_elementwise.tables(Program(form, ((Term((0, 0, 1, OUTPUT)),), (Term((0, 0, 0, OUTPUT)),))))
    assert tables.registers == 4 + len(tables.products)
    assert len({tuple(p) for p in tables.products.tolist()}) == len(tables.products)


@pytest.mark.parametrize("make", [programs.matrix_product, programs.full_product, lambda: programs.convolution("odd")])
def test_other_programs_are_refused(make):
    with pytest.raises(cpu_source.Refused, match="channel"):
        cpu_elementwise.tables(make())
    assert "channel" in cpu_elementwise.refusal(make())
