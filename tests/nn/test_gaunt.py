"""The layer of the Gaunt product: the contract, the scale of its output, and that its weights act on degrees."""

import pytest
import torch

from tesseral.nn.gaunt import GauntTensorProduct
from tests.contracts import EAGER, GRAPH, Case, name_of

CASES = [
    Case(
        "gaunt layer", lambda dtype: GauntTensorProduct(2, 1, 3, 2, dtype=dtype), ["2x0e+2x1o+2x2e", "2x0e+2x1o"],
        "2x0e+2x1o+2x2e+2x3o",
    )
]  # fmt: skip


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case: Case, check) -> None:
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case: Case, check) -> None:
    check(case)


def test_unit_variance_at_the_start() -> None:
    torch.manual_seed(0)
    layer = GauntTensorProduct(2, 2, 3, 16)
    z = layer(torch.randn(2000, 144), torch.randn(2000, 144)).unflatten(1, (-1, 16))
    for start, end in ((0, 1), (1, 4), (4, 9), (9, 16)):
        assert abs(z[:, start:end].square().mean().item() - 1) < 0.1


def test_weights_of_degrees() -> None:
    layer = GauntTensorProduct(1, 1, 2, 2)
    with torch.no_grad():
        layer.weights[0][0].zero_()  # no scalars of x
        layer.weights[2][2, 1] = 0.0  # no degree 2 of the second channel
    x, y = torch.randn(3, 8), torch.randn(3, 8)
    z = layer(x, y).unflatten(1, (-1, 2))
    x[:, :2] += 1.0
    assert torch.equal(layer(x, y).unflatten(1, (-1, 2)), z)
    assert z[:, 4:, 1].abs().max() == 0 < z[:, 4:, 0].abs().max()


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="lmax_out is at most 2"):
        GauntTensorProduct(1, 1, 3, 4)
    with pytest.raises(ValueError, match="channels is 0"):
        GauntTensorProduct(1, 1, 1, 0)
