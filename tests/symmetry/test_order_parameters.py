"""Order parameters: of the square, of ferroelectric phases, of tilted perovskites; exact, and learned."""

import pathlib
import runpy

import numpy as np
import pytest
import torch

from tesseral.groups import generate, point_group, stabilizer, stabilizer_of_points
from tesseral.nn import FullyConnectedTensorProduct
from tesseral.o3 import Irreps, spherical_harmonics
from tesseral.symmetry import (
    all_irreps,
    common_symmetry,
    crystal_order_parameters,
    in_group,
    learn_order_parameter,
    order_parameters,
)

SQUARE = np.array([[1.0, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]])
RECIPE = pathlib.Path(__file__).parents[2] / "recipes" / "order_parameters.py"


def test_square_to_rectangle_needs_functions_of_B1g():
    group = stabilizer_of_points(point_group("D4h"), SQUARE)
    parameters = order_parameters(group, stabilizer_of_points(group, SQUARE * [1.5, 1, 1]))
    assert (group.name, parameters.subgroup.name, group.setting) == ("D4h", "D2h", "C2' = x")
    assert parameters.labels == ("B1g",)
    assert parameters.sufficient == (("B1g",),)
    natural = [(str(ir), n) for ir, n in parameters.irreps("0e+1o+2e+3o+4e+5o")]
    assert natural == [("2e", {"B1g": 1}), ("4e", {"B1g": 1})]
    assert [(str(ir), n["B1g"]) for ir, n in parameters.irreps(all_irreps(5))] == [("2e", 1), ("3e", 1), ("4e", 1), ("5e", 1)]


def test_functions_of_B1g_are_those_of_the_paper():
    """2e is x²-y², 4e is (x²-y²)(7z²-r²), as functions of a point and in components of our axes."""
    parameters = order_parameters(point_group("D4h"), point_group("D2h"))
    points = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y, z = points.T
    expected = {"2e": x**2 - y**2, "4e": (x**2 - y**2) * (7 * z**2 - points.square().sum(1))}
    for ir, values in expected.items():
        ours = spherical_harmonics(Irreps(ir), points, normalize=False) @ parameters.functions(ir)[0]
        assert abs(float(torch.nn.functional.cosine_similarity(ours, values, dim=0))) > 1 - 1e-12
    second = parameters.functions("2e")[0]
    torch.testing.assert_close(second * second[2].sign() * -1, torch.tensor([0, 0, -(3**0.5) / 2, 0, -0.5], dtype=torch.float64))


@pytest.mark.parametrize(
    ("direction", "labels", "primary"),
    [
        ((0, 0, 1), ("Eg", "T1u"), {"T1u"}),
        ((1, 1, 0), ("Eg", "T2g", "T1u", "T2u"), {"T1u", "T2u"}),
        ((1, 1, 1), ("T2g", "A2u", "T1u"), {"T1u"}),
    ],
    ids=["P4mm", "Amm2", "R3m"],
)
def test_ferroelectric_phases_of_barium_titanate(direction, labels, primary):
    group = point_group("Oh")
    parameters = order_parameters(group, stabilizer(group, "1o", np.array(direction, dtype=float)))
    assert set(parameters.labels) == set(labels)
    assert {p.label for p in parameters.parameters if p.primary} == primary
    assert {frozenset(s) for s in parameters.sufficient} == {frozenset([p]) for p in primary}


def test_two_order_parameters_may_be_needed():
    group = point_group("D4h")
    kept = common_symmetry(stabilizer(group, "1o", np.array([0.0, 0, 1])), point_group("D2h"))
    parameters = order_parameters(group, kept)
    assert kept.name == "C2v"
    assert all(not p.primary for p in parameters.parameters)
    assert ("B1g", "A2u") in [tuple(sorted(s, reverse=True)) for s in parameters.sufficient]


def test_refuses_a_group_that_is_no_subgroup():
    with pytest.raises(ValueError, match="common_symmetry"):
        order_parameters(point_group("Oh"), point_group("D6h"))


def test_an_input_is_learned_within_the_exact_functions():
    """A model that multiplies the input with harmonics of the corners: stuck without, exact with, and only in B1g."""
    torch.manual_seed(0)
    offered, points = Irreps("0e+1o+2e+3e+4e"), torch.tensor(SQUARE)
    target = points * torch.tensor([0.3, -0.2, 0.0], dtype=torch.float64)
    harmonics = spherical_harmonics(Irreps("1o+3o"), points, normalize=True, normalization="component")
    product = FullyConnectedTensorProduct("0e+" + str(offered), "1o+3o", "1o", dtype=torch.float64)

    def loss(extra):
        inputs = torch.cat([torch.ones(4, 1, dtype=torch.float64), extra.expand(4, -1)], dim=1)
        return (product(inputs, harmonics) - target).square().mean()

    start = torch.zeros(offered.dim, dtype=torch.float64)
    group = point_group("D4h")
    found = learn_order_parameter(loss, product.parameters(), start, offered, steps=(120, 80), lr=5e-2, invariant_under=group)
    functions = order_parameters(group, point_group("D2h")).functions(offered)
    # the mean of both rectangles is a uniform scaling by 0.05, from which each coordinate deviates by 0.25
    assert abs(found.stuck - 2 / 3 * 0.25**2) < 1e-4
    assert found.loss < 1e-4
    for tensor in (found.value, found.gradient):
        assert float((tensor - tensor @ functions.T @ functions).norm()) < 1e-10 * float(tensor.norm())
    assert {part.label for part in in_group(found.value, offered, group) if part.strength > 1e-9} == {"B1g"}


def test_tilts_of_perovskites():
    """Howard and Stokes 1998: a-b+a- is Pnma (62), by R4+ (T1g) and M3+ (A2g); a0a0c- is I4/mcm (140), a0a0c+ P4/mbm (127)."""
    perovskite = runpy.run_path(str(RECIPE))["perovskite"]
    half = 0.5
    expected = {
        (0.1, 0.12, 0.1): (62, {(half, 0, half): ["A2g"], (half, half, half): ["T1g"], (0, half, 0): ["Eg"]}),
        (0.0, 0.0, 0.1): (140, {(half, half, half): ["T1g"]}),
        (0.0, 0.1, 0.0): (127, {(half, 0, half): ["A2g"]}),
    }
    for tilts, (number, waves) in expected.items():
        order = crystal_order_parameters(perovskite(), perovskite(tilts), list(range(8)), "1e")
        assert (order.parent, order.child) == (221, number)
        found = [order.waves(function) for function in order.basis]
        assert all(len(parts) == 1 for parts in found)
        assert {w[0].k: [p.label for p in w[0].parts] for w in found} == waves
        assert all(abs(w[0].strength - 1) < 1e-9 for w in found)


def test_refuses_structures_that_do_not_belong_together():
    perovskite = runpy.run_path(str(RECIPE))["perovskite"]
    parent = perovskite()
    with pytest.raises(ValueError, match="same atoms"):
        crystal_order_parameters(parent, parent[::-1], list(range(8)), "1e")
    with pytest.raises(ValueError, match="one lattice"):
        crystal_order_parameters(parent, parent, list(range(16, 40)), "1e")
    strained = parent.copy()
    strained.set_cell(parent.cell * 1.01)
    with pytest.raises(ValueError, match="strain"):
        crystal_order_parameters(parent, strained, list(range(8)), "1e")


def test_generated_subgroups_keep_their_orientation():
    """[110] as the axis of the phase: the order parameter points there."""
    group = point_group("Oh")
    subgroup = generate([m for m in group.elements if np.allclose(m @ [1, 1, 0], [1, 1, 0])])
    vector = order_parameters(group, subgroup).functions("1o")
    np.testing.assert_allclose(np.abs(vector[0].numpy()), np.array([1, 1, 0]) / np.sqrt(2), atol=1e-12)
