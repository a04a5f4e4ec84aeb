"""The meter against functions whose error is known."""

import math

import numpy as np
import pytest
import torch

from tesseral.groups import (
    Cartesian,
    ContinuousGroup,
    Element,
    Matrices,
    NodeIndex,
    OfIrreps,
    PerNode,
    Positions,
    equivariance_error,
    point_group,
    sample_elements,
)
from tesseral.o3 import Irreps, to_layout


def test_an_equivariant_function_has_no_error():
    error = equivariance_error(lambda x: x * x.square().sum(-1, keepdim=True), "3x0e+2x1o+1x2e", "3x0e+2x1o+1x2e")
    print(error)
    assert float(error) < 1e-14


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_a_small_fault_is_measured_at_its_size(size):
    error = equivariance_error(lambda x: x + size * torch.tensor([0.0, 0, 1]), "1x1o", "1x1o", "SO(3)", samples=20)
    # the largest change of a unit vector along z is 2 sizes; in one component at most that
    assert size / 2 < error.absolute <= 2 * size


def test_the_inversion_is_included():
    def cross(x):
        return torch.linalg.cross(x[..., 0::2], x[..., 1::2])  # ir_mul: channels alternate

    assert float(equivariance_error(cross, "2x1o", "1x1e")) < 1e-14
    assert float(equivariance_error(cross, "2x1o", "1x1o", "SO(3)")) < 1e-14
    error = equivariance_error(cross, "2x1o", "1x1o")
    assert error.relative > 0.1
    assert "inversion" in str(error) or "mirror" in str(error) or "roto" in str(error)


def test_a_parity_that_only_an_even_degree_would_hide():
    # l = 2 even and odd agree on all rotations, and differ by a sign under every improper element
    assert float(equivariance_error(lambda x: 2 * x, "1x2e", "1x2o", "SO(3)")) < 1e-14
    assert float(equivariance_error(lambda x: 2 * x, "1x2e", "1x2o")) > 0.1


def test_layouts_are_told_apart():
    irreps = Irreps("3x1o+2x2e")
    swap = lambda x: to_layout(x, irreps, "ir_mul", "mul_ir")  # noqa: E731
    assert float(equivariance_error(swap, OfIrreps(irreps, "ir_mul"), OfIrreps(irreps, "mul_ir"))) < 1e-14
    assert float(equivariance_error(swap, OfIrreps(irreps, "ir_mul"), OfIrreps(irreps, "ir_mul"))) > 0.1


def test_positions_translate():
    centred = lambda r: r - r.mean(0)  # noqa: E731
    assert float(equivariance_error(centred, Positions(), "1x1o", "E(3)")) < 1e-14
    assert float(equivariance_error(lambda r: r, Positions(), Positions(), "E(3)")) < 1e-14
    assert float(equivariance_error(lambda r: r, Positions(), "1x1o", "E(3)")) > 0.1
    assert float(equivariance_error(lambda r: r, Positions(), "1x1o", "O(3)")) < 1e-14


def test_permutations_move_nodes_and_indices():
    edges = torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 0, 3]])

    def neighbours(positions, index):
        vectors = positions[index[0]] - positions[index[1]]
        return torch.zeros_like(positions).index_add(0, index[1], vectors)

    inputs = (torch.randn(4, 3, dtype=torch.float64), edges)
    rep_in, rep_out = [PerNode(Positions()), NodeIndex()], PerNode("1o")
    assert float(equivariance_error(neighbours, rep_in, rep_out, "E(3)", inputs=inputs, nodes=4)) < 1e-14
    first = lambda r, index: neighbours(r, index) * torch.arange(4)[:, None]  # noqa: E731
    error = equivariance_error(first, rep_in, rep_out, "E(3)", inputs=inputs, nodes=4)
    assert float(error) > 0.1


def test_tensors_of_higher_rank_and_pseudotensors():
    outer = lambda x: x[..., :, None] * x[..., None, :]  # noqa: E731
    assert float(equivariance_error(outer, Cartesian(1), Cartesian(2))) < 1e-14
    levi_civita = torch.linalg.cross
    two = [Cartesian(), Cartesian()]
    assert float(equivariance_error(levi_civita, two, Cartesian(pseudo=True))) < 1e-14
    assert float(equivariance_error(levi_civita, two, Cartesian())) > 0.1


def test_several_results_and_dictionaries():
    f = lambda x: {"norm": x.norm(dim=-1), "twice": (2 * x, x.square().sum())}  # noqa: E731
    assert float(equivariance_error(f, "1o", {"norm": None, "twice": ("1o", None)})) < 1e-14
    error = equivariance_error(f, "1o", {"norm": None, "twice": (None, None)})
    assert error.output == 1
    assert float(error) > 0.1


def test_finite_groups_by_matrices():
    # C4 as integers, on functions of the four corners of a square, and its sign representation
    shift = Matrices(lambda n: torch.roll(torch.eye(4, dtype=torch.float64), n, 0))
    alternating = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    project = lambda x: (x * alternating).sum(-1, keepdim=True)  # noqa: E731
    sign = lambda n: torch.tensor([[(-1.0) ** n]])  # noqa: E731
    assert float(equivariance_error(project, shift, sign, group=range(4))) < 1e-14
    assert float(equivariance_error(project, shift, None, group=range(4))) > 0.1


def test_complex_representations():
    phase = Matrices(lambda n: torch.tensor([[np.exp(2j * math.pi * n / 3)]]))
    x = torch.randn(5, 1, dtype=torch.complex128)
    assert float(equivariance_error(lambda z: z * z.abs(), phase, phase, group=range(3), inputs=(x,))) < 1e-14
    assert float(equivariance_error(lambda z: z.conj(), phase, phase, group=range(3), inputs=(x,))) > 0.1


def test_bare_matrices_are_elements():
    mirror = np.diag([1.0, 1, -1])
    f = lambda x: x * torch.tensor([1.0, 1, 2])  # noqa: E731
    assert float(equivariance_error(f, "1o", "1o", group=[mirror])) < 1e-14
    assert float(equivariance_error(f, "1o", "1o", group=[torch.eye(3)[[2, 0, 1]]])) > 0.1


def test_random_functions_are_measured_with_the_same_noise():
    def dropout(x):
        return x * (torch.rand(len(x), 1) > 0.5)

    state = torch.get_rng_state()
    assert float(equivariance_error(dropout, "2x1o", "2x1o")) < 1e-14
    assert torch.equal(state, torch.get_rng_state())


def test_not_a_number_is_an_infinite_error():
    assert float(equivariance_error(lambda x: x * torch.nan, "1o", "1o")) == math.inf
    only_moved = iter([False] + [True] * 100)
    sometimes = lambda x: x * (torch.nan if next(only_moved) else 1.0)  # noqa: E731
    error = equivariance_error(sometimes, "1o", "1o")
    assert error.relative == math.inf
    assert error.absolute == math.inf


def test_a_vanishing_output_says_so():
    error = equivariance_error(lambda x: 0 * x, "1o", "1o")
    assert float(error) == 0
    assert "nothing was tested" in str(error)


def test_the_meter_adds_nothing_to_single_precision():
    error = equivariance_error(lambda x: x, "8x1o+4x3e", "8x1o+4x3e", dtype=torch.float32)
    assert float(error) == 0


def test_the_generator_decides():
    f = lambda x: x * torch.tensor([1.0, 1, 2])  # noqa: E731
    errors = [equivariance_error(f, "1o", "1o", generator=torch.Generator().manual_seed(s)).absolute for s in (1, 1, 2)]
    assert errors[0] == errors[1] != errors[2]


def test_elements_of_a_group_are_what_they_say():
    generator = torch.Generator().manual_seed(0)
    for element in sample_elements("E(3)", 5, 6, generator):
        R = element.rotation
        torch.testing.assert_close(R @ R.T, torch.eye(3, dtype=torch.float64))
        improper = element.name.startswith(("inversion", "mirror", "roto"))
        assert torch.linalg.det(R).item() == pytest.approx(-1.0 if improper else 1.0)
        assert sorted(element.permutation.tolist()) == list(range(6))
    assert all(torch.linalg.det(g.rotation) > 0 for g in sample_elements("SE(3)", 5, None, generator))
    assert all(bool((g.translation == 0).all()) for g in sample_elements("O(3)", 5, None, generator))


def test_rotations_are_uniform():
    # the mean of R_ij R_kl over the group is δ_ik δ_jl / 3
    generator = torch.Generator().manual_seed(0)
    R = torch.stack([g.rotation for g in sample_elements("SO(3)", 2000, None, generator)]).reshape(-1, 9)
    torch.testing.assert_close(R.T @ R / len(R), torch.eye(9, dtype=torch.float64) / 3, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": "SU(2)"}, "unknown group 'SU"),
        ({"group": []}, "no elements"),
        ({"inputs": ()}, "0 inputs for 1 representations"),
        ({"rep_in": NodeIndex()}, "pass inputs"),
        ({"rep_in": 3}, "3 is no representation"),
        ({"group": range(4)}, "has no rotation"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        equivariance_error(**({"f": lambda x: x, "rep_in": "1o", "rep_out": "1o"} | arguments))


def test_a_changed_shape_is_refused():
    shapes = iter([3, 2, 2])
    with pytest.raises(ValueError, match="shape"):
        equivariance_error(lambda x: x.new_zeros(next(shapes), 3), "1o", "1o")


def test_an_element_prints_its_name():
    assert str(Element(torch.eye(3), name="identity")) == "identity"


# ---------------------------------------------------------------------- finite groups, permutations, continuous groups


def test_a_point_group_by_name_and_the_element_that_breaks_it():
    """A field along z commutes with C4v and not with Oh; the meter names an element that turns z."""

    def field(x):
        return x + torch.tensor([0.0, 0, 1])

    assert float(equivariance_error(field, "1x1o", "1x1o", "C4v")) < 1e-14
    error = equivariance_error(field, "1x1o", "1x1o", "Oh")
    assert float(error) > 0.5
    assert abs(float(error.worst.rotation[2, 2]) - 1) > 0.5
    assert len(error.each) == 48
    assert {"E", "i", "C4 [001]"} <= {name for name, _ in error.each}


def test_representations_of_finite_irreps():
    """Eg ⊗ Eg → Eg by the invariants of the group commutes with Oh, and with a fault it does not."""
    group = point_group("Oh")
    matrices = group.irrep("Eg").matrices
    product = np.einsum("gab,gcd->gacbd", matrices, matrices).reshape(48, 4, 4)
    coupling = torch.from_numpy(group.symmetric_basis(product, "Eg")[0])

    def square(x):
        return (x[..., :, None] * x[..., None, :]).flatten(-2) @ coupling.T

    Eg = group.action("Eg")
    assert float(equivariance_error(square, Eg, Eg, group)) < 1e-14
    assert float(equivariance_error(lambda x: square(x) * torch.tensor([1.0, 1.1]), Eg, Eg, group)) > 1e-2


def test_permutations():
    per_node = PerNode(None)
    inputs = (torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64),)
    good = equivariance_error(lambda x: x - x.mean(0), per_node, per_node, "permutations", inputs=inputs, nodes=5)
    bad = equivariance_error(lambda x: x.cumsum(0), per_node, per_node, "permutations", inputs=inputs, nodes=5)
    assert float(good) < 1e-14 < 1e-2 < float(bad)
    assert str(bad.worst).startswith(("(", "permutation ("))
    with pytest.raises(ValueError, match=r"give nodes=\.\.\."):
        equivariance_error(lambda x: x, per_node, per_node, "permutations", inputs=inputs)
    with pytest.raises(ValueError, match="unknown group 'Q8'"):
        equivariance_error(lambda x: x, "1x1o", "1x1o", "Q8")


@pytest.mark.parametrize("name", ["C∞", "C∞v", "C∞h", "D∞", "D∞h", "SO(3)", "O(3)"])
def test_continuous_groups(name):
    """Their elements are theirs; a vector along the axis is kept by C∞ and C∞v alone."""
    group = ContinuousGroup(name, (1.0, 2.0, 2.0))
    elements = group.sample(3, torch.Generator().manual_seed(1))
    assert all(group.contains(g.rotation.numpy()) for g in elements)
    axis = torch.tensor([1.0, 2, 2], dtype=torch.float64) / 3
    error = equivariance_error(lambda x: x + axis, "1x1o", "1x1o", group)
    assert (float(error) < 1e-14) == (name in ("C∞", "C∞v"))


def test_a_point_group_with_permuted_nodes():
    def center(x):
        return x - x.mean(0)

    assert float(equivariance_error(center, PerNode(Positions()), PerNode("1x1o"), "D3h", nodes=7, shape=(7,))) < 1e-14
