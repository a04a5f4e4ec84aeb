"""The loop: it learns, it repeats itself, it survives, and it says why it stops."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from tesseral.graph import Graph
from tesseral.physics.forces import energy_and_forces
from tesseral.train.checkpoints import CheckpointError, RunFolderError, best_weights, load_checkpoint
from tesseral.train.energies import EnergyTask
from tesseral.train.logs import read_history
from tesseral.train.loop import TrainingError, build_optimizer, fit
from tesseral.train.prediction import evaluate, tables
from tesseral.train.settings import FitSettings, OptimizerSettings
from tests.train.toy import PairPotential, frames

ROOT = pathlib.Path(__file__).parents[2]
FAST = {"max_epochs": 4, "batch_size": 4, "tensorboard": False, "optimizer": {"lr": 0.02}}


def run(folder, model=None, training=None, validation=None, *, options=None, function=energy_and_forces, **settings):
    model = PairPotential(dropout=0.1) if model is None else model
    training = frames(13) if training is None else training
    validation = frames(5, seed=1) if validation is None else validation
    chosen = FitSettings.model_validate(FAST | settings)
    task = EnergyTask(chosen, function)
    return fit(model, training, validation, chosen, folder, task=task, show_progress=False, **(options or {}))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(folder):
    return load_checkpoint(folder / "last.ckpt")["model"]


def assert_same_run(first, second):
    """Two folders hold the same run, bit for bit, but for the time it took."""
    a, b = load_checkpoint(first / "last.ckpt"), load_checkpoint(second / "last.ckpt")
    for state in (a, b):
        state.pop("seconds")
        state["history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]]

    def same(x, y, path):
        assert type(x) is type(y), path
        if isinstance(x, torch.Tensor):
            assert torch.equal(x, y), path
        elif isinstance(x, dict):
            assert x.keys() == y.keys(), path
            for key in x:
                same(x[key], y[key], f"{path}.{key}")
        elif isinstance(x, list | tuple):
            assert len(x) == len(y), path
            for index, (p, q) in enumerate(zip(x, y)):
                same(p, q, f"{path}[{index}]")
        else:
            assert x == y, path

    same(a, b, "state")
    tables_ = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(f / "history.csv")] for f in (first, second)
    ]
    assert tables_[0] == tables_[1]


def test_it_learns_and_leaves_the_best_weights_in_the_model(tmp_path):
    model = PairPotential()
    validation = frames(5, seed=1)
    before = tables(evaluate(model, validation))["overall"]
    result = run(tmp_path, model, frames(24), validation, max_epochs=30, clip_gradients=None)
    after = tables(evaluate(model, validation))["overall"]
    assert result.stopped == "max_epochs"
    assert result.epochs == 30
    assert result.steps == 30 * 6
    assert after["forces_rmse"] < before["forces_rmse"] / 3
    assert after["energy_rmse"] < before["energy_rmse"] / 2
    best = min(result.history, key=lambda row: row["validation_loss"])
    assert result.best_epoch == best["epoch"]
    assert after["forces_rmse"] == pytest.approx(best["validation_forces_rmse"], rel=1e-9)
    assert after["energy_per_atom_mae"] == pytest.approx(best["validation_energy_per_atom_mae"], rel=1e-9)
    saved = best_weights(tmp_path)
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    run(tmp_path / "a")
    torch.rand(17)  # the state of the global generator plays no part
    run(tmp_path / "b")
    run(tmp_path / "c", seed=1)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert not torch.equal(weights(tmp_path / "a")["first"], weights(tmp_path / "c")["first"])


def test_the_global_generator_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    run(tmp_path, max_epochs=1)
    assert torch.equal(before, torch.get_rng_state())


KILLED = """
    import os, signal, sys, torch
    sys.path.insert(0, {root!r})
    torch.set_num_threads(1)
    from tesseral.physics.forces import energy_and_forces
    from tests.train.test_loop import run
    calls = 0
    def predict(model, graph, **options):
        global calls
        calls += options["create_graph"]
        if calls == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
        return energy_and_forces(model, graph, **options)
    run(__import__("pathlib").Path({folder!r}), function=predict, **{settings!r})
"""

SCHEDULES = {
    "plateau": {"schedule": {"name": "plateau", "patience": 0, "reduce": 0.5}, "max_epochs": 6},
    "cosine": {"schedule": {"name": "cosine"}, "max_epochs": 6, "optimizer": {"name": "adamw", "lr": 0.02}},
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_killed_in_the_middle_of_an_epoch_continues_bit_for_bit(tmp_path, schedule):
    settings = SCHEDULES[schedule]
    run(tmp_path / "whole", **settings)
    script = textwrap.dedent(KILLED).format(root=str(ROOT), folder=str(tmp_path / "killed"), step=4 * 3 + 2, settings=settings)
    died = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert load_checkpoint(tmp_path / "killed" / "last.ckpt")["epoch"] in (1, 2, 3)
    run(tmp_path / "killed", options={"resume": True}, **settings)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_signal_stops_after_the_step_and_the_run_continues_bit_for_bit(tmp_path):
    calls = []

    def predict(model, graph, **options):
        calls.append(options["create_graph"])
        if sum(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return energy_and_forces(model, graph, **options)

    run(tmp_path / "whole")
    result = run(tmp_path / "cut", function=predict)
    assert result.stopped == "signal"
    state = load_checkpoint(tmp_path / "cut" / "last.ckpt")
    assert (state["epoch"], state["position"], state["steps"]) == (1, 2, 6)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run(tmp_path / "cut", options={"resume": True})
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_more_epochs_may_be_added(tmp_path):
    constant = {"schedule": {"name": "constant"}}
    run(tmp_path / "whole", max_epochs=5, **constant)
    run(tmp_path / "parts", max_epochs=2, **constant)
    result = run(tmp_path / "parts", options={"resume": True}, max_epochs=5, **constant)
    assert result.epochs == 5
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    again = run(tmp_path / "parts", options={"resume": True}, max_epochs=5, **constant)
    assert again.stopped == "max_epochs"
    assert again.steps == result.steps


def test_a_run_is_not_continued_with_other_settings_or_frames_and_not_overwritten(tmp_path):
    run(tmp_path, max_epochs=1)
    with pytest.raises(RunFolderError, match="--resume"):
        run(tmp_path)
    with pytest.raises(CheckpointError, match="batch_size: was 4, is 5"):
        run(tmp_path, options={"resume": True}, batch_size=5)
    with pytest.raises(CheckpointError, match="other training frames"):
        run(tmp_path, training=frames(13, seed=7), options={"resume": True})


class WithModel(FitSettings):
    """Settings as the whole job has them: those of the loop, and others beside them."""

    model: dict[str, int] = {"channels": 4}  # noqa: RUF012 (pydantic copies it)


def test_a_resumed_run_names_what_changed_key_by_key(tmp_path):
    job = (PairPotential(), frames(6), frames(3, seed=1))
    fit(*job, WithModel.model_validate(FAST | {"max_epochs": 1}), tmp_path, show_progress=False)
    changed = WithModel.model_validate(FAST | {"model": {"channels": 8}, "optimizer": {"lr": 0.01}})
    with pytest.raises(CheckpointError, match=r"\(optimizer\.lr: was 0\.02, is 0\.01; model\.channels: was 4, is 8\)"):
        fit(*job, changed, tmp_path, resume=True, show_progress=False)


def test_two_processes_agree_with_one(tmp_path):
    """Seven frames a step are four and three a process, and the last step has one frame: none for the second process."""
    training = frames(15)
    for frame in training[::3]:
        frame.masks["forces"][1:] = False
    settings = {"batch_size": 7, "max_epochs": 3, "schedule": {"name": "plateau", "patience": 0}}
    one = run(tmp_path / "one", PairPotential(), training, **settings)
    model = PairPotential()
    two = run(tmp_path / "two", model, training, devices=2, accelerator="cpu", **settings)
    assert len(two.history) == 3
    for first, second in zip(one.history, two.history):
        assert first.keys() == second.keys()
        for name in first.keys() - {"seconds"}:
            assert second[name] == pytest.approx(first[name], rel=1e-6), name
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-9, atol=1e-12)
    assert torch.equal(model.first, best_weights(tmp_path / "two")["first"])


def test_the_wall_clock_is_honoured_and_drives_the_schedule(tmp_path):
    run(tmp_path / "first", training=frames(60), max_epochs=1)  # imports and compilations
    started, worked = time.monotonic(), time.process_time()
    result = run(
        tmp_path,
        training=frames(60),
        max_epochs=None,
        max_time=2.0,
        schedule={"driven_by": "time", "warmup_steps": 0, "final": 0.0},
        options={"started": started},
    )
    assert result.stopped == "max_time"
    load = max(1.0, (time.monotonic() - started) / (time.process_time() - worked))  # of other programs on the same cores
    assert 1.2 < result.seconds <= 2.1 * load
    rates = [row["lr"] for row in result.history]
    assert rates == sorted(rates, reverse=True)
    few = result.steps < 100  # on a machine so busy the last step begins early on the schedule
    assert rates[-1] < (0.3 if few else 0.02) * FAST["optimizer"]["lr"]
    assert "validation_loss" in result.history[-1]


def test_time_that_was_spent_before_the_loop_counts(tmp_path):
    result = run(tmp_path, max_epochs=None, max_time=5.0, options={"started": time.monotonic() - 4.9})
    assert result.seconds >= 4.9
    assert result.steps < 20


def test_early_stopping(tmp_path):
    result = run(tmp_path, max_epochs=50, early_stopping=2, optimizer={"lr": 1e-30}, monitor="forces_rmse")
    assert result.stopped == "early_stopping"
    assert (result.epochs, result.best_epoch) == (3, 1)


def test_a_monitor_without_labels(tmp_path):
    with pytest.raises(TrainingError, match="monitor=stress_rmse, but the validation frames carry no such label"):
        run(tmp_path, monitor="stress_rmse")


def test_validation_now_and_then_or_never(tmp_path):
    rows = run(tmp_path / "a", validate_every=3).history
    assert ["validation_loss" in row for row in rows] == [False, False, True, True]
    result = run(tmp_path / "b", validation=[])
    assert result.best_error == min(row["train_loss"] for row in result.history)


def test_energies_alone_need_no_forces(tmp_path):
    def refuse(*_, **__):
        raise AssertionError("forces were computed")

    only = {"energy": {}, "forces": {"weight": 0.0}}
    result = run(
        tmp_path,
        training=frames(8, labels=("energy",)),
        validation=frames(3, labels=("energy",)),
        loss=only,
        function=refuse,
    )
    assert "validation_forces_rmse" not in result.history[-1]
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_partly_labelled_frames_and_stress(tmp_path):
    training = frames(6, labels=("energy",)) + frames(6, labels=("forces",)) + frames(6, labels=("energy", "forces", "stress"))
    loss = {"stress": {"weight": 100.0}, "forces": {"kind": "l2"}, "energy": {"kind": "huber"}}
    history = run(
        tmp_path, training=training, validation=frames(3, labels=("energy", "forces", "stress")), loss=loss, max_epochs=12
    ).history
    assert history[-1]["validation_stress_rmse"] < history[0]["validation_stress_rmse"]


@pytest.mark.parametrize(
    ("settings", "labels", "sentence"),
    [
        ({}, ("energy",), r"loss.forces.weight is 10.0, but no training frame has forces .found: \['energy'\]"),
        ({"loss": {"energy": {"weight": 0.0}, "forces": {"weight": 0.0}}}, ("energy",), "every weight of the loss is 0"),
    ],
)
def test_labels_that_do_not_allow_the_loss(tmp_path, settings, labels, sentence):
    with pytest.raises(TrainingError, match=sentence):
        run(tmp_path, training=frames(4, labels=labels), **settings)
    assert not list(tmp_path.iterdir())


def test_labels_that_are_not_numbers(tmp_path):
    training = frames(4)
    training[2].labels["forces"][1, 1] = torch.nan
    with pytest.raises(TrainingError, match="training frame 2 has a forces that is not a finite number"):
        run(tmp_path, training=training)
    with pytest.raises(TrainingError, match="no training frames"):
        run(tmp_path, training=[])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    class Exploding(PairPotential):
        def forward(self, graph: Graph) -> torch.Tensor:
            energy = super().forward(graph)
            return energy * torch.nan if self.training and steps() >= 6 else energy

    calls = []

    def steps():
        return len(calls)

    def predict(model, graph, **options):
        if options["create_graph"]:
            calls.append(1)
        return energy_and_forces(model, graph, **options)

    with pytest.raises(TrainingError) as caught:
        run(tmp_path, Exploding(), function=predict)
    text = str(caught.value)
    assert "not finite (epoch 2, step 2, training frames" in text
    assert "last.ckpt still holds epoch 1" in text
    assert "Lower optimizer.lr" in text
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


def test_a_disk_that_fills_up_stops_the_run_with_a_sentence(tmp_path, monkeypatch):
    import errno

    from tesseral.train import checkpoints

    run(tmp_path, max_epochs=1, schedule={"name": "constant"})
    real = os.fsync
    count = []

    def full(descriptor):
        count.append(1)
        if len(count) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"no space left to write .* is intact; free some space and continue with --resume"):
        run(tmp_path, options={"resume": True}, schedule={"name": "constant"})
    monkeypatch.undo()
    assert run(tmp_path, options={"resume": True}, schedule={"name": "constant"}).epochs == 4


def test_a_sequence_too_large_for_memory_is_read_as_it_goes(tmp_path, monkeypatch):
    class Lazy:
        def __init__(self, graphs):
            self.graphs, self.reads = graphs, 0

        def __len__(self):
            return len(self.graphs)

        def __getitem__(self, index):
            self.reads += 1
            return self.graphs[index]

    run(tmp_path / "list")
    small, large = Lazy(frames(13)), Lazy(frames(13))
    run(tmp_path / "kept", training=small, validation=Lazy(frames(5, seed=1)))
    monkeypatch.setattr("tesseral.train.loop.KEEP_BELOW", 0)
    run(tmp_path / "lazy", training=large, validation=Lazy(frames(5, seed=1)))
    assert small.reads <= 13 + 8
    assert large.reads >= 4 * 13
    for other in ("kept", "lazy"):
        assert all(torch.equal(value, weights(tmp_path / other)[name]) for name, value in weights(tmp_path / "list").items())


def test_gradients_are_clipped(tmp_path):
    settings = {"optimizer": {"lr": 0.02, "name": "adam", "weight_decay": 0.0}, "max_epochs": 1}
    run(tmp_path / "a", clip_gradients=1e-12, **settings)
    run(tmp_path / "b", clip_gradients=None, **settings)
    start = PairPotential().first.detach()
    moved = [float((weights(tmp_path / name)["first"] - start).abs().max()) for name in "ab"]
    assert moved[0] < 0.5 * moved[1]  # Adam undoes the scale of gradients down to its epsilon


def test_biases_scales_and_shifts_are_not_decayed():
    model = PairPotential()
    groups = build_optimizer(model, OptimizerSettings(weight_decay=0.1)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert groups[1]["params"][0] is model.shift
    with pytest.raises(TrainingError, match="no parameters"):
        build_optimizer(torch.nn.ReLU(), OptimizerSettings())


def test_checkpoints_hold_numbers_and_texts_only(tmp_path):
    run(tmp_path, max_epochs=1, options={"metadata": {"model": {"name": "pair"}, "cutoff": 4.0}})
    assert load_checkpoint(tmp_path / "best.ckpt")["metadata"]["model"]["name"] == "pair"
    assert np.isfinite(load_checkpoint(tmp_path / "last.ckpt")["best"]["error"])
