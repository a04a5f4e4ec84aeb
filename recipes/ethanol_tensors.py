"""Dipoles and polarizabilities of ethanol from equivariant heads, and infrared and Raman intensities of a held-out minimum.

    python recipes/ethanol_tensors.py --output tensors [--epochs 80] [--seed 0] [--potential demo/model.safetensors]

Trains on the embedded frames (dipoles of all, polarizabilities of every tenth) as ``tesseral tensors`` does, and leaves what
that leaves: a model file, errors on the test trajectories in ``metrics.json``, a report. For gauche+, no derivative of which was
trained on, the intensities from the derivatives of both heads with the DFT Hessian are compared with DFT's own; spectrum.svg
draws one over the other. With a potential, as of ``tesseral demo``, nothing of our spectrum is DFT's: the molecule is relaxed
and differentiated with it.
"""

import argparse
import json
import pathlib

import ase
import numpy as np
import torch

from tesseral.data import Frames, embedded, frames_from_atoms
from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.spectrum_figures import lines_figure
from tesseral.interfaces.tensors import TensorTrainingSettings, learn_tensors
from tesseral.interfaces.training_data import Data
from tesseral.models import files
from tesseral.models.tensor import TensorModel
from tesseral.physics.electric import position_derivatives
from tesseral.physics.hessian import hessian
from tesseral.physics.normal_modes import NormalModes, normal_modes, symmetry_of
from tesseral.physics.relaxation import relax
from tesseral.train.settings_file import parse_yaml, validate

SETTINGS = """
data: {train: embedded}
targets: {dipole: {}, polarizability: {}}
model: {name: nequip, cutoff: 4.0, layers: 2, lmax: 2, channels: [24, 16, 12], radial_channels: 32, parity: false}
optimizer: {name: muon, lr: 0.01, weight_decay: 0.005}
batch_size: 4
"""


def frames(split: str, *kinds: str) -> Frames:
    """Molecules of a split and of trajectories of these kinds."""
    return frames_from_atoms([a for a in embedded.load(split=split) if a.info["config_type"] in kinds], file=f"ethanol, {split}")


def data() -> Data:
    tests = {f"{kind[:-1]} K": frames("test", kind) for kind in ("300K", "500K", "700K")}
    return Data(frames("train", "300K", "500K"), frames("valid", "300K", "500K"), tests, None, None)


def derivatives(model: TensorModel, atoms: ase.Atoms) -> list[np.ndarray]:
    graph = build_graph(atoms, model.cutoff)
    return [position_derivatives(lambda g, n=name: model.property(n, g), graph).numpy() for name in ("dipole", "polarizability")]


def modes_of(atoms: ase.Atoms, matrix: np.ndarray, dipole: np.ndarray, polarizability: np.ndarray) -> NormalModes:
    symmetry = symmetry_of(atoms.numbers, atoms.positions)
    return normal_modes(matrix, atoms.numbers, symmetry, dipole_derivatives=dipole, polarizability_derivatives=polarizability)


def draw(model: TensorModel, potential: pathlib.Path | None, file: pathlib.Path) -> None:
    """Infrared and Raman spectra of gauche+: DFT's, and ours with DFT's Hessian or with the potential's minimum and Hessian."""
    minimum = embedded.hessians()["gauche+"]
    dft = modes_of(minimum.atoms, minimum.hessian, minimum.dipole_derivatives, minimum.polarizability_derivatives)
    atoms, matrix, name = minimum.atoms.copy(), minimum.hessian, "tesseral, DFT's Hessian"
    if potential is not None:
        network, _ = files.load(potential, dtype=torch.float64)
        atoms.calc = Calculator(network)
        relax(atoms, fmax=1e-4, optimizer="bfgs", steps=500)
        matrix, name = hessian(network, build_graph(atoms, network.cutoff)).numpy(), "tesseral"
    file.write_text(lines_figure({"DFT": dft, name: modes_of(atoms, matrix, *derivatives(model, atoms))}, 15.0))


def spectrum(model: TensorModel, conformer: str) -> dict:
    """Intensities of a minimum with DFT's Hessian, from DFT's derivatives and from the model's."""
    minimum = embedded.hessians()[conformer]
    both = [
        modes_of(minimum.atoms, minimum.hessian, dipole, polarizability).modes
        for dipole, polarizability in (
            (minimum.dipole_derivatives, minimum.polarizability_derivatives),
            derivatives(model, minimum.atoms),
        )
    ]
    infrared, raman = (
        np.array([[getattr(mode, key) for mode in modes] for modes in both]) for key in ("infrared_intensity", "raman_activity")
    )
    return {
        "frequencies": [mode.frequency for mode in both[0]],
        "infrared_dft": infrared[0].tolist(), "infrared_model": infrared[1].tolist(),
        "raman_dft": raman[0].tolist(), "raman_model": raman[1].tolist(),
        "infrared_mae_share": float(np.abs(infrared[1] - infrared[0]).sum() / infrared[0].sum()),
        "raman_mae_share": float(np.abs(raman[1] - raman[0]).sum() / raman[0].sum()),
        "infrared_correlation": float(np.corrcoef(infrared)[0, 1]), "raman_correlation": float(np.corrcoef(raman)[0, 1]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--potential", type=pathlib.Path, help="model file of energies, for the figure")
    arguments = parser.parse_args()
    settings = validate(TensorTrainingSettings, parse_yaml(SETTINGS) | {"max_epochs": arguments.epochs, "seed": arguments.seed})
    model = learn_tensors(settings, arguments.output, data=data(), overwrite=True, level_of_theory="B3LYP/def2-SVP")
    result = {name: spectrum(model, name) for name in ("trans", "gauche+")}
    draw(model, arguments.potential, arguments.output / "spectrum.svg")
    (arguments.output / "spectra.json").write_text(json.dumps(result, indent=1))
    for name, row in result.items():
        print(name, {key: round(value, 3) for key, value in row.items() if isinstance(value, float)})


if __name__ == "__main__":
    main()
