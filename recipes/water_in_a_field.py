"""Atomic polar tensors of water, learned in two ways, beside those of the program that made the training data.

    TESSERAL_DATA=folder python recipes/water_in_a_field.py --output water [--epochs 200] [--seed 0]

Reads the dipoles and polarizabilities of distorted water that ``water_intensities.py --output water`` has left in ``frames.npz``.
Two networks learn them on the loop of the library: equivariant heads, and an energy that reads a field, whose derivatives they
are. No derivative with respect to positions is trained on, and the minimum is not among the frames: there, the derivatives of
both give atomic polar tensors and, with the Hessian of the reference, intensities.
"""

import argparse
import json
import os
import pathlib
import sys

import ase
import numpy as np
import torch
from ase.units import Bohr
from water_intensities import modes

from tesseral.data import Frames, Graphs, frames_from_atoms
from tesseral.graph import Graph, build_graph
from tesseral.interfaces.responses import FieldResponses
from tesseral.interfaces.spectrum_figures import lines_figure
from tesseral.interfaces.tensors import TensorTrainingSettings, learn_tensors
from tesseral.interfaces.training_data import Data
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import SYMMETRIC, FieldEnergy
from tesseral.models.tensor_files import save_tensors
from tesseral.physics.electric import charge_sum_error, position_derivatives
from tesseral.train.loop import fit
from tesseral.train.settings import RunSettings
from tesseral.train.settings_file import parse_yaml, validate
from tesseral.train.tensors import TensorTask

CUTOFF = 3.0
BODY = f"{{name: nequip, cutoff: {CUTOFF}, layers: 2, lmax: 2, channels: [16, 12, 8], radial_channels: 32, parity: false}}"
TARGETS = {"dipole": "1o", "polarizability": "0e+2e"}
RUN = "batch_size: 8\ntensorboard: false\noptimizer: {name: muon, lr: 0.02, weight_decay: 0.005}"


def frames(file: pathlib.Path) -> Frames:
    """The labelled frames that the other recipe computed."""
    if not file.exists():
        sys.exit(f"there is no {file}: run recipes/water_intensities.py with the same --output first")
    data, found = np.load(file), []
    for positions, dipole, alpha in zip(data["positions"], data["dipole"], data["polarizability"], strict=True):
        labels = {"dipole": dipole} | ({} if np.isnan(alpha).any() else {"polarizability": alpha})
        found.append(ase.Atoms("OHH", positions, info=labels))
    return frames_from_atoms(found)


def heads(data: Data, options: argparse.Namespace) -> torch.nn.Module:
    """Dipole and polarizability read off the network."""
    text = (
        f"data: {{train: frames.npz}}\ntargets: {{dipole: {{}}, polarizability: {{}}}}\nprecision: float64\nmodel: {BODY}\n{RUN}"
    )
    values = parse_yaml(text) | {"max_epochs": options.epochs, "seed": options.seed}
    settings = validate(TensorTrainingSettings, values)
    return learn_tensors(settings, options.output / "heads", data=data, overwrite=True, level_of_theory="B3LYP/6-31G*")


class Responses(FieldResponses, torch.nn.Module):
    """An energy that reads a field, as a model of the tensors that are its derivatives."""

    def __init__(self, energy: FieldEnergy) -> None:
        torch.nn.Module.__init__(self)
        FieldResponses.__init__(self, energy)

    def forward(self, graph: Graph) -> dict[str, torch.Tensor]:
        wanted = [name for name in TARGETS if name in graph.labels]
        return {name: self.from_cartesian(name, self.property(name, graph)) for name in wanted}

    def as_labelled(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return values

    def cartesian(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return SYMMETRIC.to_cartesian(values) if name == "polarizability" else values

    def from_cartesian(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return SYMMETRIC.from_cartesian(values) if name == "polarizability" else values


def field_energy(data: Data, options: argparse.Namespace) -> torch.nn.Module:
    """Dipole and polarizability as derivatives of an energy."""
    torch.manual_seed(options.seed)
    settings = NequIPSettings(**parse_yaml(BODY) | {"species": (1, 8), "num_neighbors": 2.0})
    model = Responses(FieldEnergy(settings, dtype=torch.float64))
    run = validate(RunSettings, parse_yaml(RUN) | {"max_epochs": options.epochs, "seed": options.seed})
    graphs = [Graphs(part, CUTOFF, labels=tuple(TARGETS)) for part in (data.training, data.validation)]
    folder = options.output / "field"
    fit(model, *graphs, run, folder, task=TensorTask(TARGETS, dict.fromkeys(TARGETS, 100.0)), overwrite=True)
    save_tensors(model.model, folder / "tensors.safetensors", {"level_of_theory": "B3LYP/6-31G*"})
    return model.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds pyscf_water (docs/data.md)")
    reference = dict(np.load(pathlib.Path(os.environ["TESSERAL_DATA"]) / "pyscf_water" / "water_b3lyp_631gs.npz"))
    everything = frames(options.output / "frames.npz")
    held = set(range(3, len(everything), 10))
    data = Data(everything.subset(sorted(set(range(len(everything))) - held)), everything.subset(sorted(held)), {}, None, None)
    graph = build_graph(ase.Atoms(reference["Z"], reference["positions_bohr"] * Bohr), CUTOFF)
    theirs = [reference["dmu_dR"].reshape(3, 3, 3), reference["dalpha_dR"].reshape(3, 3, 3, 3) * Bohr**2]
    derivatives = {"PySCF": theirs}
    for name, model in (("heads", heads(data, options)), ("energy in a field", field_energy(data, options))):
        derivatives[name] = [position_derivatives(lambda g, m=model, n=n: m.property(n, g), graph).numpy() for n in TARGETS]
    spectra = {name: modes(reference, values) for name, values in derivatives.items()}
    (options.output / "field_spectrum.svg").write_text(lines_figure(spectra, 15.0))
    result = vars(options) | {"output": str(options.output), "modes": [], "polar_tensors": {}}
    for name, (polar, _) in derivatives.items():
        error = polar - theirs[0]
        result["polar_tensors"][name] = {
            "e": polar.tolist(),
            "rms_error": float(np.sqrt(np.mean(error**2))),
            "largest_error": float(np.abs(error).max()),
            "sum_rule_error": float(charge_sum_error(torch.tensor(polar), graph)[0]),
        }
    for dft, *own in zip(*(s.modes for s in spectra.values()), strict=True):
        row = {"frequency": dft.frequency, "irrep": dft.irrep}
        for kind in ("infrared_intensity", "raman_activity"):
            row[f"{kind}_dft"] = exact = getattr(dft, kind)
            for name, mode in zip(list(spectra)[1:], own, strict=True):
                row[f"{kind}_error_percent, {name}"] = 100 * (getattr(mode, kind) / exact - 1)
        result["modes"].append(row)
    (options.output / "field_result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result["modes"], indent=1))
    for name, row in result["polar_tensors"].items():
        print(f"polar tensors, {name}:", {key: round(value, 5) for key, value in row.items() if key != "e"})


if __name__ == "__main__":
    main()
