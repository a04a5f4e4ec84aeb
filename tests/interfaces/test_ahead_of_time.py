"""Packages compiled ahead of time: the same numbers for other structures, and files that are none."""

import ase
import ase.build
import pytest
import torch

from tesseral.graph import build_graph, collate
from tesseral.interfaces.ahead_of_time import export_ahead, load
from tesseral.models import build, files, parse_settings
from tesseral.physics.forces import energy_and_forces


@pytest.fixture
def model_file(tmp_path):
    torch.manual_seed(0)
    settings = {
        "name": "nequip",
        "layers": 1,
        "lmax": 1,
        "channels": 4,
        "cutoff": 4.0,
        "species": [1, 6, 8],
        "num_neighbors": 6.0,
    }
    model = build(parse_settings({**settings, "radial_knots": 32}))
    files.save(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.compile
def test_energies_forces_and_stress_are_those_of_the_model(model_file, tmp_path):
    compiled = export_ahead(model_file, tmp_path / "model.pt2")
    model, _ = files.load(model_file)
    molecule = ase.build.molecule("CH3CH2OH")
    crystal = ase.Atoms("CO", [(0, 0, 0), (1.1, 0.2, 0)], cell=[3.0, 3.2, 3.4], pbc=True)
    for atoms in (molecule, crystal):
        graph = build_graph(atoms, model.cutoff)
        found, expected = compiled(graph), energy_and_forces(model, graph, stress=True)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    with pytest.raises(ValueError, match="one structure at a time"):
        compiled(collate([graph, graph]))
    with pytest.raises(ValueError, match="not 79"):
        compiled(build_graph(ase.Atoms("Au2", [(0, 0, 0), (2, 0, 0)]), 4.0))
    with pytest.raises(ValueError, match="exists"):
        export_ahead(model_file, tmp_path / "model.pt2")


def test_other_endings_and_files_are_refused(model_file, tmp_path):
    with pytest.raises(ValueError, match=r"name it model\.pt2"):
        export_ahead(model_file, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="no model compiled"):
        load(model_file)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.pt2")
