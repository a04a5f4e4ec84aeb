"""Laws of exchange, completeness, and the contract."""

import pytest
import torch

from tesseral.nn import FullyConnectedTensorProduct, SymmetricTensorProduct
from tesseral.o3 import Irreps
from tests.contracts import EAGER, GRAPH, Case, name_of

IN, OUT = "3x0e+2x1o+1x2e", "4x0e+2x1o+2x1e"
CASES = [
    Case(
        exchange,
        lambda dtype, exchange=exchange: SymmetricTensorProduct(IN, OUT, exchange, dtype=dtype),
        [IN, IN],
        OUT,
    )
    for exchange in ("weights", "even", "odd")
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[1:2], ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize(("exchange", "sign"), [("even", 1), ("odd", -1)])
def test_exchange(exchange, sign):
    layer = SymmetricTensorProduct(IN, OUT, exchange, dtype=torch.float64)
    x, y = torch.randn(2, 6, Irreps(IN).dim, dtype=torch.float64)
    torch.testing.assert_close(layer(y, x), sign * layer(x, y))
    assert layer(x, y).abs().mean() > 0.1


@pytest.mark.parametrize(("out", "sign"), [("2x0e", 1), ("2x1e", -1), ("2x2e", 1)])
def test_symmetric_weights_make_channels_exchange_as_one_channel_would(out, sign):
    """The wish of e3nn's issue 412: 3x1o times 3x1o into 1e changes sign, into 0e it does not."""
    layer = SymmetricTensorProduct("3x1o", out, dtype=torch.float64)
    x, y = torch.randn(2, 6, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(y, x), sign * layer(x, y))
    plain = FullyConnectedTensorProduct("3x1o", "3x1o", out, dtype=torch.float64)
    assert not torch.allclose(plain(y, x), sign * plain(x, y))


def test_even_and_odd_maps_together_are_all_maps():
    full = FullyConnectedTensorProduct(IN, IN, OUT).weight_numel
    assert sum(SymmetricTensorProduct(IN, OUT, e).weight_numel for e in ("even", "odd")) == full


def test_unit_variance():
    for exchange in ("weights", "even", "odd"):
        layer = SymmetricTensorProduct("32x0e+16x1o", "64x0e+64x1o+64x1e", exchange)
        z = layer(torch.randn(500, 80), torch.randn(500, 80))
        for block in layer.irreps_out.slices():
            assert z[:, block].square().mean().item() == pytest.approx(1.0, rel=0.2)


def test_unknown_exchange():
    with pytest.raises(ValueError, match="unknown exchange 'commuting'"):
        SymmetricTensorProduct(IN, OUT, "commuting")
