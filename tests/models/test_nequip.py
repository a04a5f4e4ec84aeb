"""NequIP: the same numbers as nequip 0.19.1, and the symmetries and limits that its paper claims."""

from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.groups.equivariance import Positions, equivariance_error
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.physics.forces import energy_and_forces

GOLDEN = np.load(Path(__file__).parent / "golden" / "nequip.npz")
CASES = {
    "parity": NequIPSettings(
        cutoff=4.0,
        layers=3,
        lmax=2,
        parity=True,
        channels=(6, 4, 3),
        radial_channels=8,
        radial_layers=2,
        species=(1, 6, 8),
        num_neighbors=11.0,
    ),
    "natural": NequIPSettings(
        cutoff=4.0,
        layers=2,
        lmax=1,
        parity=False,
        channels=5,
        radial_channels=8,
        radial_layers=1,
        species=(1, 6, 8),
        num_neighbors=11.0,
    ),
}


def with_golden_weights(case: str) -> NequIP:
    energies, scales = {1: -13.6, 6: -1000.0, 8: -2000.0}, {1: 1.5, 6: 2.0, 8: 0.5}
    model = NequIP(CASES[case], atomic_energies=energies, scales=scales, dtype=torch.float64)
    weights = {name.removeprefix(f"{case}/"): torch.from_numpy(GOLDEN[name]) for name in GOLDEN.files if name.endswith("weight")}
    weights = {name: value for name, value in weights.items() if name.startswith(("type", "layer", "per_atom"))}
    with torch.no_grad():
        model.embedding.weight.copy_(weights["type_embed.embed_module.weight"])
        model.readout.weight.copy_(weights["per_atom_energy_readout.mlp_module.mlp.0.weight"].flatten())
        for i, layer in enumerate(model.layers):
            prefix = f"layer{i}_convnet.conv."
            layer.linear_in.weight.copy_(weights[prefix + "linear_1.weight"])
            layer.linear_out.weight.copy_(weights[prefix + "linear_2.weight"])
            for n, weight in enumerate(layer.radial.weights):
                weight.copy_(weights[f"{prefix}edge_mlp.mlp.{2 * n}.weight"])
            if layer.self_connection is not None:
                fill_self_connection(layer.self_connection, weights[prefix + "sc.weight"])
    return model


def fill_self_connection(layer: torch.nn.Module, flat: torch.Tensor) -> None:
    """The weights of a FullyConnectedTensorProduct, one (mul_in, attributes, mul_out) after the other, input outer."""
    start = 0
    for path in layer.plan.paths:
        mul, mul_out = layer.irreps_in[path.i_in].mul, layer.irreps_out[path.i_out].mul
        block = flat[start * layer.attributes : (start + mul * mul_out) * layer.attributes].view(mul, layer.attributes, mul_out)
        layer.weight[:, path.start : path.start + mul * mul_out] = block.transpose(0, 1).flatten(1)
        start += mul * mul_out
    assert start * layer.attributes == flat.numel()


def small(lmax: int = 2, dtype: torch.dtype = torch.float64, **changes) -> NequIP:
    settings = {
        "cutoff": 3.5,
        "layers": 2,
        "lmax": lmax,
        "channels": 4,
        "radial_channels": 8,
        "species": (1, 6, 8),
        "num_neighbors": 8.0,
    }
    return NequIP(NequIPSettings(**(settings | changes)), atomic_energies={1: -13.0, 6: -1000.0, 8: -2000.0}, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("structure", ["molecule", "crystal"])
def test_equals_nequip(case: str, structure: str) -> None:
    model = with_golden_weights(case)
    known = {name: GOLDEN[f"{case}/{structure}/{name}"] for name in ("numbers", "positions", "cell", "pbc", "energy", "forces")}
    atoms = ase.Atoms(known["numbers"], known["positions"], cell=known["cell"], pbc=known["pbc"])
    prediction = energy_and_forces(model, build_graph(atoms, model.cutoff), stress=structure == "crystal")
    assert prediction.energy.item() == pytest.approx(known["energy"].item(), abs=1e-9)
    np.testing.assert_allclose(prediction.forces, known["forces"], atol=1e-10)
    assert np.abs(known["forces"]).max() > 0.1
    if structure == "crystal":
        np.testing.assert_allclose(prediction.stress, GOLDEN[f"{case}/{structure}/stress"], atol=1e-11)


@pytest.mark.parametrize("channels", [4, (5, 3, 2)])
@pytest.mark.parametrize("parity", [True, False])
def test_energy_is_invariant_under_rotation_reflection_and_translation(parity: bool, channels) -> None:
    model, graph = small(parity=parity, channels=channels), build_graph(molecule("CH3CH2OH"), 3.5)
    model.atomic_energies.zero_()  # they would hide the rest
    error = equivariance_error(lambda r: model(graph.replace(positions=r)), Positions(), None, "E(3)", inputs=[graph.positions])
    print(error)
    assert float(error) < 1e-12


def test_isolated_atom_has_exactly_its_energy() -> None:
    model = small()
    assert model(build_graph(ase.Atoms("C"), 3.5)).item() == -1000.0


def test_batch_equals_one_by_one() -> None:
    model = small()
    graphs = [build_graph(atoms, 3.5) for atoms in (molecule("CH4"), bulk("C"), ase.Atoms("O"), molecule("H2O"))]
    together = energy_and_forces(model, collate(graphs))
    apart = [energy_and_forces(model, graph) for graph in graphs]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in apart]), rtol=0, atol=1e-9)
    torch.testing.assert_close(together.forces, torch.cat([p.forces for p in apart]), rtol=0, atol=1e-10)


def test_many_species_take_the_other_path_of_the_self_connection() -> None:
    few, many = small(species=(1, 6, 8)), small(species=tuple(range(1, 12)))
    rows = torch.tensor([0, 5, 7])
    state = {k: v[rows] if k in ("embedding.weight", "atomic_energies", "scales") else v for k, v in many.state_dict().items()}
    few.load_state_dict(state)
    graph = build_graph(molecule("CH3CH2OH"), 3.5)
    torch.testing.assert_close(few(graph), many(graph), rtol=0, atol=1e-9)


def test_float32_inside_keeps_positions_and_sums_in_float64() -> None:
    torch.manual_seed(0)
    single = small(dtype=torch.float32)
    double = small()
    double.load_state_dict(single.state_dict())
    graph = build_graph(molecule("CH3CH2OH"), 3.5)
    assert single(graph).dtype == torch.float64
    assert abs(single(graph) - double(graph)).item() < 1e-4


def test_unknown_species_and_unfinished_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown to this model"):
        small()(build_graph(ase.Atoms("Au"), 3.5))
    with pytest.raises(ValueError, match=r"settings\.species"):
        NequIP(NequIPSettings())
    with pytest.raises(ValueError, match="channels has 2 entries"):
        small(channels=(4, 4))


def test_moving_to_another_precision_keeps_isolated_atoms_exact() -> None:
    model = NequIP(small().settings, atomic_energies={1: -13.0123456789, 6: -1000.0, 8: -2000.0}, dtype=torch.float64).float()
    assert model.dtype == torch.float32
    assert model(build_graph(ase.Atoms("H"), 3.5)).item() == -13.0123456789
