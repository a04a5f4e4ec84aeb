"""The table of a run, and what is said on the way."""

import io

from rich.console import Console

from tesseral.train.logs import COLUMNS, Bar, Scalars, Table, describe, duration, read_history

ROW = {
    "epoch": 1,
    "step": 5,
    "seconds": 1.5,
    "lr": 0.01,
    "train_loss": 0.1,
    "validation_loss": 0.2,
    "validation_forces_rmse": 8.123,
}

ERRORS = ("energy_rmse", "forces_rmse")


def test_rows_come_back_and_a_resumed_table_starts_from_its_checkpoint(tmp_path):
    table = Table(tmp_path, [], ERRORS)
    table.add(ROW)
    table.add(ROW | {"epoch": 2})
    assert read_history(table.path) == [ROW, ROW | {"epoch": 2}]
    Table(tmp_path, [ROW], ERRORS)
    assert read_history(table.path) == [ROW]
    assert table.path.read_text().splitlines()[0] == ",".join((*COLUMNS, *(f"validation_{name}" for name in ERRORS)))


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars = Scalars(tmp_path, 0, enabled=True)
    for step in (5, 10, 15):
        scalars.add(ROW | {"step": step})
    scalars.close()
    resumed = Scalars(tmp_path, 10, enabled=True)  # the checkpoint was written at step 10
    resumed.add(ROW | {"step": 15, "train_loss": 0.5})
    resumed.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [5, 10, 15]
    assert abs(events.Scalars("train/loss")[-1].value - 0.5) < 1e-6
    assert "validation/forces_rmse" in events.Tags()["scalars"]
    nothing = Scalars(tmp_path / "none", 0, enabled=False)
    nothing.add(ROW)
    nothing.close()
    assert not (tmp_path / "none").exists()


def test_without_a_terminal_there_are_lines():
    out = io.StringIO()
    bar = Bar(True, Console(file=out, width=200))
    bar.row(ROW, left=100.0)  # too early to speak
    bar.row(ROW, left=100.0, always=True)
    bar.close()
    assert out.getvalue().count("epoch") == 1
    assert "F 8.12 meV/Å   1:40 left" in out.getvalue()


def test_in_a_terminal_there_is_a_bar_with_the_time_left():
    out = io.StringIO()
    bar = Bar(True, Console(file=out, width=120, force_terminal=True))
    bar.step(3, 10, 0.25, left=75.0)
    bar.progress.refresh()
    bar.close()
    assert "1:15 left" in out.getvalue()
    assert "3/10" in out.getvalue()


def test_texts():
    assert [duration(s) for s in (0.2, 59.6, 3599.0, 90061.0)] == ["0 s", "1:00", "59:59", "25:01:01"]
    assert describe(ROW).endswith("F 8.12 meV/Å")
