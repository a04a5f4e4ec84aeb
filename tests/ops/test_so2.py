"""SO(2) convolutions: frames without poles, equal to products with harmonics, blind to the roll about the edge."""

import pickle

import numpy as np
import pytest
import torch

from tesseral.groups import equivariance_error
from tesseral.o3 import Irreps, wigner_D_all
from tesseral.ops import spherical_harmonics
from tesseral.ops.so2 import SO2Plan, edge_frames, edge_rotations, mix_orders, rotate_from_edges, rotate_to_edges, so2_convolution
from tesseral.ops.so2_product import SO2ProductPlan, so2_convolution_by_products

EDGES = torch.tensor([[0, 1, 2, 0, 1], [1, 0, 0, 2, 2]])
POLES = torch.tensor([[0, 1.0, 0], [0, -1, 0], [0, 2, 0], [1, 0, 0], [-1, 0.0, 0], [1, -1e-13, 1], [1e-9, -1, 0], [0, 1e-300, 0]])
CASES = {
    "natural, O(3)": ("4x0e+3x1o+2x2e", True),
    "natural, SO(3)": ("4x0e+3x1o+2x2e", False),
    "both parities, O(3)": ("4x0e+3x0o+2x1o+3x1e+2x2e+1x2o", True),
    "unsorted, SO(3)": ("2x3o+4x0e+3x1o+2x1e+1x2e", False),
}


def drawn(plan: SO2Plan, seed: int = 0) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    vectors = torch.randn(5, 3, dtype=torch.float64)
    return torch.randn(3, plan.irreps_in.dim, dtype=torch.float64), vectors, torch.randn(plan.weight_numel, dtype=torch.float64)


def convolved(plan: SO2Plan, x, vectors, weight, roll=None, scales=None) -> torch.Tensor:
    return so2_convolution(plan, x, edge_frames(plan.lmax, vectors, plan.mmax, roll), weight, EDGES, scales)


def test_rotations_turn_every_vector_onto_the_pole() -> None:
    vectors = torch.cat([torch.randn(50, 3, dtype=torch.float64), POLES.double()])[:-1]
    R = edge_rotations(vectors, torch.linspace(-3, 3, len(vectors), dtype=torch.float64))
    pole = torch.tensor([0, 1.0, 0], dtype=torch.float64).expand(len(vectors), 3)
    torch.testing.assert_close((R @ vectors[:, :, None]).squeeze(2), pole * vectors.norm(dim=1, keepdim=True), rtol=0, atol=1e-14)
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=R.dtype).expand_as(R), rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(len(R), dtype=R.dtype), rtol=0, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_product_with_harmonics(case: str) -> None:
    irreps, parity = CASES[case]
    plan = SO2Plan(irreps, irreps, parity=parity)
    product = SO2ProductPlan(plan)
    x, vectors, weight = drawn(plan)
    harmonics = spherical_harmonics(list(range(product.lmax_harmonics + 1)), vectors, True, "component")
    actual, expected = convolved(plan, x, vectors, weight), so2_convolution_by_products(product, x, harmonics, weight, EDGES)
    assert expected.abs().max() > 1
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_equals_e3nn_products_along_nineteen_paths() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    irreps = "2x0e+2x1e+2x2e"  # parities are ignored: e3nn is told that all is even
    plan = SO2Plan(irreps, irreps, parity=False)
    product = SO2ProductPlan(plan)
    assert len(product.paths) == 19
    instructions = [(i, l, j, "uvw", True) for i, l, j in product.paths]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        theirs = o3.TensorProduct(
            irreps, "+".join(f"1x{l}e" for l in range(5)), irreps, instructions, path_normalization="none", internal_weights=False
        )
    finally:
        torch.set_default_dtype(default)
    x, vectors, weight = drawn(plan)
    to_theirs = torch.tensor(_permutation(irreps))
    y = o3.spherical_harmonics(list(range(5)), vectors, True, "component")
    messages = theirs(x[:, to_theirs][EDGES[0]], y, product.weights(weight))
    expected = torch.zeros_like(x).index_add(0, EDGES[1], messages)
    actual = convolved(plan, x, vectors, weight)[:, to_theirs]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def _permutation(irreps: str) -> list[int]:
    order = []
    for place, (mul, ir) in zip(Irreps(irreps).slices(), Irreps(irreps), strict=True):
        order += [place.start + m * mul + u for u in range(mul) for m in range(ir.dim)]
    return order


@pytest.mark.parametrize("mmax", [0, 1, 2])
@pytest.mark.parametrize("case", CASES)
def test_equivariance(case: str, mmax: int) -> None:
    irreps, parity = CASES[case]
    plan = SO2Plan(irreps, irreps, mmax, parity)
    x, vectors, weight = drawn(plan)
    reps = [irreps, "1o"], irreps
    rotations = equivariance_error(lambda x, v: convolved(plan, x, v, weight), *reps, "SO(3)", inputs=[x, vectors])
    mirrors = equivariance_error(lambda x, v: convolved(plan, x, v, weight), *reps, "O(3)", inputs=[x, vectors])
    print(case, mmax, rotations)
    assert float(rotations) < 1e-13
    if parity:
        assert float(mirrors) < 1e-13
    elif mmax:
        assert float(mirrors) > 0.1  # the odd products are there


@pytest.mark.parametrize("mmax", [1, 2])
def test_nothing_depends_on_the_roll(mmax: int) -> None:
    plan = SO2Plan("4x0e+3x1o+2x2e", "4x0e+3x1o+2x2e", mmax, False)
    x, vectors, weight = drawn(plan)
    vectors = vectors.requires_grad_()
    results = []
    for roll in (None, torch.linspace(-3, 3, 5, dtype=torch.float64)):
        y = convolved(plan, x, vectors, weight, roll)
        results += [y, *torch.autograd.grad(y.square().sum(), vectors)]
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-12)
    torch.testing.assert_close(results[1], results[3], rtol=0, atol=1e-11)


def test_charts_meet_smoothly_and_poles_have_derivatives() -> None:
    plan = SO2Plan("2x0e+2x1o+2x2e+1x3o", "2x0e+2x1o+2x2e+1x3o", 2, False)
    x, _, weight = drawn(plan)
    for at in POLES[:6].double():
        vectors = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

        def value(v: torch.Tensor, vectors: torch.Tensor = vectors) -> torch.Tensor:
            return convolved(plan, x, torch.cat([v[None], vectors[1:]]), weight).sin().sum()

        gradient = torch.func.grad(value)(at)
        assert bool(torch.isfinite(gradient).all())
        for k, step in enumerate(torch.eye(3, dtype=torch.float64) * 1e-5):
            slope = (value(at + step) - value(at - step)) / 2e-5
            assert abs(slope - gradient[k]) < 1e-7 * max(1.0, float(gradient.abs().max()))


def test_forces_do_no_work_around_a_loop() -> None:
    """The loop crosses from one chart to the other twice and passes near both poles."""
    plan = SO2Plan("2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e", 1, True)
    x, _, weight = drawn(plan)
    count = 1600
    t = torch.arange(count, dtype=torch.float64) * (2 * np.pi / count)
    loop = torch.stack([0.5 + 0.3 * t.sin(), 1.5 * t.cos(), 0.3 * (2 * t).sin()], 1).requires_grad_()
    velocity = torch.stack([0.3 * t.cos(), -1.5 * t.sin(), 0.6 * (2 * t).cos()], 1)
    frames, start, points = edge_frames(2, loop, 1), torch.zeros(count, dtype=torch.int64), torch.arange(count)
    mixed = mix_orders(plan.mixing, rotate_to_edges(plan.source, x, frames, start), weight)
    y = rotate_from_edges(plan.target, mixed, frames, points, count)
    energy = (y.tanh().sum(1) * torch.exp(-loop.square().sum(1))).sum()
    power = -(torch.autograd.grad(energy, loop)[0] * velocity).sum(1)
    print(f"mean power {power.mean():.1e} of {power.abs().mean():.1e}")
    assert abs(power.mean()) < 1e-12 * power.abs().mean()  # the trapezoidal rule is exact to rounding for a smooth closed loop
    assert int((loop[:, 1] < 0).diff().sum()) == 2


def test_there_and_back_is_the_identity() -> None:
    plan = SO2Plan("4x0e+3x1o+2x1e+2x2o", "1x0e", parity=True).source
    x, frames = torch.randn(5, plan.irreps.dim, dtype=torch.float64), edge_frames(2, torch.randn(5, 3, dtype=torch.float64))
    packed = rotate_to_edges(plan, x, frames, torch.arange(5))
    assert packed.shape == (5, plan.dim)
    torch.testing.assert_close(rotate_from_edges(plan, packed, frames, torch.arange(5), 5), x, rtol=0, atol=1e-13)


def test_frames_are_rows_of_wigner_matrices() -> None:
    vectors = torch.randn(4, 3, dtype=torch.float64)
    whole = wigner_D_all(3, edge_rotations(vectors))
    expected = torch.cat([D[:, abs(l - 1) * (l > 1) : D.shape[1] - (l - 1) * (l > 1)].flatten(1) for l, D in enumerate(whole)], 1)
    torch.testing.assert_close(edge_frames(3, vectors, 1), expected)


def test_gradients_of_first_and_second_order() -> None:
    plan = SO2Plan("2x0e+1x1o+2x1e+1x2e", "1x0e+2x1o+1x2e", 1, True)
    x, vectors, weight = drawn(plan)
    scales = torch.randn(5, plan.source.scales, dtype=torch.float64)
    inputs = tuple(t.requires_grad_() for t in (x, vectors, weight, scales))

    def call(x, v, w, s):
        return convolved(plan, x, v, w, scales=s)

    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


def test_scales_multiply_orders_and_channels() -> None:
    plan = SO2Plan("2x0e+2x1o", "2x0e+2x1o", parity=True)
    x, vectors, _ = drawn(plan)
    frames = edge_frames(1, vectors)
    scales = torch.randn(5, plan.source.scales, dtype=torch.float64)
    assert plan.source.scales == 6  # (2 + 2) at m = 0, 2 at m = 1
    scaled = rotate_to_edges(plan.source, x, frames, EDGES[0], scales)
    plain = rotate_to_edges(plan.source, x, frames, EDGES[0])
    torch.testing.assert_close(scaled, plain * torch.cat([scales, scales[:, 4:]], 1))


def test_refusals_and_pickles() -> None:
    with pytest.raises(ValueError, match="mmax must lie"):
        SO2Plan("1x1o", "1x1o", 2)
    with pytest.raises(ValueError, match="mmax must not be negative"):
        edge_frames(1, torch.zeros(1, 3), -1)
    with pytest.raises(ValueError, match="method='so2'"):
        SO2ProductPlan(SO2Plan("1x1o", "1x1o", 0))
    plan = SO2Plan("4x0e+3x1o+2x1e", "2x1e", 1)
    copy = pickle.loads(pickle.dumps(plan))
    x, vectors, weight = drawn(plan)
    torch.testing.assert_close(convolved(copy, x, vectors, weight), convolved(plan, x, vectors, weight), rtol=0, atol=0)
