"""L1Net below heads: every property transforms as it should, knows its origin, and sees what its degree lets it see."""

import pytest
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.groups import equivariance_error
from tesseral.groups.equivariance import Positions
from tesseral.models.l1net import L1NetSettings
from tesseral.models.tensor import Target, TensorModel, TensorSettings

TARGETS = {
    "u0": Target(irreps="0e"),
    "gap": Target(irreps="0e", pool="mean"),
    "mu": Target(irreps="1o", charges=True),
    "r2": Target(irreps="0e", pool="extent"),
}


def small(lmax: int, targets=None, **changes) -> TensorModel:
    torch.manual_seed(0)
    if targets is None:
        targets = TARGETS | ({"polarizability": Target(irreps="0e+2e")} if lmax == 2 else {})
    settings = {"lmax": lmax, "width": 24, "layers": 2, "cutoff": 4.0, "num_basis": 8, "radial_channels": 8}
    body = L1NetSettings(species=(1, 6, 8), num_neighbors=8.0, **(settings | changes))
    return TensorModel(TensorSettings(body=body, targets=targets), dtype=torch.float64)


@pytest.mark.parametrize("lmax", [0, 1, 2])
def test_every_property_is_equivariant(lmax: int) -> None:
    model = small(lmax)
    graph = build_graph(molecule("CH3CH2OH"), model.cutoff)
    for name, irreps in model.irreps.items():
        error = equivariance_error(
            lambda r, name=name: model(graph.replace(positions=r))[name], Positions(), irreps, "E(3)",
            inputs=[graph.positions],
        )  # fmt: skip
        print(name, error)
        assert float(error) < 1e-10, name
        assert error.scale > 1e-4, name


def test_sums_means_and_batches() -> None:
    model = small(1)
    graphs = [build_graph(molecule(name), model.cutoff) for name in ("CH4", "H2O", "CH3CH2OH")]
    together, apart = model(collate(graphs)), [model(graph) for graph in graphs]
    for name, values in together.items():
        torch.testing.assert_close(values, torch.cat([each[name] for each in apart]), rtol=0, atol=1e-10)
    twins = molecule("H2O") + molecule("H2O")
    twins.positions[3:] += 50.0
    found = model(build_graph(twins, model.cutoff))
    torch.testing.assert_close(found["u0"], 2 * apart[1]["u0"], rtol=0, atol=1e-10)
    torch.testing.assert_close(found["gap"], apart[1]["gap"], rtol=0, atol=1e-10)


def test_an_extent_is_about_the_centre_of_mass() -> None:
    """Atoms far apart, each with its own constant, weigh by their squared distances from the centre of mass."""
    model = small(0, {"r2": Target(irreps="0e", pool="extent")})
    with torch.no_grad():
        model.heads["r2"].weight.zero_()
        model.references["r2"].copy_(torch.tensor([[1.0], [0.0], [2.0]]))
    atoms = molecule("H2O")
    atoms.positions *= 20
    squares = ((atoms.positions - atoms.get_center_of_mass()) ** 2).sum(1)
    expected = 2.0 * squares[0] + squares[1:].sum()
    assert model(build_graph(atoms, model.cutoff))["r2"].item() == pytest.approx(expected, rel=1e-6)


def test_symmetric_molecules_have_no_dipole() -> None:
    model = small(1)
    assert model(build_graph(molecule("CH4"), model.cutoff))["mu"].abs().max() < 1e-6  # its coordinates have so many digits
    assert model(build_graph(molecule("H2O"), model.cutoff))["mu"].norm() > 1e-3


def test_labels_may_be_lengths() -> None:
    model = small(1, {"mu": Target(irreps="1o", charges=True, length=True)})
    graph = collate([build_graph(molecule(name), model.cutoff) for name in ("H2O", "CH4")])
    vectors = model(graph)["mu"]
    lengths = model.as_labelled("mu", vectors)
    torch.testing.assert_close(lengths[0], vectors[0].norm(dim=0, keepdim=True))
    assert str(model.label_irreps["mu"]) == "1x0e"
    gradients = torch.autograd.grad(lengths.sum(), list(model.parameters()), allow_unused=True, materialize_grads=True)
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_angles_tell_isomers_apart_only_with_degree_one() -> None:
    """Same distances within the cutoff, another angle: only angular features see it in an atom's scalar."""
    for lmax in (0, 1):
        model = small(lmax, cutoff=2.0, layers=3)
        found = []
        for second in ([0, 1.5, 0], [-1.5, 0, 0]):
            atoms = molecule("H2O")
            atoms.positions[:] = [[0, 0, 0], [1.5, 0, 0], second]
            found.append(model(build_graph(atoms, model.cutoff))["gap"].item())
        assert (abs(found[0] - found[1]) > 1e-8) == bool(lmax)


def test_mistakes_are_named() -> None:
    for targets, message in (
        ({"alpha": Target(irreps="0e+2e")}, "raise lmax"),
        ({"alpha": Target(irreps="0e+1o", length=True)}, "only one tensor has a length"),
        ({"alpha": Target(irreps="0e", per="atom", pool="mean")}, "set per to structure"),
        ({"alpha": Target(irreps="1o", charges=True, pool="mean")}, "has charges"),
    ):
        with pytest.raises(ValueError, match=message):
            small(1, targets)
    model = small(0, {"r2": Target(irreps="0e", pool="extent")})
    with pytest.raises(ValueError, match="a crystal has no centre"):
        model(build_graph(bulk("C"), model.cutoff))
