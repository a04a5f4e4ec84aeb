"""D3(BJ) against the package's own ASE calculator and finite differences, in sums, files and batches."""

import ase.build
import numpy as np
import pytest
import torch

dftd3 = pytest.importorskip("dftd3", reason="needs the extra: pip install 'tesseral[dispersion]'")

from dftd3.ase import DFTD3  # noqa: E402

from tesseral.graph import build_graph, collate  # noqa: E402
from tesseral.interfaces.ase import Calculator  # noqa: E402
from tesseral.interfaces.dispersion import DispersionError, add_dispersion  # noqa: E402
from tesseral.models import files  # noqa: E402
from tesseral.nn.dispersion import D3  # noqa: E402
from tesseral.nn.pair import Sum  # noqa: E402
from tesseral.physics.forces import energy_and_forces  # noqa: E402
from tesseral.physics.hessian import asymmetry, hessian, sum_rule_error  # noqa: E402
from tests.physics.test_uncertainty import clusters, network  # noqa: E402


def dimer():
    two = ase.build.molecule("C2H4") + ase.build.molecule("H2O")
    two.positions[6:] += (0.3, 0.4, 3.4)
    return two


def salt():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.mark.parametrize("make", [dimer, salt])
def test_equals_the_package(make):
    atoms, other = make(), make()
    atoms.calc, other.calc = Calculator(D3("pbe")), DFTD3(method="PBE", damping="d3bj")
    assert atoms.get_potential_energy() < -0.01
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-9)
    if atoms.pbc.all():
        np.testing.assert_allclose(atoms.get_stress(), other.get_stress(), atol=1e-9)


def test_derivatives_are_those_of_the_energy():
    model, atoms = D3("pbe"), salt()
    graph = build_graph(atoms, 0.1)
    found = energy_and_forces(model, graph, stress=True)
    step = 1e-4
    moved = [model(graph.replace(positions=graph.positions + sign * step * _unit(len(atoms), 1, 2))) for sign in (1, -1)]
    assert -(moved[0] - moved[1]).item() / (2 * step) == pytest.approx(found.forces[1, 2].item(), rel=1e-5)
    strain = torch.zeros(1, 3, 3, dtype=torch.float64)
    strain[0, 0, 1] = strain[0, 1, 0] = step
    bent = [model(graph.strained(sign * strain)) for sign in (1, -1)]
    slope = (bent[0] - bent[1]).item() / (4 * step * float(graph.volume))
    # The package cuts pairs at 60 Bohr, so that the energy has tiny steps under strain.
    assert slope == pytest.approx(found.stress[0, 0, 1].item(), rel=1e-3)


def _unit(nodes, node, axis):
    unit = torch.zeros(nodes, 3, dtype=torch.float64)
    unit[node, axis] = 1
    return unit


def test_batches_and_empty_structures():
    model = D3("pbe")
    parts = [build_graph(atoms, 0.1) for atoms in (dimer(), salt(), ase.Atoms())]
    together = energy_and_forces(model, collate(parts), stress=True)
    for index, part in enumerate(parts):
        torch.testing.assert_close(together.energy[index : index + 1], model(part))
    assert together.energy[2] == 0


@pytest.mark.parametrize("make", [dimer, salt])
def test_hessian(make):
    model, atoms = D3("pbe"), make()
    graph = build_graph(atoms, 0.1)
    matrix = hessian(model, graph)
    assert matrix.abs().max() > 0.005
    # Atoms of the crystal leave each other's reach at 60 Bohr, where the package ends abruptly.
    tolerance = 1e-5 if atoms.pbc.all() else 1e-8
    assert asymmetry(matrix) < tolerance
    assert sum_rule_error(matrix) < 1e-10
    step = 5e-3  # other than the one inside; Richardson's extrapolation removes its own error

    def difference(h):
        up, down = (
            energy_and_forces(model, graph.replace(positions=graph.positions + sign * h * _unit(len(atoms), 1, 2))).forces
            for sign in (1, -1)
        )
        return -(up - down) / (2 * h)

    exact = (4 * difference(step) - difference(2 * step)) / 3
    torch.testing.assert_close(matrix[1, 2], exact, atol=tolerance, rtol=0)


def test_second_derivatives_in_strain_and_of_batches():
    model = D3("pbe")
    graph = collate([build_graph(salt(), 0.1), build_graph(dimer(), 0.1)])
    strain = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    direction = torch.tensor([[0.3, 0.1, 0], [0, -0.5, 0.2], [0, 0, 1.0]], dtype=torch.float64).expand(2, 3, 3)
    (slope,) = torch.autograd.grad(model(graph.strained(strain)).sum(), strain, create_graph=True)
    (along,) = torch.autograd.grad(slope, strain, direction, retain_graph=True)
    step = 2e-3

    def shifted(amount):
        moved = (amount * direction).requires_grad_()
        return torch.autograd.grad(model(graph.strained(moved)).sum(), moved)[0]

    torch.testing.assert_close(along, (shifted(step) - shifted(-step)) / (2 * step), atol=1e-3, rtol=0)
    assert along.abs().max() > 0.1
    with pytest.raises(NotImplementedError, match="trained model"):
        torch.autograd.grad(slope, strain, direction, create_graph=True)


def test_refuses_to_count_twice(tmp_path):
    learned, output = network(), tmp_path / "sum.safetensors"
    for level, sentence in (
        ("PBE+D3/def2-SVP", "contains dispersion"),
        ("", "does not say"),
        ("BLYP/def2-SVP", "give the functional"),
    ):
        files.save(learned, tmp_path / "m.safetensors", {"level_of_theory": level})
        with pytest.raises(DispersionError, match=sentence):
            add_dispersion(tmp_path / "m.safetensors", output, "pbe")
        assert not output.exists()
    files.save(learned, tmp_path / "m.safetensors", {"level_of_theory": "PBE/def2-SVP"})
    add_dispersion(tmp_path / "m.safetensors", output, "pbe")
    with pytest.raises(DispersionError, match="already"):
        add_dispersion(output, tmp_path / "twice.safetensors", "pbe")
    total, metadata = files.load(output)
    assert metadata.dispersion["functional"] == "pbe"
    assert isinstance(total, Sum)
    graph = build_graph(clusters(1, 0)[0], total.cutoff)
    expected = learned(graph) + D3("pbe")(graph)
    torch.testing.assert_close(total(graph), expected)


def test_an_unknown_functional_gets_a_sentence():
    with pytest.raises(ValueError, match="no parameters for the functional 'nonsense'"):
        D3("nonsense")
