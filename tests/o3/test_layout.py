"""Layouts: a rearrangement of the right numbers, there and back, without a copy where there is nothing to do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tesseral.o3 import Irrep, Irreps, permutation, to_layout

LAYOUTS = [("mul_ir", "ir_mul"), ("ir_mul", "mul_ir")]
irreps_strategy = st.lists(
    st.tuples(st.integers(0, 4), st.builds(Irrep, st.integers(0, 3), st.sampled_from([-1, 1]))), max_size=6
).map(Irreps)


@given(irreps_strategy, st.sampled_from(LAYOUTS))
def test_there_and_back(irreps: Irreps, layouts: tuple[str, str]) -> None:
    source, target = layouts
    x = torch.arange(2 * irreps.dim).reshape(2, -1).double()
    y = to_layout(x, irreps, source, target)
    assert torch.equal(y, x[..., permutation(irreps, source, target)])
    assert torch.equal(to_layout(y, irreps, target, source), x)
    assert to_layout(x, irreps, source, source) is x


def test_each_component_goes_to_its_place() -> None:
    irreps = Irreps("2x0e+3x1o+1x2e+2x2o")
    x = torch.randn(irreps.dim)
    y = to_layout(x, irreps, "mul_ir", "ir_mul")
    for (mul, ir), place in zip(irreps, irreps.slices()):
        for channel in range(mul):
            for m in range(ir.dim):
                assert y[place][m * mul + channel] == x[place][channel * ir.dim + m]


@pytest.mark.parametrize("irreps", ["", "5x0e+3x0o", "1o+2e+0x1o+1x3o+4x0e"])
def test_nothing_to_do_is_free(irreps: str) -> None:
    x = torch.randn(3, Irreps(irreps).dim)
    assert to_layout(x, irreps, "mul_ir", "ir_mul") is x
    assert to_layout(x, irreps, "ir_mul", "mul_ir") is x


@pytest.mark.parametrize("batch", [(), (0,), (4,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_batches_and_dtypes(batch: tuple[int, ...], dtype: torch.dtype) -> None:
    irreps = Irreps("2x1o+3x0e+2x2e")
    x = torch.randn(*batch, irreps.dim, dtype=dtype)
    y = to_layout(x, irreps, "mul_ir", "ir_mul")
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert torch.equal(y, x[..., permutation(irreps, "mul_ir", "ir_mul")])


def test_strided_input() -> None:
    irreps = Irreps("2x1o+2x2e")
    x = torch.randn(irreps.dim, 4).T
    assert torch.equal(to_layout(x, irreps, "mul_ir", "ir_mul"), to_layout(x.contiguous(), irreps, "mul_ir", "ir_mul"))


def test_gradients_and_vmap() -> None:
    irreps = Irreps("2x1o+3x0e+2x2e")
    x = torch.randn(3, irreps.dim, dtype=torch.float64, requires_grad=True)

    def convert(x: torch.Tensor) -> torch.Tensor:
        return to_layout(x, irreps, "ir_mul", "mul_ir")

    assert torch.autograd.gradcheck(convert, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(convert, (x,))
    assert torch.equal(torch.vmap(convert)(x), convert(x))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"2x1o must be 6, got shape \(5, 7\)"):
        to_layout(torch.zeros(5, 7), "2x1o", "mul_ir", "ir_mul")
    for layouts in [("mul_ir", "channels"), ("channels", "ir_mul")]:
        with pytest.raises(ValueError, match="'channels'"):
            to_layout(torch.zeros(6), "2x1o", *layouts)
        with pytest.raises(ValueError, match="'channels'"):
            permutation("2x1o", *layouts)


@pytest.mark.compile
@pytest.mark.parametrize("source", ["mul_ir", "ir_mul"])
def test_compiles_and_exports(source: str) -> None:
    target = "ir_mul" if source == "mul_ir" else "mul_ir"

    class Convert(torch.nn.Module):
        irreps = Irreps("2x1o+3x0e+2x2e")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return to_layout(x, self.irreps, source, target)

    x = Convert.irreps.randn(4, -1)
    assert torch.equal(torch.compile(Convert(), fullgraph=True)(x), Convert()(x))
    exported = torch.export.export(Convert(), (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    more = Convert.irreps.randn(7, -1)
    assert torch.equal(exported(more), Convert()(more))
