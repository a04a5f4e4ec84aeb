"""The Hessian's loss: an unbiased estimate of the error of an entry, and a term that the loop takes after its warm-up."""

import ase
import numpy as np
import pytest
import torch

from tesseral.data import DataError, embedded
from tesseral.graph import build_graph
from tesseral.interfaces.hessian_files import read_hessians
from tesseral.physics.hessian import hessian
from tesseral.train.energies import EnergyTask
from tesseral.train.hessians import HessianFrame, hessian_loss, probes
from tesseral.train.loop import TrainingError, fit
from tesseral.train.settings import FitSettings, HessianTermSettings
from tests.physics.toys import PairPotential, graph_of


class Spring(PairPotential):
    """One spring between neighbours, whose stiffness is learned."""

    def __init__(self, stiffness=3.0):
        super().__init__(2.0)
        self.stiffness = torch.nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))

    def pair(self, r, graph):
        return 0.5 * self.stiffness * (r - 0.8) ** 2


def triangle():
    return ase.Atoms("H3", positions=[(0, 0, 0), (0, 0, 0.8), (0.7, 0, 0.1)])


@pytest.mark.parametrize("kind", ["random", "rows"])
def test_estimate_is_unbiased(kind):
    model, settings = Spring(), HessianTermSettings(kind=kind, probes=4)
    graph = graph_of(triangle(), model)
    exact = hessian(model, graph)
    noise = 0.1 * torch.randn(9, 9, dtype=torch.float64)
    frame = HessianFrame(graph, exact + (noise + noise.T).reshape(3, 3, 3, 3))
    wanted = (noise + noise.T).square().mean().item()
    found = np.mean([hessian_loss(model, frame, settings).item() for _ in range(80)])
    assert found == pytest.approx(wanted, rel=0.2)
    assert hessian_loss(model, HessianFrame(graph, exact), settings).item() < 1e-20


def test_all_rows_are_the_whole_matrix():
    model, settings = Spring(), HessianTermSettings(kind="rows", probes=100)
    graph = graph_of(triangle(), model)
    noise = torch.randn(3, 3, 3, 3, dtype=torch.float64)
    frame = HessianFrame(graph, hessian(model, graph) + noise + noise.permute(2, 3, 0, 1))
    wanted = (noise + noise.permute(2, 3, 0, 1)).square().mean().item()
    assert hessian_loss(model, frame, settings).item() == pytest.approx(wanted, rel=1e-10)
    assert probes(3, settings, graph.positions).sum(0).unique().tolist() == [1.0]


def test_gradient_in_the_parameters():
    model, settings = Spring(), HessianTermSettings(probes=3)
    graph = graph_of(triangle(), model)
    frame = HessianFrame(graph, hessian(Spring(4.0), graph))

    def loss(stiffness):
        torch.manual_seed(3)
        with torch.no_grad():
            model.stiffness.fill_(stiffness)
        return hessian_loss(model, frame, settings)

    (slope,) = torch.autograd.grad(loss(3.0), model.stiffness)
    assert slope.item() == pytest.approx((loss(3.001).item() - loss(2.999).item()) / 0.002, rel=1e-6)
    assert slope.item() < 0  # towards the stiffness of the reference


def settings(**term):
    return FitSettings.model_validate({
        "loss": {"energy": {"weight": 0.0}, "forces": {"weight": 1e-9}, "hessian": term},
        "optimizer": {"name": "adam", "lr": 0.2}, "schedule": {"name": "constant"}, "max_epochs": 20, "ema_decay": 0.0,
        "batch_size": 1, "accelerator": "cpu", "tensorboard": False, "validate_every": 20,
    })  # fmt: skip


def labelled(model):
    graph = graph_of(triangle(), model)
    labels, masks = {"forces": torch.zeros(3, 3, dtype=torch.float64)}, {"forces": torch.ones(3, dtype=torch.bool)}
    return graph.replace(labels=labels, masks=masks)


def test_loop_learns_from_the_hessian(tmp_path):
    model = Spring()
    graph = labelled(model)
    frame = HessianFrame(graph, hessian(Spring(5.0), graph))
    chosen = settings(weight=1.0, start=0.2)
    fit(model, [graph], [], chosen, tmp_path / "with", show_progress=False, task=EnergyTask(chosen, hessians=[frame]))
    assert model.stiffness.item() == pytest.approx(5.0, abs=0.6)


def test_warm_up_leaves_it_out(tmp_path):
    wanted, found = [], []
    for weight, list_ in ((0.0, wanted), (1.0, found)):
        model = Spring()
        graph = labelled(model)
        frame = HessianFrame(graph, hessian(Spring(5.0), graph))
        chosen = settings(weight=weight, start=0.999)
        fit(model, [graph], [], chosen, tmp_path / str(weight), show_progress=False, task=EnergyTask(chosen, hessians=[frame]))
        list_.append(model.stiffness.item())
    assert wanted == found


def test_bad_input(tmp_path):
    model = Spring()
    graph = labelled(model)
    with pytest.raises(TrainingError, match=r"data\.hessians"):
        fit(model, [graph], [], settings(weight=1.0), tmp_path / "none", show_progress=False)
    with pytest.raises(ValueError, match="does not belong"):
        HessianFrame(graph, torch.zeros(2, 3, 2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="not finite"):
        HessianFrame(graph, torch.full((3, 3, 3, 3), torch.nan, dtype=torch.float64))
    with pytest.raises(DataError, match="does not exist"):
        read_hessians([tmp_path / "absent.npz"], 4.0)
    np.savez(tmp_path / "half.npz", numbers=[1, 1])
    with pytest.raises(DataError, match="positions, hessian"):
        read_hessians([tmp_path / "half.npz"], 4.0)
    np.savez(tmp_path / "odd.npz", numbers=[1, 1], positions=np.zeros((2, 3)), hessian=np.zeros((5, 5)))
    with pytest.raises(DataError, match="do not fit"):
        read_hessians([tmp_path / "odd.npz"], 4.0)


def test_files(tmp_path):
    minimum = embedded.hessians()["trans"]
    np.savez(tmp_path / "h.npz", numbers=minimum.atoms.numbers, positions=minimum.atoms.positions, hessian=minimum.hessian)
    (frame,) = read_hessians([tmp_path / "h.npz"], 4.0)
    assert frame.graph.num_edges == build_graph(minimum.atoms, 4.0).num_edges
    np.testing.assert_array_equal(frame.hessian.numpy(), minimum.hessian)


def test_external_hessians(external_data, tmp_path):
    path = external_data / "deepmd_hessian" / "H8C4N2O.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent (see docs/data.md)")
    with np.load(path) as arrays:
        np.savez(tmp_path / "h.npz", numbers=arrays["species"], positions=arrays["positions"], hessian=arrays["hessian"])
    frames = read_hessians([tmp_path / "h.npz"], 3.0)
    assert len(frames) == 11
    assert frames[0].hessian.sum(2).abs().max() < 1e-2  # translations
