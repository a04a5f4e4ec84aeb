"""Harmonic frequencies of water and methane from potentials trained on energies and forces, against the DFT Hessian.

    python recipes/small_molecules.py --output small [--molecules water methane] [--frames 100] [--epochs 300] [--seed 0]

PySCF (``pip install 'tesseral[dft]'``) computes energies and forces of randomly distorted molecules at B3LYP/6-31G*, the minimum
and its analytic Hessian. A NequIP is trained on the distorted molecules only; the minimum is then found with it and its exact
Hessian taken there, so that nothing of the comparison was trained on. Finished calculations are kept in ``MOLECULE.xyz`` and
``MOLECULE.npz``.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import ase
import ase.build
import ase.io
import numpy as np
import torch
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree
from rich.progress import track

from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.models import files
from tesseral.physics.hessian import hessian
from tesseral.physics.normal_modes import NormalModes, normal_modes, symmetry_of
from tesseral.physics.relaxation import relax

MOLECULES = {"water": "H2O", "methane": "CH4"}
SPREADS = (0.02, 0.05, 0.08)  # Å, of the distortions in turn
SETTINGS = """
data:
  train: train.xyz
  split: {{valid: {valid}}}
  examine: false
model: {{name: nequip, cutoff: 4.0, layers: 2, lmax: 2, channels: {channels}, parity: false, radial_knots: 128}}
loss:
  energy: {{weight: 100.0, per_atom: true}}
  forces: {{weight: 10.0}}
optimizer: {{name: muon, lr: 0.02, weight_decay: 0.005}}
schedule: {{name: cosine}}
batch_size: 4
max_epochs: {epochs}
"""


class Dft(AseCalculator):
    """B3LYP/6-31G* energies and forces from PySCF."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (as ASE declares it)

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        super().calculate(atoms, list(properties), list(system_changes))
        method = solved(self.atoms)
        gradient = method.nuc_grad_method()
        gradient.verbose = 0
        self.results = {"energy": method.e_tot * Hartree, "forces": -gradient.kernel() * Hartree / Bohr}


def solved(atoms: ase.Atoms):
    """A converged Kohn-Sham calculation."""
    from pyscf import dft, gto

    molecule = gto.M(atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis="6-31g*", verbose=0)
    method = dft.RKS(molecule, xc="b3lyp")
    method.conv_tol, method.grids.level = 1e-10, 4
    method.kernel()
    return method


def reference(name: str, folder: pathlib.Path) -> tuple[ase.Atoms, np.ndarray]:
    """The minimum and its Hessian (atoms, 3, atoms, 3) in eV/Å²."""
    file = folder / f"{name}.npz"
    atoms = ase.build.molecule(MOLECULES[name])
    if not file.exists():
        atoms.calc = Dft()
        relax(atoms, fmax=1e-3, optimizer="bfgs", steps=50)
        matrix = solved(atoms).Hessian().kernel().transpose(0, 2, 1, 3) * Hartree / Bohr**2
        np.savez(file, positions=atoms.positions, hessian=matrix)
    stored = np.load(file)
    return ase.Atoms(atoms.numbers, stored["positions"]), stored["hessian"]


def frames(name: str, minimum: ase.Atoms, count: int, folder: pathlib.Path) -> None:
    """Distorted molecules with energies and forces, in a file."""
    file = folder / f"{name}.xyz"
    if file.exists():
        return
    random, found = np.random.default_rng(0), []
    for number in track(range(count), f"PySCF, {name}"):
        spread = SPREADS[number % len(SPREADS)]
        places = minimum.positions + spread * random.standard_normal((len(minimum), 3))
        atoms = ase.Atoms(minimum.numbers, places, info={"config_type": f"{spread} Å"})
        atoms.calc = Dft()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        found.append(atoms)
    ase.io.write(file, found)


def nearby(name: str, folder: pathlib.Path, largest: float) -> int:
    """Put the frames of distortions up to ``largest`` Å where training finds them; how many there are."""
    chosen = [a for a in ase.io.read(folder / f"{name}.xyz", ":") if float(a.info["config_type"].split()[0]) <= largest]
    ase.io.write(folder / name / "train.xyz", chosen)
    return len(chosen)


def modes(matrix: np.ndarray, atoms: ase.Atoms) -> NormalModes:
    return normal_modes(matrix, atoms.numbers, symmetry_of(atoms.numbers, atoms.positions, tolerance=0.02))


def compare(name: str, minimum: ase.Atoms, matrix: np.ndarray, file: pathlib.Path) -> dict:
    """Bond length, and frequencies by irreps at the model's own minimum."""
    model, _ = files.load(file, dtype=torch.float64)
    atoms = ase.Atoms(minimum.numbers, minimum.positions, calculator=Calculator(model))
    if not relax(atoms, fmax=1e-5, optimizer="bfgs", steps=200).converged:
        raise ValueError(f"{name} does not come to rest with this model; train longer")
    own = modes(hessian(model, build_graph(atoms, model.cutoff)).numpy(), atoms)
    theirs = modes(matrix, minimum)
    error = own.frequencies - theirs.frequencies
    return {
        "point_group": own.symmetry.name,
        "bond_A": float(atoms.get_distance(0, 1)),
        "bond_dft_A": float(minimum.get_distance(0, 1)),
        "modes": [
            {"irrep": a.irrep, "dft": a.frequency, "tesseral": b.frequency, "same_irrep": a.irrep == b.irrep}
            for a, b in zip(theirs.modes, own.modes, strict=True)
        ],
        "mae_cm-1": float(np.abs(error).mean()),
        "largest_cm-1": float(np.abs(error).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--molecules", nargs="+", choices=tuple(MOLECULES), default=tuple(MOLECULES))
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--largest", type=float, default=0.08, help="distortion to train on, in Å")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = {}
    for name in options.molecules:
        run = options.output / name
        run.mkdir(parents=True, exist_ok=True)
        minimum, matrix = reference(name, options.output)
        frames(name, minimum, options.frames, options.output)
        count = nearby(name, options.output, options.largest)
        (run / "train.yaml").write_text(SETTINGS.format(valid=count // 10, epochs=options.epochs, channels=options.channels))
        begun = time.monotonic()
        command = [sys.executable, "-m", "tesseral", "train", "train.yaml", f"seed={options.seed}", "-o", "run", "--overwrite"]
        subprocess.run([*command, "--level-of-theory", "B3LYP/6-31G*"], check=True, cwd=run)
        results[name] = compare(name, minimum, matrix, run / "run" / "model.safetensors")
        validation = json.loads((run / "run" / "metrics.json").read_text())["errors"]["validation"]["per_config_type"]
        results[name] |= {"frames": count, "seconds_of_training": time.monotonic() - begun, "validation": validation}
        (options.output / "result.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
