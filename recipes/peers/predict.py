"""Predict energies (eV) and forces (eV/Å) of frames with a trained peer; run inside that peer's own environment.

usage: predict.py nequip|mace MODEL FRAMES.xyz OUT.npz
"""

import sys

import ase.io
import numpy as np


def calculator(package: str, path: str):
    if package == "nequip":
        from nequip.integrations.ase import NequIPCalculator

        return NequIPCalculator._from_saved_model(path, device="cpu", chemical_species_to_atom_type_map=True)
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=path, device="cpu", default_dtype="float32")


def main() -> None:
    package, model, frames, out = sys.argv[1:]
    calc = calculator(package, model)
    energies, forces = [], []
    for atoms in ase.io.read(frames, ":"):
        atoms.calc = calc
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    np.savez(out, energy=np.array(energies), forces=np.array(forces))


main()
