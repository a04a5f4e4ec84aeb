"""L1Net: every head transforms as its property does, knows its origin, and learns what it should."""

import pytest
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.groups import equivariance_error
from tesseral.groups.equivariance import Positions
from tesseral.models.l1net import L1Net, L1NetSettings

TARGETS = {
    "u0": {"head": "sum", "atoms": {1: -0.6, 6: -38.1, 8: -75.2}},
    "gap": {"head": "mean", "shift": 0.25},
    "mu": {"head": "dipole"},
    "r2": {"head": "extent"},
}


def small(lmax: int, **changes) -> L1Net:
    torch.manual_seed(0)
    targets = TARGETS | ({"polarizability": {"head": "tensor"}} if lmax == 2 else {})
    settings = {"targets": targets, "lmax": lmax, "width": 24, "layers": 2, "cutoff": 4.0, "num_basis": 8, "radial_channels": 8}
    return L1Net(L1NetSettings(species=(1, 6, 8), num_neighbors=8.0, **(settings | changes)), dtype=torch.float64)


@pytest.mark.parametrize("lmax", [0, 1, 2])
def test_every_head_is_equivariant(lmax: int) -> None:
    model = small(lmax)
    graph = build_graph(molecule("CH3CH2OH"), model.cutoff)
    ways = {"u0": "0e", "gap": "0e", "mu": "1o", "r2": "0e", "polarizability": "1o x 1o"}
    for name in model.settings.targets:
        dim = 9 if name == "polarizability" else (3 if name == "mu" else 1)

        def value(r: torch.Tensor, name: str = name, dim: int = dim) -> torch.Tensor:
            found = model(graph.replace(positions=r))[name].reshape(1, dim)
            # A tensor is compared by its invariants and by its action on the dipole, which is a vector.
            return found if dim < 9 else (found.view(3, 3) @ model(graph.replace(positions=r))["mu"][0])[None]

        rep = "1x1o" if ways[name] != "0e" else "1x0e"
        error = equivariance_error(value, Positions(), rep, "E(3)", inputs=[graph.positions])
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


def test_symmetric_molecules_have_no_dipole() -> None:
    model = small(1)
    assert model(build_graph(molecule("CH4"), model.cutoff))["mu"].abs().max() < 1e-6  # its coordinates have so many digits
    assert model(build_graph(molecule("H2O"), model.cutoff))["mu"].norm() > 1e-3


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
    with pytest.raises(ValueError, match="set lmax=2"):
        small(1, targets={"polarizability": {"head": "tensor"}})
    model = small(0)
    with pytest.raises(ValueError, match="a crystal has no centre"):
        model(build_graph(bulk("C"), model.cutoff))
