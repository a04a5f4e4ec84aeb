"""The layer of SO(2) convolutions signs the contract; both methods are one function."""

import pytest
import torch

from tesseral.groups.equivariance import Invariant
from tesseral.nn.so2 import SO2Convolution, faster_method
from tests.contracts import EAGER, GRAPH, Case, name_of

EDGES = torch.tensor([[0, 1, 2, 0], [1, 0, 0, 2]])


class OnEdges(torch.nn.Module):
    """The layer as a function of features on nodes, of vectors and of scales."""

    def __init__(self, layer: SO2Convolution) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, vectors: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        count = vectors.shape[0]
        edge_index = EDGES.to(x.device)[:, :1].expand(2, count) if count else EDGES[:, :0]
        return self.layer(x, self.layer.edges(vectors), edge_index * 0, scales)


def case(name: str, irreps: str, mmax: int | None, parity: bool, method: str) -> Case:
    def build(dtype: torch.dtype) -> OnEdges:
        return OnEdges(SO2Convolution(irreps, irreps, mmax, parity, method, dtype=dtype))

    layer = build(torch.float64).layer

    def draw(dtype: torch.dtype, batch: int) -> tuple[torch.Tensor, ...]:
        scales = torch.randn(batch, layer.scales_numel, dtype=dtype)
        return torch.randn(3, layer.irreps_in.dim, dtype=dtype), torch.randn(batch, 3, dtype=dtype), scales

    return Case(name, build, [irreps, "1o", Invariant()], irreps, draw, group="O(3)" if parity else "SO(3)", batched=False)


CASES = [
    case("so2", "2x0e+3x1o+2x1e+1x2e", 1, True, "so2"),
    case("so2, rotations only", "3x0e+2x1o", None, False, "so2"),
    case("product", "2x0e+1x1o+2x1e", None, True, "product"),
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case: Case, check) -> None:
    if case.name == "product" and name_of(check) == "empty":
        pytest.skip("no edges, but as many messages as nodes")
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case: Case, check) -> None:
    check(case)


def test_both_methods_are_one_function() -> None:
    so2, product = (SO2Convolution("4x0e+4x1o", "4x0e+4x1o", method=m, dtype=torch.float64) for m in ("so2", "product"))
    product.load_state_dict(so2.state_dict())
    x, vectors, scales = torch.randn(3, 16).double(), torch.randn(4, 3).double(), torch.randn(4, 8).double()
    results = [layer(x, layer.edges(vectors), EDGES, scales) for layer in (so2, product)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_auto_chooses_by_degree_and_truncation() -> None:
    low, high = "4x0e+4x1o", "4x0e+4x8e"
    assert SO2Convolution(low, low).method == faster_method(SO2Convolution(low, low).plan) == "product"
    assert SO2Convolution(low, low, mmax=0).method == SO2Convolution(high, high).method == "so2"
    with pytest.raises(ValueError, match="method must be one of"):
        SO2Convolution(low, low, method="fast")
