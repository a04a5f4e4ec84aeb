"""What weights on a group and tensors contain: Parseval, Frobenius reciprocity, stabilizers, directions."""

import numpy as np
import pytest
import torch

from tesseral.groups import generate, point_group
from tesseral.o3 import Irreps
from tesseral.symmetry import direction_name, in_group, invariant_projection, on_group, strengths

# Permutation representations of Oh on the domains of the ferroelectric phases of BaTiO3
DOMAINS = {
    (0, 0, 1): {"A1g", "Eg", "T1u"},
    (1, 1, 0): {"A1g", "Eg", "T2g", "T1u", "T2u"},
    (1, 1, 1): {"A1g", "T2g", "T1u", "A2u"},
}


@pytest.mark.parametrize("direction", list(DOMAINS), ids=["P4mm", "Amm2", "R3m"])
def test_weights_with_the_symmetry_of_a_phase_contain_the_irreps_of_its_domains(direction):
    group = point_group("Oh")
    kept = [g for g, m in enumerate(group.elements) if np.allclose(m @ direction, direction)]
    values = np.random.default_rng(0).standard_normal(group.order)
    weights = values[group.multiplication[kept]].mean(axis=0)  # w(hg) = w(g)
    parts = on_group(group, weights)
    assert {part.label for part in parts if part.strength > 1e-12} == DOMAINS[direction]
    subgroup = generate(group.elements[kept])
    for part in parts:
        if part.strength > 1e-12:
            assert all(part.stabilizer.contains(m) for m in subgroup.elements)
    vector = next(part for part in parts if part.label == "T1u")
    assert vector.stabilizer == subgroup
    np.testing.assert_allclose(np.abs(vector.axis), np.array(direction) / np.linalg.norm(direction), atol=1e-12)


@pytest.mark.parametrize("name", ["Oh", "T", "C4", "D3h", "S4"])
def test_squares_of_strengths_add_up(name):
    group = point_group(name)
    weights = np.random.default_rng(1).standard_normal(group.order)
    total = sum(part.strength**2 for part in on_group(group, weights))
    np.testing.assert_allclose(total, (weights**2).mean(), rtol=1e-12)


@pytest.mark.parametrize("name", ["Oh", "D4h", "T"])
def test_parts_of_a_tensor_add_up(name):
    irreps = "2x0e+1o+2x2e+1e+0o+3o"
    theta = torch.randn(Irreps(irreps).dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = sum(part.strength**2 for part in in_group(theta, irreps, point_group(name)))
    np.testing.assert_allclose(total, float(theta.square().sum()), rtol=1e-12)
    np.testing.assert_allclose(sum(p.strength**2 for p in strengths(theta, irreps)), float(theta.square().sum()), rtol=1e-12)


def test_directions_and_sentences():
    parts = in_group(torch.tensor([1.0, 1.0, 0.0]), "1e", point_group("Oh"))
    assert str(parts[0]) == "T1g along [1 1 0], strength 1.41, leaves C2h"
    assert direction_name([0, -1, 0]) == "[0 -1 0]"
    silent = in_group(torch.zeros(3), "1o", point_group("Oh"))[0]
    assert (silent.strength, silent.axis, silent.stabilizer) == (0.0, None, point_group("Oh"))


def test_invariant_projection():
    projection = invariant_projection(point_group("Oh"), "2e+4e")
    torch.testing.assert_close(projection @ projection, projection)
    assert round(float(projection.trace())) == 1


def test_refuses_weights_of_another_group():
    with pytest.raises(ValueError, match="48 elements"):
        on_group(point_group("Oh"), np.ones(24))
