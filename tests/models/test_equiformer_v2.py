"""EquiformerV2: symmetric, smooth at the cutoff, conservative; the error of the grid of the sphere is known and falls."""

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.groups.equivariance import Cartesian, Positions, equivariance_error
from tesseral.models import build, parse_settings, settings_of
from tesseral.models.equiformer_v2 import EquiformerV2, EquiformerV2Settings
from tesseral.models.files import load, save
from tesseral.physics.forces import energy_and_forces
from tests.models.contract import CHECKS

E0 = {1: -13.0, 6: -1000.0, 8: -2000.0}


def small(dtype: torch.dtype = torch.float64, **changes) -> EquiformerV2:
    settings = {
        "cutoff": 3.0, "layers": 2, "lmax": 2, "mmax": 1, "channels": 4, "hidden_channels": 4, "heads": 2, "value_channels": 2,
        "attention_channels": 4, "radial_channels": 8, "activation": "gate", "species": (1, 6, 8), "num_neighbors": 6.0,
    }  # fmt: skip
    torch.manual_seed(0)
    return EquiformerV2(EquiformerV2Settings(**(settings | changes)), atomic_energies=E0, dtype=dtype)


def chiral() -> ase.Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.2, seed=1)
    return atoms


def error(model: EquiformerV2, group: str) -> float:
    graph = build_graph(chiral(), 3.0)
    model.atomic_energies.zero_()  # they would hide the rest
    found = equivariance_error(lambda r: model(graph.replace(positions=r)), Positions(), None, group, inputs=[graph.positions])
    print(found)
    return float(found)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check, tmp_path) -> None:
    check(small(), tmp_path)


def test_energy_is_invariant_under_rotation_reflection_and_translation() -> None:
    assert error(small(), "E(3)") < 1e-12


def test_without_parity_only_rotations_commute() -> None:
    assert error(small(parity=False), "SE(3)") < 1e-12
    assert error(small(parity=False), "E(3)") > 1e-4


def test_the_error_of_the_grid_falls_with_its_resolution() -> None:
    coarse, middle, fine = (error(small(activation="s2", grid=n), "E(3)") for n in (6, 14, 30))
    assert coarse > 10 * middle > 100 * fine
    assert fine < 1e-6


@pytest.mark.parametrize("activation", ["gate", "s2"])
def test_forces_are_the_derivative_of_the_energy(activation: str) -> None:
    model, atoms = small(activation=activation), chiral()
    model.atomic_energies.zero_()  # their size would cost digits of the difference
    graph = build_graph(atoms, 3.0)
    forces = energy_and_forces(model, graph).forces
    assert forces.abs().max() > 1e-2
    step = torch.zeros_like(graph.positions)
    step[2] = torch.tensor([1e-5, -2e-5, 1e-5], dtype=torch.float64)
    change = model(graph.replace(positions=graph.positions + step)) - model(graph.replace(positions=graph.positions - step))
    assert change.item() == pytest.approx(-2 * (forces * step).sum().item(), rel=1e-5)


def test_the_last_neighbour_leaves_smoothly() -> None:
    """Attention over one neighbour is 1 however far it is; the envelope outside takes its message away."""
    model = small()
    lone = sum(E0[z] for z in (6, 8))

    def at(distance: float) -> tuple[float, float]:
        pair = ase.Atoms("CO", positions=[(0, 0, 0), (0.3, 0.4, (distance**2 - 0.25) ** 0.5)])
        prediction = energy_and_forces(model, build_graph(pair, 3.0))
        return prediction.energy.item() - lone, prediction.forces.abs().max().item()

    assert at(2.0)[0] != 0
    energies, forces = zip(*(at(3.0 - gap) for gap in (0.1, 0.01, 0.001)), strict=True)
    assert abs(energies[2]) < 1e-4 * abs(energies[0])  # as the third power of the gap
    assert forces[2] < 1e-2 * forces[0]
    assert at(3.001) == (0.0, 0.0)


def test_a_neighbour_among_others_leaves_smoothly() -> None:
    model, atoms = small(), chiral()
    far = atoms.positions[0] + np.array([0, 0, 1.0])

    def at(gap: float) -> tuple[float, torch.Tensor]:
        with_one = atoms + ase.Atoms("O", positions=[far])
        direction = np.array([0.6, 0.0, 0.8])
        start = atoms.positions[np.argmax(atoms.positions @ direction)]
        with_one.positions[-1] = start + direction * (3.0 - gap)
        prediction = energy_and_forces(model, build_graph(with_one, 3.0))
        return prediction.energy.item(), prediction.forces

    inside, outside = at(1e-4), at(-1e-4)
    assert abs(inside[0] - outside[0]) < 1e-9
    torch.testing.assert_close(inside[1], outside[1], rtol=0, atol=1e-6)


def test_isolated_atoms_have_exactly_their_energies_and_nothing_has_none() -> None:
    for activation in ("gate", "s2"):
        model = small(activation=activation)
        assert model(build_graph(ase.Atoms("C"), 3.0)).item() == -1000.0
        assert model(build_graph(ase.Atoms(), 3.0)).item() == 0.0


def test_batch_equals_one_by_one() -> None:
    model = small()
    graphs = [build_graph(atoms, 3.0) for atoms in (molecule("CH4"), bulk("C"), ase.Atoms("O"), molecule("H2O"))]
    together = energy_and_forces(model, collate(graphs))
    apart = [energy_and_forces(model, graph) for graph in graphs]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in apart]), rtol=0, atol=1e-9)
    torch.testing.assert_close(together.forces, torch.cat([p.forces for p in apart]), rtol=0, atol=1e-10)


def test_second_derivatives_train_forces() -> None:
    model, graph = small(activation="s2"), build_graph(molecule("H2O"), 3.0)
    weights = [model.blocks[0].attention.hidden_weights, model.blocks[1].feed.first.weight]

    def loss() -> torch.Tensor:
        return energy_and_forces(model, graph, create_graph=True).forces.square().sum()

    gradients = torch.autograd.grad(loss(), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        step = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-5
        with torch.no_grad():
            weight += step
            up = loss()
            weight -= 2 * step
            down = loss()
            weight += step
        assert (up - down).item() == pytest.approx(2 * (gradient * step).sum().item(), rel=1e-4)


def test_direct_forces_turn_with_the_molecule() -> None:
    model, graph = small(direct_forces=True), build_graph(chiral(), 3.0)
    found = equivariance_error(
        lambda r: model.direct(graph.replace(positions=r))[1], Positions(), Cartesian(), "E(3)", inputs=[graph.positions]
    )
    print(found)
    assert found.scale > 1e-3
    assert float(found) < 1e-12
    torch.testing.assert_close(model.direct(graph)[0], model(graph))
    with pytest.raises(ValueError, match="direct_forces=true"):
        small().direct(graph)


def test_an_encoding_is_seen() -> None:
    model, graph = small(), build_graph(molecule("H2O"), 3.0)
    energies, features = model.describe(graph)
    assert features.shape == (3, model.irreps_features.dim)
    encoded, _ = model.describe(graph, torch.randn(3, model.irreps_encoding.dim, dtype=torch.float64))
    assert abs(encoded - energies).item() > 1e-4
    torch.testing.assert_close(model.describe(graph, torch.zeros(3, model.irreps_encoding.dim).double())[0], energies)


def test_float32_stays_close_and_casting_keeps_energies() -> None:
    double = small()
    single = small(dtype=torch.float32)
    single.load_state_dict(double.state_dict())
    graph = build_graph(chiral(), 3.0)
    assert single(graph).dtype == torch.float64
    assert abs(single(graph) - double(graph)).item() < 1e-4
    assert small().float().dtype == torch.float32


def test_model_files_and_settings(tmp_path) -> None:
    model = small(lmax=1)
    save(model, tmp_path / "model.safetensors", {})
    graph = build_graph(molecule("H2O"), 3.0)
    torch.testing.assert_close(load(tmp_path / "model.safetensors")[0](graph), model(graph))
    assert settings_of(build(parse_settings(model.settings.model_dump()))) == model.settings
    for changes, words in (({"mmax": 3, "lmax": 2}, "orders end"), ({"grid": 4, "lmax": 2}, "too coarse")):
        with pytest.raises(ValueError, match=words):
            EquiformerV2Settings(**changes)
    with pytest.raises(ValueError, match=r"settings\.species"):
        EquiformerV2(EquiformerV2Settings())
