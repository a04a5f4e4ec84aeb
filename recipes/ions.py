"""Charges learned from energies and forces of ions whose charges are known, beside a network that predicts none.

    python recipes/ions.py --output ions [--frames 100] [--epochs 60] [--smoke]

Two Na and two Cl at random in a ball of 5 Å, charges of ±0.8 e and a Born-Mayer repulsion: most pairs lie beyond the cutoff of
3.5 Å. Both networks are the same but for their charges, which start from ±1 e; both are trained by ``tesseral train`` with the
settings below. Printed are the errors on new clusters, on pairs 4 to 12 Å apart, and the product of the charges.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import ase
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from tesseral.graph import build_graph
from tesseral.models import files
from tesseral.nn.pair import COULOMB
from tesseral.physics.forces import energy_and_forces

CHARGE = 0.8  # e
REPULSION, RANGE = 1000.0, 0.3  # eV, Å
SETTINGS = """
data: {{train: train.xyz, validation: valid.xyz, examine: false}}
atomic_energies: {{source: dictionary, values: {{Na: 0.0, Cl: 0.0}}}}
model: {{{model}, cutoff: 3.5, layers: 1, lmax: 1, channels: 8, radial_channels: 16}}
optimizer: {{lr: 0.02}}
loss: {{energy: {{weight: 10.0}}}}
max_epochs: {epochs}
tensorboard: false
"""
MODELS = {"with": "name: charges, reference_charges: {Na: 1.0, Cl: -1.0}", "without": "name: nequip"}


def labelled(symbols: str, positions: np.ndarray) -> ase.Atoms:
    """Ions with the energy and forces that they have."""
    atoms = ase.Atoms(symbols, positions=positions)
    charges = np.where(atoms.numbers == 11, CHARGE, -CHARGE)
    vectors = positions[:, None] - positions[None]
    r = np.linalg.norm(vectors, axis=2) + 1e9 * np.eye(len(atoms))
    coulomb = COULOMB * np.outer(charges, charges) / r
    repulsion = np.where(np.eye(len(atoms)), 0, REPULSION * np.exp(-r / RANGE))
    energy = 0.5 * (coulomb + repulsion * (r < 1e8)).sum()
    forces = ((coulomb / r + repulsion / RANGE) / r)[:, :, None] * vectors
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces.sum(1))
    return atoms


def cluster(random: np.random.Generator) -> ase.Atoms:
    while True:
        positions = random.uniform(-5, 5, (4, 3))
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)[np.triu_indices(4, 1)]
        if np.linalg.norm(positions, axis=1).max() < 5 and distances.min() > 2.1:
            return labelled("Na2Cl2", positions)


def main(words: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--smoke", action="store_true", help="fewer frames and epochs")
    options = parser.parse_args(words)
    frames, epochs = (40, 20) if options.smoke else (options.frames, options.epochs)
    random = np.random.default_rng(0)
    test = [cluster(random) for _ in range(50)]
    pairs = [labelled("NaCl", np.array([[0, 0, 0], [0, 0, r]])) for r in np.linspace(4, 12, 9)]
    result = {}
    for name, model in MODELS.items():
        folder = options.output / name
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(1)
        ase.io.write(folder / "train.xyz", [cluster(random) for _ in range(frames)])
        ase.io.write(folder / "valid.xyz", [cluster(random) for _ in range(20)])
        (folder / "train.yaml").write_text(SETTINGS.format(model=model, epochs=epochs))
        command = [sys.executable, "-m", "tesseral", "train", "train.yaml", "-o", "run", "--overwrite"]
        subprocess.run(command, cwd=folder, check=True, capture_output=options.smoke)
        result[name] = judge(files.load(folder / "run" / "model.safetensors")[0], test, pairs)
    (options.output / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))
    return result


def judge(model: torch.nn.Module, test: list[ase.Atoms], pairs: list[ase.Atoms]) -> dict:
    """RMSE of forces in meV/Å and of energies in meV/atom; the product of the charges of a pair 6 Å apart, in e²."""
    found = {}
    for name, frames in (("clusters", test), ("pairs", pairs)):
        predicted = [energy_and_forces(model, build_graph(atoms, model.cutoff)) for atoms in frames]
        forces = [p.forces.numpy() - atoms.get_forces() for p, atoms in zip(predicted, frames, strict=True)]
        energies = [
            (float(p.energy[0]) - atoms.get_potential_energy()) / len(atoms) for p, atoms in zip(predicted, frames, strict=True)
        ]
        found[f"forces_{name}_meV_A"] = 1000 * float(np.sqrt(np.mean(np.square(np.concatenate(forces)))))
        found[f"energy_{name}_meV_atom"] = 1000 * float(np.sqrt(np.mean(np.square(energies))))
    if hasattr(model, "charges"):
        charges = model.charges(build_graph(pairs[2], model.cutoff)).detach()
        found["product_e2"] = float(charges.prod())
    return found


if __name__ == "__main__":
    main()
