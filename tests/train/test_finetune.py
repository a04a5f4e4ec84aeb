"""Fine-tuning: corrections begin as nothing, merge into what they were, and are all that changes."""

import copy

import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph
from tesseral.groups.equivariance import Positions, equivariance_error
from tesseral.models import build, parse_settings
from tesseral.nn import MLP, Linear, SpeciesLinear
from tesseral.physics.forces import energy_and_forces
from tesseral.train.finetune import LowRank, choose_parameters, corrected, merge_corrections
from tesseral.train.loop import build_optimizer
from tesseral.train.settings import OptimizerSettings

SPECIES = {"species": [1, 6, 8], "num_neighbors": 8.0, "cutoff": 3.0}
MODELS = {
    "nequip": {"layers": 2, "lmax": 1, "channels": 4, "radial_channels": 8},
    "mace": {"hidden": "4x0e+4x1o", "lmax": 1, "correlation": 2, "radial_widths": [8]},
    "allegro": {"lmax": 1, "scalar_channels": 8, "tensor_channels": 4, "embedding_widths": [8], "latent_widths": [8]},
    "equiformer_v2": {"lmax": 1, "mmax": 1, "channels": 8, "hidden_channels": 8, "layers": 1},
}
GRAPH = build_graph(molecule("CH3CH2OH"), 3.0)


def model_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(parse_settings({"name": name, **SPECIES, **MODELS[name]}), dtype=torch.float64)


def disturb(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, LowRank):
            for parameter in module.right:
                torch.nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("name", MODELS)
def test_corrections_of_every_model(name: str) -> None:
    model = model_of(name)
    before, names = energy_and_forces(model, GRAPH), list(model.state_dict())
    count = choose_parameters(model, "lora", rank=2)
    assert 0 < count == sum(p.numel() for p in model.parameters() if p.requires_grad)
    begun = energy_and_forces(model, GRAPH)
    assert torch.equal(begun.energy, before.energy)
    assert torch.equal(begun.forces, before.forces)

    disturb(model)
    changed = energy_and_forces(model, GRAPH)
    assert (changed.energy - before.energy).abs() > 1e-4
    found = equivariance_error(lambda r: model(GRAPH.replace(positions=r)), Positions(), None, "E(3)", inputs=[GRAPH.positions])
    assert float(found) < (1e-5 if name == "equiformer_v2" else 1e-9)  # its grid on the sphere is as good as this
    merge_corrections(model)
    assert not corrected(model)
    assert sorted(model.state_dict()) == sorted(names)
    merged = energy_and_forces(model, GRAPH)
    torch.testing.assert_close(merged.energy, changed.energy, rtol=0, atol=1e-12)
    torch.testing.assert_close(merged.forces, changed.forces, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_only_the_corrections_move(optimizer: str) -> None:
    model = model_of("nequip")
    choose_parameters(model, "lora", rank=2)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    free = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    stepper = build_optimizer(model, OptimizerSettings(name=optimizer))
    for _ in range(2):
        stepper.zero_grad()
        energy_and_forces(model, GRAPH, create_graph=True).forces.square().sum().backward()
        stepper.step()
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert all(not torch.equal(now[name], value) for name, value in free.items() if ".right." in name)


def test_the_readout_alone() -> None:
    for name in MODELS:
        model = model_of(name)
        choose_parameters(model, "readout")
        assert all(p.requires_grad == n.startswith("readout") for n, p in model.named_parameters())
        choose_parameters(model, "all")
        assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("layer", [Linear("4x0e+3x1o+2x0e", "5x0e+2x1o", biases=True), SpeciesLinear("4x0e+2x1o", "3x0e+3x1o", 5),
                                   MLP([6, 8, 3])], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_full_rank_reaches_any_matrix(layer: torch.nn.Module) -> None:
    layer, target = copy.deepcopy(layer), copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.normal_()
    wanted = [matrix.detach().clone() for matrix in target.matrices()]
    base = [matrix.detach().clone() for matrix in layer.matrices()]
    choose_parameters(layer, "lora", rank=100)
    corrections = [module for module in layer.modules() if isinstance(module, LowRank)]
    rows = [(left, right) for c in corrections for left, right in zip(c.left, c.right, strict=True)]
    assert len(rows) == len(wanted)
    with torch.no_grad():
        for (left, right), goal, start in zip(rows, wanted, base, strict=True):
            right.copy_(
                torch.linalg.pinv(left) @ (goal - start) * left.shape[-1] ** 0.5 if left.shape[-1] == left.shape[-2] else 0
            )
            if left.shape[-1] != left.shape[-2]:  # as many columns as outputs
                right.copy_(torch.eye(right.shape[-1]).expand_as(right))
                left.copy_((goal - start) * left.shape[-1] ** 0.5)
    merge_corrections(layer)
    for matrix, goal in zip(layer.matrices(), wanted, strict=True):
        torch.testing.assert_close(matrix, goal, rtol=1e-4, atol=1e-4)


def test_mistakes_are_named() -> None:
    model = model_of("nequip")
    choose_parameters(model, "lora")
    with pytest.raises(ValueError, match="merge_corrections"):
        choose_parameters(model, "all")
    with pytest.raises(ValueError, match="'heads', expected"):
        choose_parameters(model_of("nequip"), "heads")
    with pytest.raises(ValueError, match="no readout"):
        choose_parameters(torch.nn.Linear(2, 2), "readout")
    with pytest.raises(ValueError, match="has matrices"):
        choose_parameters(torch.nn.Linear(2, 2), "lora")
    with pytest.raises(ValueError, match="expected 1 or more"):
        choose_parameters(model_of("nequip"), "lora", rank=0)
