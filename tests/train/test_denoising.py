"""Denoising: what is corrupted, what is asked, what is told; a model that learned it is the model itself afterwards."""

import pytest
import torch
from ase.build import molecule

from tesseral.graph import Graph, build_graph, collate
from tesseral.groups.equivariance import Cartesian, Positions, equivariance_error
from tesseral.models.dens import Denoiser, DenoisingSettings
from tesseral.models.equiformer_v2 import EquiformerV2, EquiformerV2Settings
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.nn.pair import ZBL
from tesseral.physics.forces import energy_and_forces
from tesseral.train.denoising import denoised_prediction
from tesseral.train.energies import EnergyTask
from tesseral.train.loop import fit
from tesseral.train.settings import FitSettings

SETTINGS = EquiformerV2Settings(
    cutoff=3.0, layers=1, lmax=1, mmax=1, channels=4, hidden_channels=4, heads=1, value_channels=4, attention_channels=4,
    radial_channels=8, activation="gate", species=(1, 6, 8), num_neighbors=6.0,
)  # fmt: skip


def denoiser(**changes) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(
        EquiformerV2(SETTINGS, dtype=torch.float64), DenoisingSettings(**({"structures": 1.0, "force_scale": 1.0} | changes))
    )


def labelled(count: int = 1, seed: int = 0) -> list[Graph]:
    torch.manual_seed(seed)
    graphs = []
    for _ in range(count):
        atoms = molecule("CH3OH")
        atoms.positions += 0.1 * torch.randn(len(atoms), 3).numpy()
        forces = torch.randn(len(atoms), 3, dtype=torch.float64)
        labels = {"energy": torch.randn(1, dtype=torch.float64), "forces": forces}
        masks = {name: torch.ones(len(value), dtype=torch.bool) for name, value in labels.items()}
        graphs.append(build_graph(atoms, 3.0).replace(labels=labels, masks=masks))
    return graphs


def test_corruption_has_the_probabilities_and_the_size_it_was_given() -> None:
    batch = collate(labelled(600))
    torch.manual_seed(1)
    drawn = denoiser(structures=0.5, atoms=0.25, sigma=0.05).corrupt(batch)
    touched = torch.zeros(600).index_add(0, batch.batch, drawn.displaced.float()) > 0
    assert abs(drawn.displaced.float().mean() - 0.125) < 0.02
    assert abs(touched.float().mean() - 0.5 * (1 - 0.75**6)) < 0.06  # at least one of six atoms, in half of the structures
    shift = drawn.positions - batch.positions
    assert torch.equal(shift[~drawn.displaced], torch.zeros_like(shift[~drawn.displaced]))
    assert abs(shift[drawn.displaced].std() - 0.05) < 0.005
    torch.testing.assert_close(shift, 0.05 * drawn.noise)


def test_atoms_without_a_force_stay() -> None:
    (graph,) = labelled()
    mask = torch.tensor([True, True, False, True, True, True])
    graph = graph.replace(masks=graph.masks | {"forces": mask})
    assert not any(denoiser(atoms=1.0).corrupt(graph).displaced[2] for _ in range(5))


def test_the_noise_enters_the_loss_with_its_weight_and_the_rest_keeps_its_labels() -> None:
    (graph,), model = labelled(), denoiser(atoms=0.5, noise_weight=4.0)
    torch.manual_seed(3)
    drawn = model.corrupt(graph)
    assert 0 < drawn.displaced.sum() < 6
    torch.manual_seed(3)
    prediction = denoised_prediction(model, graph, create_graph=True)
    placed = graph.replace(positions=drawn.positions)
    encoding = model.encoding(graph, drawn.displaced)
    _, features = model.model.describe(placed, encoding)
    error = prediction.forces - graph.labels["forces"]
    torch.testing.assert_close(error[drawn.displaced], 2.0 * (model.denoise(features) - drawn.noise)[drawn.displaced])
    plain = energy_and_forces(lambda g: model.model.describe(g, encoding)[0], placed)
    torch.testing.assert_close(prediction.forces[~drawn.displaced], plain.forces[~drawn.displaced])
    torch.testing.assert_close(prediction.energy, plain.energy)


def test_the_weight_decays_over_the_steps() -> None:
    (graph,), model = labelled(), denoiser(noise_weight=1.0, decay_steps=4)
    weights = []
    for _ in range(6):
        weights.append(model.noise_weight())
        denoised_prediction(model, graph, create_graph=True)
    assert weights == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_evaluation_sees_neither_noise_nor_encoding() -> None:
    (graph,), model = labelled(), denoiser(atoms=1.0)
    expected = energy_and_forces(model.model, graph)
    for training, create_graph in ((True, False), (False, True)):
        prediction = denoised_prediction(model.train(training), graph, create_graph=create_graph)
        torch.testing.assert_close(prediction.forces, expected.forces)
    torch.testing.assert_close(model(graph), expected.energy)


def test_the_encoding_turns_with_the_forces_and_is_zero_elsewhere() -> None:
    (graph,), model = labelled(), denoiser()
    displaced = torch.tensor([True, False, True, False, False, True])

    def encoded(forces: torch.Tensor) -> torch.Tensor:
        return model.encoding(graph.replace(labels=graph.labels | {"forces": forces}), displaced)

    forces = graph.labels["forces"]
    found = equivariance_error(encoded, Cartesian(), model.model.irreps_encoding, "O(3)", inputs=[forces])
    assert found.scale > 0.1
    assert float(found) < 1e-12
    assert torch.equal(encoded(forces)[~displaced], torch.zeros_like(encoded(forces)[~displaced]))
    assert bool(torch.isfinite(encoded(0 * forces)).all())
    assert denoiser(encode_forces=False).encoding(graph, displaced) is None


def by_nequip() -> Denoiser:
    torch.manual_seed(0)
    settings = NequIPSettings(cutoff=3.0, layers=3, lmax=1, channels=4, radial_channels=8, species=(1, 6, 8), num_neighbors=6.0)
    return Denoiser(NequIP(settings, dtype=torch.float64), DenoisingSettings(structures=1.0, force_scale=1.0))


@pytest.mark.parametrize("made", [denoiser, by_nequip])
def test_the_encoding_is_heard_and_adds_nothing_to_the_rest(made) -> None:
    (graph,), model = labelled(), made()
    energy, _ = model.model.describe(graph)
    torch.testing.assert_close(energy, model(graph), rtol=0, atol=1e-12)
    nobody = torch.zeros(6, dtype=torch.bool)
    torch.testing.assert_close(model.model.describe(graph, model.encoding(graph, nobody))[0], energy, rtol=0, atol=1e-12)
    assert (model.model.describe(graph, model.encoding(graph, ~nobody))[0] - energy).abs().item() > 1e-4


@pytest.mark.parametrize("made", [denoiser, by_nequip])
def test_the_predicted_noise_turns_with_the_structure(made) -> None:
    (graph,), model = labelled(), made()
    found = equivariance_error(
        lambda r: model.denoise(model.model.describe(graph.replace(positions=r))[1]),
        Positions(),
        Cartesian(),
        "E(3)",
        inputs=[graph.positions],
    )
    assert found.scale > 1e-3
    assert float(found) < 1e-12


def test_a_fit_learns_the_noise(tmp_path) -> None:
    frames = labelled(8)
    chosen = FitSettings.model_validate(
        {"max_epochs": 30, "batch_size": 8, "optimizer": {"lr": 0.02}, "tensorboard": False, "ema_decay": 0.0}
        | {"loss": {"energy": {"weight": 0.0}, "forces": {"weight": 1.0}}, "validate_every": 30}
    )
    model = denoiser(atoms=1.0, noise_weight=1.0, sigma=0.2)
    task = EnergyTask(chosen, denoised_prediction)
    result = fit(model, frames, frames[:1], chosen, tmp_path, show_progress=False, task=task)
    losses = [row["train_loss"] for row in result.history]
    assert losses[-1] < 0.9 * losses[0]
    assert int(model.steps) == 30


def test_a_resumed_run_is_the_same_run(tmp_path) -> None:
    """Bitwise: what is corrupted depends on seed and step alone, and the weight of the noise on the steps before."""
    frames = labelled(6)

    def run(folder: str, epochs: int, resume: bool = False) -> Denoiser:
        model = denoiser(decay_steps=10)
        chosen = FitSettings.model_validate(
            {"max_epochs": epochs, "batch_size": 2, "schedule": {"name": "constant"}, "tensorboard": False}
        )
        task = EnergyTask(chosen, denoised_prediction)
        fit(model, frames[:4], frames[4:], chosen, tmp_path / folder, resume=resume, show_progress=False, task=task)
        return model

    whole = run("whole", 4)
    run("parts", 2)
    parts = run("parts", 4, resume=True)
    assert int(parts.steps) == int(whole.steps) > 4
    for (name, value), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_models_without_the_door_are_refused() -> None:
    with pytest.raises(TypeError, match="irreps_encoding"):
        Denoiser(ZBL(4.0, (1, 8)), DenoisingSettings())
    bare = {"cutoff": 3.0, "layers": 1, "channels": 4, "species": (1, 6, 8), "num_neighbors": 6.0}
    with pytest.raises(ValueError, match="hold none"):
        Denoiser(NequIP(NequIPSettings(**bare)), DenoisingSettings(force_scale=1.0))
    with pytest.raises(ValueError, match=r"settings\.force_scale"):
        Denoiser(EquiformerV2(SETTINGS), DenoisingSettings())
