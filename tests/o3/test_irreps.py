"""Irreps: e3nn's grammar and arithmetic, checked against e3nn 0.6.0, and where it falls short of it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tesseral.o3 import Irrep, Irreps, MulIr, rand_matrix, to_layout

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from e3nn import o3 as e3nn

irrep = st.builds(Irrep, st.integers(0, 6), st.sampled_from([-1, 1]))
irreps_strategy = st.lists(st.tuples(st.integers(0, 5), irrep), max_size=6).map(Irreps)


@given(irreps_strategy)
def test_same_as_e3nn(irreps: Irreps) -> None:
    theirs = e3nn.Irreps(str(irreps))
    assert irreps == theirs
    assert hash(irreps) == hash(theirs)
    assert repr(irreps) == repr(theirs)
    assert Irreps(theirs) == irreps
    assert (irreps.dim, irreps.num_irreps, irreps.ls) == (theirs.dim, theirs.num_irreps, theirs.ls)
    assert irreps.slices() == theirs.slices()
    assert tuple(irreps.sort()) == tuple(theirs.sort())
    assert irreps.regroup() == theirs.regroup()
    assert irreps.simplify() == theirs.simplify()
    assert irreps.remove_zero_multiplicities() == theirs.remove_zero_multiplicities()
    assert irreps.filter(lmax=2) == theirs.filter(lmax=2)
    assert irreps.filter(keep=["1o", "2e"]) == theirs.filter(keep=["1o", "2e"])
    assert irreps.filter(drop=lambda block: block.mul > 2) == theirs.filter(drop=lambda block: block.mul > 2)
    assert irreps + "1o" == theirs + e3nn.Irreps("1o")
    assert irreps * 2 == theirs * 2
    assert 2 * irreps == 2 * theirs
    assert irreps[1:3] == theirs[1:3]
    assert irreps.count("1o") == theirs.count("1o")
    assert ("1o" in irreps) == ("1o" in theirs)


@given(irreps_strategy, st.integers(0, 30), st.integers(0, 30))
def test_slice_by_mul(irreps: Irreps, start: int, stop: int) -> None:
    ones = [ir for mul, ir in irreps for _ in range(mul)]
    assert [ir for mul, ir in irreps.slice_by_mul[start:stop] for _ in range(mul)] == ones[start:stop]


@given(irreps_strategy)
def test_sort_is_a_stable_permutation(irreps: Irreps) -> None:
    ordered, p, inv = irreps.sort()
    assert [ordered[p[i]] for i in range(len(irreps))] == list(irreps)
    assert [irreps[inv[i]] for i in range(len(irreps))] == list(ordered)
    keys = [(ir.l, ir.p, inv[i]) for i, (_, ir) in enumerate(ordered)]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  ", ()),
        ("0e", ((1, (0, 1)),)),
        (" 16 x 0e +8x1o+ 2 e", ((16, (0, 1)), (8, (1, -1)), (1, (2, 1)))),
        ("0x3o", ((0, (3, -1)),)),
        ("1y + 2y", ((1, (1, -1)), (1, (2, 1)))),
        ("12x10o", ((12, (10, -1)),)),
    ],
)
def test_grammar(text: str, expected: tuple) -> None:
    assert Irreps(text) == expected


@pytest.mark.parametrize("text", ["1", "e", "1o+", "+", "-1o", "-2x1o", "1.5x0e", "2*1o", "1O", "1x2x0e", "１o"])
def test_bad_strings_say_so(text: str) -> None:
    with pytest.raises(ValueError, match="unable to convert"):
        Irreps(text)


@pytest.mark.parametrize(
    "item", [1, (2, 1, 0), [2.0, "1o"], [(-1, "0e")], [(1, (0, 2))], [(1, (-1, 1))], [object()], [(1.5, "0e")]]
)
def test_bad_values_say_so(item: object) -> None:
    with pytest.raises(ValueError):
        Irreps(item)


@pytest.mark.parametrize("value", ["", "1", "o1", "1e ,", (1, 2), (1, 0), (-1, 1), 1, None, (1.0, 1), [1, 1, 1]])
def test_bad_irreps_say_so(value: object) -> None:
    with pytest.raises(ValueError):
        Irrep(value)


def test_every_way_to_make_one() -> None:
    block = MulIr(2, Irrep("1o"))
    assert Irrep(block) == Irrep("1o") == Irrep(np.int64(1), np.int32(-1)) == Irrep(e3nn.Irrep("1o")) == (1, -1)
    assert Irreps(block) == Irreps([(np.int64(2), "1o")]) == Irreps([(2, (1, -1))]) == Irreps([block]) == Irreps("2x1o")
    assert Irreps(Irrep("1o")) == Irreps(["1o"]) == Irreps([e3nn.Irrep("1o")]) == Irreps(e3nn.Irrep("1o")) == Irreps("1o")
    assert Irreps(None) == Irreps() == Irreps([]) == ()
    assert Irreps(Irrep("1o") * Irrep("1o")) == Irreps("0e+1e+2e")
    assert np.int64(3) * Irrep("1o") == Irreps("3x1o")
    assert np.int64(2) * Irreps("2x0e") == Irreps("2x0e") * np.int64(2) == Irreps("2x0e+2x0e")
    assert "1o" + Irreps("0e") == Irreps("1o+0e")
    assert Irrep("1o") + Irrep("0e") == Irreps("1o+0e")


@given(irrep, irrep)
def test_product_of_irreps(a: Irrep, b: Irrep) -> None:
    product = list(a * b)
    assert product == [(ir.l, ir.p) for ir in e3nn.Irrep(str(a)) * e3nn.Irrep(str(b))]
    assert sum(ir.dim for ir in product) == a.dim * b.dim


def test_iterator() -> None:
    assert list(Irrep.iterator(3)) == [(ir.l, ir.p) for ir in e3nn.Irrep.iterator(3)]
    endless = Irrep.iterator()
    assert [next(endless) for _ in range(30)] == list(Irrep.iterator(14))


def test_tuple_methods_do_not_raise() -> None:
    ir = Irrep("2e")
    assert len(ir) == 2
    assert 2 in ir
    assert Irreps("2x0e+3x1o+1x1o").index("1o") == 1
    with pytest.raises(ValueError):
        Irreps("0e").index("1o")


def test_filter_takes_one_argument_and_blocks() -> None:
    irreps = Irreps("1e + 2x2e + 0e")
    assert irreps.filter(keep=irreps[1]) == irreps.filter(keep=Irrep("2e")) == irreps.filter("2e") == Irreps("2x2e")
    assert irreps.filter(drop="2e + 7x1e") == Irreps("0e")
    assert irreps.filter() == irreps
    assert irreps.filter(keep="") == Irreps()
    with pytest.raises(ValueError, match="only one"):
        irreps.filter(keep="0e", lmax=1)


def test_errors_of_arithmetic() -> None:
    with pytest.raises(NotImplementedError, match="tensor product"):
        Irreps("0e") * Irreps("1o")
    with pytest.raises(ValueError, match="repetitions"):
        Irreps("0e") * 1.5
    with pytest.raises(ValueError, match="lmax"):
        _ = Irreps("0x3e").lmax
    with pytest.raises(ValueError, match="step 1"):
        Irreps("3x0e").slice_by_mul[::2]
    with pytest.raises(TypeError, match="slice"):
        Irreps("3x0e").slice_by_mul[1]


@pytest.mark.parametrize("normalization", ["component", "norm"])
@pytest.mark.parametrize("size", [(-1,), (4, -1), (2, -1, 3)])
def test_randn_draws_as_e3nn(normalization: str, size: tuple[int, ...]) -> None:
    irreps = Irreps("3x0e+2x1o+0x2e+2e")
    torch.manual_seed(3)
    ours = irreps.randn(*size, normalization=normalization, dtype=torch.float64)
    torch.manual_seed(3)
    assert torch.equal(ours, e3nn.Irreps(str(irreps)).randn(*size, normalization=normalization, dtype=torch.float64))
    assert irreps.randn(*size, normalization=normalization, requires_grad=True).requires_grad


def test_randn_errors_and_generator() -> None:
    irreps = Irreps("1o")
    for size in [(), (3,), (-1, -1)]:
        with pytest.raises(ValueError, match="exactly one -1"):
            irreps.randn(*size)
    with pytest.raises(ValueError, match="'component' or 'norm'"):
        irreps.randn(-1, normalization="integral")
    draws = [irreps.randn(-1, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*draws)
    assert Irreps("").randn(4, -1, normalization="norm").shape == (4, 0)


def test_copies() -> None:
    irreps = Irreps("3x0e+0x1o+2x2e")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(irreps, protocol))
        assert type(again) is Irreps
        assert type(again[0]) is MulIr
        assert type(again[0].ir) is Irrep
        assert again == irreps
        assert (again.dim, again.slices()) == (irreps.dim, irreps.slices())
    assert copy.deepcopy(irreps) == copy.copy(irreps) == irreps
    assert copy.deepcopy({"a": irreps[0], "b": irreps[0].ir}) == {"a": irreps[0], "b": irreps[0].ir}
    irreps.slices().clear()
    assert len(irreps.slices()) == 3


def test_is_a_constant_in_a_pytree() -> None:
    leaves, _ = torch.utils._pytree.tree_flatten((torch.zeros(2), Irreps("3x0e+1o"), Irrep("1o")))
    assert len(leaves) == 1


class Blocks(torch.nn.Module):
    """Touches its irreps in forward in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.irreps = Irreps("3x0e+2x1o+0x2e+2x2e")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = [
            x[..., place].unflatten(-1, (mul, ir.dim)).sum(-1) * ir.l
            for (mul, ir), place in zip(self.irreps, self.irreps.slices())
        ]
        for mul, (l, p) in self.irreps:
            x = x * (1 + mul * l * p)
        scale = self.irreps.dim * self.irreps.lmax * self.irreps.num_irreps * self.irreps.count("1o") * len(self.irreps[0].ir)
        if "1o" in self.irreps and Irreps("0e+1o+0e").regroup().filter(lmax=1) == Irreps("2x0e+1o"):
            x = x * scale
        return torch.cat([*out, x, to_layout(x, self.irreps, "mul_ir", "ir_mul")], -1)


class Argument(torch.nn.Module):
    """Takes irreps as an argument."""

    def forward(self, x: torch.Tensor, irreps: Irreps) -> torch.Tensor:
        return x * irreps.dim * irreps[0].ir.dim


@pytest.mark.compile
def test_compiles_when_used_in_forward() -> None:
    module = Blocks()
    x = module.irreps.randn(4, -1)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(x), module(x))
    argument = torch.compile(Argument(), fullgraph=True, backend="aot_eager")
    for irreps in [Irreps("2x1o"), Irreps("3x2e")]:
        torch.testing.assert_close(argument(x, irreps), Argument()(x, irreps))


@pytest.mark.compile
@pytest.mark.parametrize("strict", [False, True])
def test_exports_when_used_in_forward(strict: bool) -> None:
    module = Blocks()
    x = module.irreps.randn(4, -1)
    torch.testing.assert_close(torch.export.export(module, (x,), strict=strict).module()(x), module(x))
    irreps = Irreps("2x1o")
    exported = torch.export.export(Argument(), (x, irreps), strict=strict).module()
    torch.testing.assert_close(exported(x, irreps), Argument()(x, irreps))


@pytest.mark.compile
def test_D_compiles_and_exports() -> None:
    class Rotate(torch.nn.Module):
        irreps = Irreps("2x0e+3x1o+1e+2x3o")

        def forward(self, R: torch.Tensor) -> torch.Tensor:
            return self.irreps.D_from_matrix(R, layout="ir_mul")

    R = rand_matrix(3, dtype=torch.float64)
    torch.testing.assert_close(torch.compile(Rotate(), fullgraph=True, backend="aot_eager")(R), Rotate()(R))
    exported = torch.export.export(Rotate(), (R,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    more = rand_matrix(5, dtype=torch.float64)
    torch.testing.assert_close(exported(more), Rotate()(more))


def test_D_agrees_with_e3nn() -> None:
    irreps = Irreps("2x0e+3x1o+0o+2x1e+0x4e+2x3o+2e+1o")
    theirs = e3nn.Irreps(str(irreps))
    torch.set_default_dtype(torch.float64)  # e3nn's generators have the default precision
    try:
        R = rand_matrix(7)
        k = torch.randint(0, 4, (7,))
        angles = e3nn.rand_angles(7)
        q = e3nn.rand_quaternion(7)
        axis, angle = e3nn.rand_axis_angle(7)
        pairs = [
            (irreps.D_from_matrix(R), theirs.D_from_matrix(R)),
            (irreps.D_from_matrix(-R), theirs.D_from_matrix(-R)),
            (irreps.D_from_angles(*angles), theirs.D_from_angles(*angles)),
            (irreps.D_from_angles(*angles, k), theirs.D_from_angles(*angles, k)),
            (irreps.D_from_angles(*angles, k.double()), theirs.D_from_angles(*angles, k.double())),
            (irreps.D_from_quaternion(q, k), theirs.D_from_quaternion(q, k)),
            (irreps.D_from_axis_angle(axis, angle), theirs.D_from_axis_angle(axis, angle)),
            (Irrep("2o").D_from_matrix(-R), e3nn.Irrep("2o").D_from_matrix(-R)),
            (Irrep("2o").D_from_angles(*angles, k), e3nn.Irrep("2o").D_from_angles(*angles, k)),
            (Irrep("2o").D_from_quaternion(q, k), e3nn.Irrep("2o").D_from_quaternion(q, k)),
            (Irrep("2o").D_from_axis_angle(axis, angle), e3nn.Irrep("2o").D_from_axis_angle(axis, angle)),
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, reference in pairs:
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-12)


def test_D_of_one_rotation_and_many_powers_of_inversion() -> None:
    k = torch.tensor([0, 1, 2])
    D = Irreps("1o+1e").D_from_quaternion(torch.tensor([1.0, 0.0, 0.0, 0.0]), k)
    assert torch.equal(D.diagonal(dim1=-2, dim2=-1)[:, [0, 3]], torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]]))


def test_D_in_either_layout_acts_on_features_in_it() -> None:
    irreps = Irreps("2x0e+3x1o+0x1e+2x2o+1e")
    R = -rand_matrix(dtype=torch.float64)
    x = irreps.randn(5, -1, dtype=torch.float64)
    rotated = x @ irreps.D_from_matrix(R).mT
    there = to_layout(x, irreps, "mul_ir", "ir_mul") @ irreps.D_from_matrix(R, layout="ir_mul").mT
    torch.testing.assert_close(to_layout(there, irreps, "ir_mul", "mul_ir"), rotated)
    with pytest.raises(ValueError, match="layout"):
        irreps.D_from_matrix(R, layout="ir")


def test_D_dtypes_and_empty() -> None:
    irreps = Irreps("2x1o+0o")
    R = rand_matrix(3, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        D = irreps.D_from_matrix(R.to(dtype))
        assert D.dtype == dtype
        torch.testing.assert_close(D.double(), irreps.D_from_matrix(R), rtol=0, atol=4 * torch.finfo(dtype).eps)
    assert Irreps("").D_from_matrix(R).shape == (3, 0, 0)
    assert irreps.D_from_matrix(R[:0]).shape == (0, 7, 7)
    assert irreps.D_from_matrix(R.to("meta")).shape == (3, 7, 7)


def test_D_refuses_what_is_not_orthogonal() -> None:
    R = 2 * torch.eye(3)
    for make in (Irreps("1o").D_from_matrix, Irrep("1o").D_from_matrix):
        with pytest.raises(ValueError, match="orthogonal"):
            make(R)
    torch.testing.assert_close(Irreps("1o").D_from_matrix(R, check=False), R)
    with pytest.raises((ValueError, TypeError), match=r"3, 3|3 3"):
        Irreps("1o").D_from_matrix(torch.eye(4))  # the shape checker of the tests comes first, if it is on
