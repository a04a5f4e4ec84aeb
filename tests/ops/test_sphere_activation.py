"""The activation on the sphere: what it computes, how well it commutes with rotations, and that compiled and defined agree."""

import pickle

import numpy as np
import pytest
import torch

from tesseral.groups import equivariance_error
from tesseral.o3 import spherical_harmonics
from tesseral.ops.sphere_activation import SphereActivationPlan, _rule, sphere_activation

PLANS = {
    "orders": SphereActivationPlan(3, 1, 5, 6),
    "odd number of meridians": SphereActivationPlan(2, 2, 4, 7),
    "degrees": SphereActivationPlan(2, 2, 5, 8, "degrees"),
}


def drawn(plan: SphereActivationPlan, rows: int = 4, channels: int = 5) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(rows, (len(plan.entries) + 1) * channels, dtype=torch.float64)


@pytest.mark.parametrize("name", PLANS)
def test_compiled_code_agrees_with_the_definition_to_second_order(name: str) -> None:
    plan = PLANS[name]
    x = drawn(plan).requires_grad_()
    torch.testing.assert_close(sphere_activation(plan, x), _rule(plan).definition(x), rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(lambda x: sphere_activation(plan, x), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: sphere_activation(plan, x), x, fast_mode=True)
    single = sphere_activation(plan, x.detach().float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), sphere_activation(plan, x.detach()), rtol=0, atol=2e-6)


def test_single_precision_everywhere() -> None:
    """Value and two derivatives of the function itself, seen through the scalars, from where it vanishes to where it is x."""
    plan = SphereActivationPlan(0, 0, 1, 1)
    points = torch.cat([torch.linspace(-30, 30, 4001), torch.tensor([-1e30, -200.0, -88.0, 0.0, 88.0, 200.0, 1e30])])
    found, expected = [], []
    for dtype, into in ((torch.float32, found), (torch.float64, expected)):
        x = torch.cat([torch.zeros_like(points), points]).to(dtype).requires_grad_()
        y = sphere_activation(plan, x[None]) if dtype == torch.float32 else torch.nn.functional.silu(x[None, len(points) :])
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        into += [y.detach().flatten().double(), first[len(points) :].detach().double(), second[len(points) :].double()]
    torch.testing.assert_close(found[0], expected[0], rtol=2e-7, atol=1e-7)
    torch.testing.assert_close(found[1:], expected[1:], rtol=0, atol=1e-6)
    assert sphere_activation(plan, torch.tensor([[0.0, torch.nan]])).isnan().all()


def test_it_is_the_integral_over_the_sphere() -> None:
    """Against a Monte-Carlo-free quadrature: a fine grid of another kind, and harmonics by their definition."""
    lmax, plan = 2, SphereActivationPlan(2, 2, 40, 80, "degrees")
    x = drawn(plan, rows=2, channels=1)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    alpha = torch.arange(120, dtype=torch.float64) * (2 * torch.pi / 120)
    y, w = torch.tensor(nodes), torch.tensor(weights) * 2 * torch.pi / 120
    rho = (1 - y * y).sqrt()
    points = torch.stack([rho[:, None] * alpha.sin(), y[:, None].expand(-1, 120), rho[:, None] * alpha.cos()], -1)
    Y = spherical_harmonics(list(range(lmax + 1)), points, normalize=False, normalization="integral")
    degree = torch.tensor([2.0 * l + 1 for l in range(lmax + 1) for _ in range(2 * l + 1)], dtype=torch.float64)
    scale = (4 * torch.pi / (degree * (lmax + 1))).sqrt()
    f = torch.nn.functional.silu(torch.einsum("bak,nk->nba", Y, x[:, :-1] * scale))
    expected = torch.einsum("nba,bak,b->nk", f, Y, w) / scale
    actual = sphere_activation(plan, x)
    torch.testing.assert_close(actual[:, 1:], expected[:, 1:], rtol=0, atol=1e-9)
    torch.testing.assert_close(actual[:, 0], torch.nn.functional.silu(x[:, -1]))


def test_turns_about_the_pole_cost_only_aliasing() -> None:
    """In the frame of an edge the error depends on the meridians alone, and falls exponentially; rings do not matter."""
    errors = {}
    for rings, meridians in ((4, 6), (12, 6), (4, 12), (4, 24)):
        plan = SphereActivationPlan(3, 1, rings, meridians)
        x, angle = drawn(plan, 20, 4), torch.tensor(0.7, dtype=torch.float64)

        def turned(x: torch.Tensor, plan: SphereActivationPlan = plan, angle: torch.Tensor = angle) -> torch.Tensor:
            blocks = x.unflatten(1, (-1, 4))
            at = {entry: k for k, entry in enumerate(plan.entries)}
            out = blocks.clone()
            for (l, m), k in at.items():
                if m > 0:
                    plus, minus = blocks[:, k], blocks[:, at[l, -m]]
                    out[:, k] = (m * angle).cos() * plus - (m * angle).sin() * minus
                    out[:, at[l, -m]] = (m * angle).sin() * plus + (m * angle).cos() * minus
            return out.flatten(1)

        errors[rings, meridians] = float((sphere_activation(plan, turned(x)) - turned(sphere_activation(plan, x))).abs().max())
    print(errors)
    assert errors[4, 6] > 1e-4
    assert errors[12, 6] > 0.1 * errors[4, 6]
    assert errors[4, 12] < 0.1 * errors[4, 6]
    assert errors[4, 24] < 1e-7


def test_the_error_of_rotations_at_nodes_falls_with_the_grid() -> None:
    irreps = "4x0e+4x1o+4x2e+4x0e"
    found = []
    for meridians in (8, 16, 32):
        plan = SphereActivationPlan(2, 2, meridians // 2, meridians, "degrees")
        error = equivariance_error(lambda x, plan=plan: sphere_activation(plan, x), irreps, "4x0e+4x1o+4x2e", "O(3)")
        found.append(float(error))
    print(found)
    assert found[0] > 5 * found[1] > 50 * found[2]


def test_refusals_pickles_and_empty_input() -> None:
    with pytest.raises(ValueError, match="need 4 rings and 3 meridians"):
        SphereActivationPlan(3, 1, 3, 6)
    with pytest.raises(ValueError, match="layout must be"):
        SphereActivationPlan(3, 1, 4, 6, "rows")
    plan = PLANS["orders"]
    with pytest.raises(ValueError, match="blocks of channels"):
        sphere_activation(plan, torch.zeros(2, len(plan.entries)))
    x = drawn(plan)
    torch.testing.assert_close(sphere_activation(pickle.loads(pickle.dumps(plan)), x), sphere_activation(plan, x), rtol=0, atol=0)
    assert sphere_activation(plan, x[:0]).shape == (0, len(plan.entries) * 5)


@pytest.mark.compile
def test_compiles() -> None:
    plan = PLANS["orders"]
    compiled = torch.compile(lambda x: sphere_activation(plan, x), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(drawn(plan)), sphere_activation(plan, drawn(plan)))
