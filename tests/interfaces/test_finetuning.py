"""Training from a model file by the command: what changes, what stays, and mistakes."""

import ase.io
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph, collate
from tesseral.interfaces.finetuning import align_energies
from tesseral.interfaces.training import read_labelled
from tesseral.models import files
from tesseral.physics.forces import energies
from tests.data.made import ethanol, isolated_atoms
from tests.interfaces.test_cli import command

OLD = "run/model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of ethanol, and data of another level of theory (each atom's energy differs)."""
    path = tmp_path_factory.mktemp("finetuning")
    ase.io.write(path / "train.xyz", [*ethanol(8), *isolated_atoms()])
    shifted = ethanol(8, seed=1)
    for atoms in shifted:
        atoms.calc.results["energy"] += 100.0 * len(atoms)
    ase.io.write(path / "new.xyz", shifted)
    (path / "settings.yaml").write_text(
        "data: {train: train.xyz, split: {valid: 2}}\n"
        "model: {name: nequip, cutoff: 3.0, layers: 2, lmax: 1, channels: 4, radial_channels: 8}\n"
        "max_epochs: 1\ntensorboard: false\n"
    )
    (path / "finetune.yaml").write_text(
        f"data: {{train: new.xyz, split: {{valid: 2}}}}\nstart_from: {OLD}\nmax_epochs: 1\nema_decay: 0\ntensorboard: false\n"
        "optimizer: {weight_decay: 0}\n"
    )
    patch = pytest.MonkeyPatch()
    patch.chdir(path)
    assert command("train", "settings.yaml", "--output", "run") == 0
    yield path
    patch.undo()


@pytest.mark.parametrize("part", ["readout", "lora"])
def test_a_part_is_trained(folder, part: str, capsys) -> None:
    assert command("train", "finetune.yaml", f"train_only={part}", "lora_rank=1", "--output", part) == 0
    assert "energies of the atoms shifted" in capsys.readouterr().err
    old, new = (files.load(path)[0].state_dict() for path in (OLD, f"{part}/model.safetensors"))
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    learned = {name for name in changed if not name.startswith("atomic_energies")}
    if part == "readout":
        assert learned == {"readout.weight"}
    else:
        assert {"layers.0.linear_in.weight", "layers.1.self_connection.weight", "layers.1.radial.weights.0"} <= learned
        assert "embedding.weight" not in learned
    assert command("train", f"{part}/settings.yaml", "--output", f"{part}_again") == 0


def test_energies_of_another_level_are_aligned(folder) -> None:
    model, metadata = files.load(OLD)
    frames = read_labelled(folder / "new.xyz")
    graphs = collate([build_graph(frame.atoms(), metadata.cutoff) for frame in frames])
    wanted = np.array([float(frame.labels["energy"]) for frame in frames])
    assert np.mean(wanted - energies(model, graphs).numpy()) > 500
    shifts = align_energies(model, frames, metadata.cutoff)
    assert abs(np.mean(wanted - energies(model, graphs).numpy())) < 1e-6
    # Ethanol has one composition: the smallest shifts are proportional to the numbers of its atoms.
    assert shifts[1] / shifts[6] == pytest.approx(3, rel=1e-6)
    assert shifts[6] / shifts[8] == pytest.approx(2, rel=1e-6)


def test_elements_are_refused_or_added(folder, capsys) -> None:
    frames = ethanol(8)
    for atoms in frames:
        atoms.numbers[atoms.numbers == 8] = 7
    ase.io.write("nitrogen.xyz", frames)
    words = ("train", "finetune.yaml", "data.train=nitrogen.xyz", "--output", "nitrogen")
    assert command(*words) == 1
    assert "contain N, which run/model.safetensors does not know; set add_elements=true" in " ".join(
        capsys.readouterr().err.split()
    )
    assert command(*words, "add_elements=true") == 0
    assert files.load("nitrogen/model.safetensors")[0].species == (1, 6, 8, 7)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model.cutoff=4.0"], "start_from gives the architecture, but model asks for cutoff=4.0"),
        (["start_from=nowhere.safetensors"], "there is no file nowhere.safetensors"),
        (["start_from=null", "train_only=lora", "model.name=nequip"], "set start_from=model.safetensors"),
        (["train_only=lora", "devices=2"], "set devices=1"),
        (["train_only=heads"], "expected one of all, readout, lora"),
    ],
)
def test_mistakes_get_sentences(folder, words, sentence, capsys) -> None:
    assert command("train", "finetune.yaml", *words, "--output", "mistake") == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("part", ["all", "lora"])
def test_the_old_frames_are_replayed(folder, part: str, capsys) -> None:
    """New frames with a new element and another level of theory, old ones beside them: two models come out."""
    frames = ethanol(8, seed=2)
    for atoms in frames:
        atoms.numbers[atoms.numbers == 8] = 7
        atoms.calc.results["energy"] += 50.0 * len(atoms)
    ase.io.write("amine.xyz", frames)
    words = ("data.train=amine.xyz", "add_elements=true", f"train_only={part}", "lora_rank=1")
    words += ("replay.frames=train.xyz", "replay.weight=0.5", "replay.limit=6")
    assert command("train", "finetune.yaml", *words, "--output", f"replay_{part}") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "6 frames are replayed, each with weight 0.5" in said
    assert "replay.safetensors" in said
    start, new, old = (
        files.load(path)[0] for path in (OLD, f"replay_{part}/model.safetensors", f"replay_{part}/replay.safetensors")
    )
    assert new.species == old.species == (1, 6, 8, 7)
    assert torch.equal(old.atomic_energies[:3], start.atomic_energies)
    assert (new.atomic_energies[:2] - start.atomic_energies[:2]).min() > 1.0
    assert torch.equal(new.embedding.weight, old.embedding.weight)
    graphs = collate([build_graph(frame.atoms(), 3.0) for frame in read_labelled(folder / "train.xyz")][:4])
    change = (energies(old, graphs) - energies(start, graphs)).abs().max().item()
    assert 0 < change < 5
    assert command("train", f"replay_{part}/settings.yaml", "--output", f"replay_{part}_again") == 0


def test_replay_without_a_start_or_with_foreign_elements_is_refused(folder, capsys) -> None:
    assert command("train", "settings.yaml", "replay.frames=train.xyz", "--output", "never") == 1
    assert "start_from names none" in " ".join(capsys.readouterr().err.split())
    assert command("train", "finetune.yaml", "replay.frames=train.xyz", "train_only=readout", "--output", "never") == 1
    assert "replay trains what two heads share" in " ".join(capsys.readouterr().err.split())
    gold = ethanol(1)
    gold[0].numbers[0] = 79
    ase.io.write("gold.xyz", gold)
    assert command("train", "finetune.yaml", "replay.frames=gold.xyz", "--output", "never") == 1
    assert "contain Au, which" in " ".join(capsys.readouterr().err.split())
