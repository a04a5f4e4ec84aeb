"""Two heads, one body: each frame by its head, and the old head as a model of its own."""

import ase
import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph, collate
from tesseral.models import build, parse_settings
from tesseral.physics.forces import energy_and_forces
from tesseral.train.finetune import choose_parameters
from tesseral.train.replay import Replaying, Together, energies_of_atoms

COMMON = {"cutoff": 3.0, "layers": 2, "species": [1, 6, 8], "num_neighbors": 6.0}
CASES = {
    "nequip": {"name": "nequip", "lmax": 1, "channels": 4, "radial_channels": 8},
    "mace": {"name": "mace", "hidden": "4x0e+4x1o", "lmax": 1, "correlation": 2, "radial_widths": [8]},
    "painn": {"name": "painn", "channels": 4},
    "equiformer_v2": {
        "name": "equiformer_v2", "lmax": 1, "mmax": 1, "channels": 4, "hidden_channels": 4, "activation": "gate",
        "radial_channels": 8,
    },
}  # fmt: skip


def made(case: str, part: str = "all") -> Replaying:
    torch.manual_seed(0)
    model = build(parse_settings(COMMON | CASES[case]), atomic_energies={1: -1.0, 6: -2.0, 8: -3.0}, dtype=torch.float64)
    energies = energies_of_atoms(model)
    model.atomic_energies.add_(10.0)  # the new frames' level of theory
    choose_parameters(model, part, rank=2)
    return Replaying(model, energies)


def graphs(cutoff: float = 3.0) -> Together:
    new = [build_graph(molecule(name), cutoff, labels={"energy": 1.0}) for name in ("H2O", "CH4")]
    old = [build_graph(molecule(name), cutoff, labels={"energy": 2.0}) for name in ("CH3OH", "CO2")]
    return Together(new, old, weight=3.0)


@pytest.mark.parametrize("part", ["all", "lora"])
@pytest.mark.parametrize("case", CASES)
def test_each_structure_goes_through_its_head(case: str, part: str) -> None:
    replaying, frames = made(case, part), graphs()
    order = (2, 0, 3, 1)
    mixed = collate([frames[i] for i in order])
    atoms = torch.tensor([frames[i].num_nodes * (10.0 if i < 2 else 0.0) for i in order], dtype=torch.float64)
    before = replaying(mixed)
    assert torch.allclose(before, replaying.replayed(mixed) + atoms)  # heads begin as one, but for the energies of the atoms
    with torch.no_grad():
        for parameter in replaying.tensors:
            parameter.add_(torch.randn_like(parameter))
    after = replaying(mixed)
    assert torch.allclose(after[[1, 3]], before[[1, 3]], rtol=0, atol=1e-12)
    assert (after[[0, 2]] - before[[0, 2]]).abs().min() > 1e-6
    new, old = replaying.separated()
    assert not any("parametrizations" in name for model in (new, old) for name in model.state_dict())
    assert torch.allclose(old(mixed)[[0, 2]], after[[0, 2]], rtol=0, atol=1e-12)
    assert torch.allclose(new(mixed)[[1, 3]], before[[1, 3]], rtol=0, atol=1e-12)


def test_forces_train_both_heads_and_what_they_share() -> None:
    replaying, frames = made("nequip"), graphs()

    def gradients(*indices: int) -> tuple[bool, bool, bool]:
        replaying.zero_grad()
        energy_and_forces(replaying, collate([frames[i] for i in indices]), create_graph=True).forces.square().sum().backward()
        parameters = (replaying.model.readout.weight, replaying.tensors[0], replaying.model.embedding.weight)
        return tuple(p.grad is not None and bool(p.grad.abs().max() > 0) for p in parameters)

    assert gradients(0, 1) == (True, False, True)
    assert gradients(2, 3) == (False, True, True)
    assert gradients(1, 2) == (True, True, True)


def test_replayed_graphs_carry_weight_and_mark() -> None:
    frames = graphs()
    assert len(frames) == 4
    batch = collate([frames[i] for i in range(4)])
    assert batch.labels["replay"].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert batch.weight.tolist() == [1.0, 1.0, 3.0, 3.0]
    assert batch.labels["energy"].tolist() == [1.0, 1.0, 2.0, 2.0]


def test_a_model_without_a_readout_is_refused() -> None:
    with pytest.raises(ValueError, match="no readout of its own"):
        Replaying(torch.nn.Linear(2, 2), {})


def test_an_empty_structure_has_no_energy_in_either_head() -> None:
    replaying = made("nequip")
    nothing = build_graph(ase.Atoms(), 3.0)
    frames = Together([nothing], [nothing, nothing])
    assert replaying(collate([frames[i] for i in range(3)])).tolist() == [0.0, 0.0, 0.0]
