"""Distance transforms: limits, monotony, smoothness."""

import pytest
import torch

from tesseral.nn.distance_transform import AgnesiTransform, SoftTransform


@pytest.mark.parametrize("kind", [AgnesiTransform, SoftTransform])
def test_smooth_and_without_surprises(kind) -> None:
    transform = kind()
    r = torch.linspace(0.05, 6, 40, dtype=torch.float64, requires_grad=True)
    z = torch.full((40,), 6), torch.arange(1, 41)
    assert torch.autograd.gradcheck(lambda x: transform(x, *z), (r,))
    assert torch.autograd.gradgradcheck(lambda x: transform(x, *z), (r,))
    assert transform(r.float(), *z).dtype == torch.float32
    torch.testing.assert_close(transform(r, *z), transform(r, z[1], z[0]))


def test_agnesi_falls_from_one_to_zero() -> None:
    r, z = torch.linspace(0.0, 6, 100, dtype=torch.float64), torch.full((100,), 8)
    x = AgnesiTransform()(r, z, z)
    assert x[0] == 1
    assert bool((x.diff() < 0).all())
    at_bond = AgnesiTransform()(torch.tensor([0.66], dtype=torch.float64), z[:1], z[:1])  # x = r/r0 = 1
    assert at_bond.item() == pytest.approx(1 / (1 + 1.0805 / 2), abs=1e-12)


def test_soft_is_the_distance_beyond_the_bond_and_constant_inside() -> None:
    r, z = torch.tensor([0.3, 5.0], dtype=torch.float64), torch.tensor([6, 6])
    inside, outside = SoftTransform()(r, z, z)
    assert inside.item() == pytest.approx(0.75 * 1.52, abs=1e-3)
    assert outside.item() == pytest.approx(5.0, abs=1e-6)
