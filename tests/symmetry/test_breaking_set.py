"""Breaking sets are closed under the normaliser, break what they should, and are ideal exactly where a complement exists."""

import math

import numpy as np
import pytest
import torch

from tesseral.groups import PointGroup, complement, generate, members_of, normalizer_in_o3, point_group
from tesseral.symmetry import breaking_set

PUBLISHED = ["D2", "D3", "D4", "D6", "D2h", "D3h", "D4h", "D6h", "D2d", "D3d", "T", "Td", "Th", "O", "Oh"]
"""Ideal according to Xie and Smidt."""
FINITE = [*PUBLISHED, "C2v", "C3v", "C6v"]
# Cn, S2n, Cnh: ideal only without a rotation
CONTINUOUS = {"C1": True, "Ci": True, "Cs": True, "C2": False, "C3": False, "C2h": False, "S4": False, "C3i": False, "C3h": False}


def moved(group: PointGroup, found):
    return torch.from_numpy(group.representation(found.irreps)) @ found.objects.T


def distances(images, objects):
    """(elements, objects): how far each moved object is from the nearest of the set."""
    return (images.transpose(1, 2)[:, :, None] - objects).abs().amax(-1).amin(-1)


@pytest.mark.parametrize("name", FINITE)
def test_full_sets(name):
    group = point_group(name)
    found, normalizer = breaking_set(group), normalizer_in_o3(group)
    assert float(distances(moved(normalizer, found), found.objects).max()) < 1e-9
    difference = (moved(group, found).transpose(1, 2) - found.objects).abs().amax(-1)
    assert float(difference[1:].min()) > 1e-3  # no element but the identity leaves an object as it is
    assert found.ideal == (complement(normalizer.finite, members_of(normalizer, group)) is not None)
    assert found.ideal
    assert len(found.objects) == group.order


@pytest.mark.parametrize("name", CONTINUOUS)
def test_groups_with_continuous_normalizers(name):
    group = point_group(name)
    found = breaking_set(group)
    assert found.ideal == CONTINUOUS[name]
    assert math.isinf(found.size) != CONTINUOUS[name]
    difference = (moved(group, found).transpose(1, 2) - found.objects).abs().amax(-1)
    assert group.order == 1 or float(difference[1:].min()) > 1e-3
    assert float(distances(moved(group, found), found.objects).max()) < 1e-9


PARTIAL = [
    ("Oh", "C4v", 6, True),
    ("D4h", "D2h", 2, True),
    ("D4h", "C4v", 2, True),
    ("C4h", "C4", 2, True),
    ("D6h", "C2v", 6, True),
    ("Oh", "D4h", 3, True),
    ("C4", "C2", math.inf, False),
    ("C4v", "C4v", 1, True),
]


@pytest.mark.parametrize(("name", "kept", "size", "ideal"), PARTIAL)
def test_partial_sets(name, kept, size, ideal):
    group, subgroup = point_group(name), point_group(kept)
    found = breaking_set(group, subgroup)
    assert (found.size, found.ideal) == (size, ideal)
    unmoved = (moved(group, found).transpose(1, 2) - found.objects).abs().amax(-1) < 1e-6
    assert (unmoved.sum(0) == subgroup.order).all()
    left = generate(group.elements[unmoved[:, 0].numpy()])
    assert left.name == subgroup.name
    assert float(distances(moved(group, found), found.objects).max()) < 1e-9


def test_the_naive_set_of_a_prism_is_not_equivariant():
    """Three of the six: an orbit of C3 in D3 turned by 180° about the axis, which maps D3 to itself, leaves the set."""
    group = point_group("D3")
    found = breaking_set(group)
    assert len(found.objects) == 6
    naive = found.objects[:1]
    normalizer = normalizer_in_o3(group)
    orbit = moved(point_group("C3"), type(found)(**{**vars(found), "objects": naive})).transpose(1, 2).reshape(-1, naive.shape[1])
    images = torch.from_numpy(normalizer.representation(found.irreps)) @ orbit.T
    assert float(distances(images, orbit).max()) > 0.1


def test_orientation_is_kept():
    axis = np.array([1.0, 1, 1])
    turned = generate([m for m in point_group("Oh").elements if np.allclose(m @ axis, axis)])
    found = breaking_set(point_group("Oh"), turned)
    assert len(found.objects) == 8
    np.testing.assert_allclose(np.abs(found.objects.numpy()), 1 / np.sqrt(3), atol=1e-12)


def test_attach():
    found = breaking_set(point_group("Oh"), point_group("C4v"))
    features = torch.randn(5, 4, dtype=torch.float32)
    assert found.attach(features, 3).shape == (5, 7)
    assert found.attach(features, 3).dtype == torch.float32


def test_refuses_what_is_no_subgroup():
    with pytest.raises(ValueError, match="no subgroup of Oh"):
        breaking_set(point_group("Oh"), point_group("D6h"))
