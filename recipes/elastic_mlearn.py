"""Elastic constants of silicon and molybdenum from NequIP trained on the sets of Zuo et al., with the atoms clamped and relaxed.

    TESSERAL_DATA=folder python recipes/elastic_mlearn.py --output elastic [--elements Si Mo] [--epochs 400] [--thin 20]
    TESSERAL_DATA=folder python recipes/elastic_mlearn.py --output elastic --smoke      # seconds

Energies, forces and, of the strained crystals, stresses of the published training frames are fitted, the published test frames
scored. The files do not say what convention their stresses follow; :func:`with_stress` compares them with the energies and stops
when the two do not agree. Supercells that repeat a smaller cell exactly, as all strained crystals of silicon do, are reduced to
it: the same numbers at a thirtieth of the cost. Of the frames of dynamics, hot crystals and liquids, one in ``thin`` is taken.

The lattice constant, C11, C12, C44 and the clamped-ion C44 are printed beside those of the data: slopes of the stresses
of strained frames that DFT computed (silicon clamped, molybdenum hot). In diamond-structure silicon a shear moves the two
atoms of the cell against each other, so that the clamped and the relaxed C44 differ by a third, and a model of energies alone has
to know both. In bcc molybdenum they are equal by symmetry.
Data: Zuo et al., J. Phys. Chem. A 124, 731 (2020), whose tables give the DFT values and those of GAP, MTP, NNP, SNAP and qSNAP.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import ase
import ase.build
import ase.io
import numpy as np
import spglib
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator

from tesseral.interfaces.elastic import elastic
from tesseral.models import files

# Strained crystals are a tenth of the atoms and all of the answer; liquids and surfaces would have the network for themselves.
WEIGHTS = {"Elastic": 2.0}
OTHERS = 0.2
CRYSTALS = {"Si": ase.build.bulk("Si", a=5.469, cubic=True), "Mo": ase.build.bulk("Mo", a=3.168, cubic=True)}
SETTINGS = """
data:
  train: train.xyz
  split: {{valid: 12}}
  test: {{test: {data}/mlearn/{element}_test.xyz}}
  keys: {{config_type: group}}
  examine: false       # strained cells of one atom repeated are near duplicates by construction
model: {{name: nequip, cutoff: 5.0, layers: 2, lmax: {lmax}, channels: {channels}, parity: false, radial_knots: 128}}
loss:
  energy: {{weight: 100.0, per_atom: true}}
  forces: {{weight: 10.0}}
  stress: {{weight: 1000.0}}
optimizer: {{name: muon, lr: 0.02, weight_decay: 0.005}}
schedule: {{name: cosine}}
batch_size: 4
ema_decay: 0.995
clip_gradients: 100.0
max_epochs: {epochs}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("elastic"))
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--thin", type=int, default=20, help="one in so many frames of dynamics is trained on")
    parser.add_argument("--elements", nargs="+", choices=tuple(CRYSTALS), default=tuple(CRYSTALS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a tiny network, one epoch, no relaxation of the cell")
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds mlearn (docs/data.md)")
    data = pathlib.Path(os.environ["TESSERAL_DATA"]).resolve()
    results = {}
    for element in options.elements:
        folder = options.output / element
        folder.mkdir(parents=True, exist_ok=True)
        lattice_constant = float(CRYSTALS[element].cell[0, 0])
        frames = with_stress(ase.io.read(data / "mlearn" / f"{element}_training.xyz", ":"), lattice_constant)
        chosen = training(frames, 30 if options.smoke else options.thin)
        ase.io.write(folder / "train.xyz", chosen)
        size = {"channels": 2, "lmax": 1, "epochs": 1} if options.smoke else {"channels": 32, "lmax": 2, "epochs": options.epochs}
        (folder / "train.yaml").write_text(SETTINGS.format(data=data, element=element, **size))
        command = [sys.executable, "-m", "tesseral", "train", "train.yaml", f"seed={options.seed}", "-o", "run", "--overwrite"]
        subprocess.run(command, check=True, cwd=folder)
        results[element] = {
            "frames": len(chosen),
            "atoms": sum(map(len, chosen)),
            "data": of_the_data(frames, lattice_constant),
        }
        try:
            results[element] |= constants(element, folder, relax=not options.smoke)
        except ValueError as error:
            if not options.smoke:
                raise
            results[element]["unstable"] = str(error)  # as a network may be that has hardly learned anything
    text = json.dumps(results, indent=1)
    (options.output / "result.json").write_text(text)
    print(text)


def training(frames: list[ase.Atoms], thin: int) -> list[ase.Atoms]:
    """All but the dynamics, of which one frame in ``thin`` is kept; exact supercells reduced to their smallest cells."""
    moving = [atoms for atoms in frames if atoms.info["group"] in ("AIMD-NVT", "Vacancy")]
    still = [atoms for atoms in frames if atoms.info["group"] not in ("AIMD-NVT", "Vacancy")]
    chosen = [reduced(atoms) for atoms in still] + moving[::thin]
    for atoms in chosen:
        atoms.info["config_weight"] = WEIGHTS.get(atoms.info["group"], OTHERS)
    return chosen


def reduced(atoms: ase.Atoms) -> ase.Atoms:
    """The smallest cell that repeats to these atoms, with its share of the energy and its forces."""
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=1e-4)
    first = np.unique(found.mapping_to_primitive, return_index=True)[1]
    copies = len(atoms) // len(first)
    if copies == 1:
        return atoms
    forces = atoms.get_forces()
    if np.abs(forces - forces[first][found.mapping_to_primitive]).max() > 1e-3:
        return atoms
    small = ase.Atoms(atoms.numbers[first], atoms.positions[first], cell=found.primitive_lattice, pbc=True)
    if not np.isclose(small.cell.volume * copies, atoms.cell.volume):
        return atoms
    small.info["group"] = atoms.info["group"]
    stress = {name: value for name, value in atoms.calc.results.items() if name == "stress"}
    small.calc = SinglePointCalculator(small, energy=atoms.get_potential_energy() / copies, forces=forces[first], **stress)
    return small


def with_stress(frames: list[ase.Atoms], lattice_constant: float) -> list[ase.Atoms]:
    """The frames, the strained crystals among them with the stress that the file keeps as six numbers of undocumented meaning.

    They are kilobars, positive under compression; which shear stands where is found from crystals sheared in one component, since
    silicon's order is not molybdenum's. Energies must curve as the stress rises, or this is not what the numbers mean.
    """
    order = [0, 1, 2]
    for component in range(6):
        strain, energy, raw = strained(frames, lattice_constant, component, 0.05)
        rises = -0.1 * units.GPa * np.polyfit(strain, raw, 1)[0]
        place = component if component < 3 else int(np.argmax(rises[3:])) + 3
        curvature = 2 * np.polyfit(strain, energy, 2)[0]
        if not abs(rises[place] - curvature) < 0.1 * curvature:
            raise ValueError(f"stress {component} rises by {rises[place]} eV/Å³ where the energy curves by {curvature}")
        order[component:] = [place]
    for atoms in frames:
        if atoms.info["group"] == "Elastic":
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            stress = -0.1 * units.GPa * np.asarray(atoms.info["virial_stress_raw"], dtype=float)[order]
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return frames


def of_the_data(frames: list[ase.Atoms], lattice_constant: float) -> dict[str, float]:
    """C11, C12 and C44 in GPa from DFT's stresses in strained frames, as clamped or as hot as the frames are: cubics at zero."""
    slopes = np.zeros((6, 6))
    for component in range(6):
        strain, _, _ = strained(frames, lattice_constant, component, 0.085)
        chosen = [atoms for atoms in frames if is_strained(atoms, lattice_constant, component, 0.085)]
        stresses = np.array([atoms.get_stress() for atoms in chosen])
        slopes[component] = np.polyfit(strain, stresses, 3)[-2] / units.GPa
    across = slopes[:3, :3][~np.eye(3, dtype=bool)]
    return {
        "C11_GPa": float(np.diag(slopes)[:3].mean()),
        "C12_GPa": float(across.mean()),
        "C44_GPa": float(np.diag(slopes)[3:].mean()),
    }


def strained(
    frames: list[ase.Atoms], lattice_constant: float, component: int, largest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crystals strained in one Voigt component only: strains, energies in eV by volume at rest in Å³, the file's six numbers."""
    chosen = [atoms for atoms in frames if is_strained(atoms, lattice_constant, component, largest)]
    strains = np.array([green(atoms, lattice_constant)[component] for atoms in chosen])
    energies = np.array([atoms.get_potential_energy() / rest(atoms, lattice_constant)[1] for atoms in chosen])
    return strains, energies, np.array([atoms.info["virial_stress_raw"] for atoms in chosen], dtype=float)


def is_strained(atoms: ase.Atoms, lattice_constant: float, component: int, largest: float) -> bool:
    """Whether a crystal is strained by at most ``largest`` (shears twice that) in this component and hardly in the others."""
    if atoms.info["group"] != "Elastic" or len(atoms) < 20:
        return False
    strain = green(atoms, lattice_constant) / [1, 1, 1, 2, 2, 2]
    return abs(strain[component]) <= largest and bool(np.abs(np.delete(strain, component)).max() < 0.1 * abs(strain[component]))


def green(atoms: ase.Atoms, lattice_constant: float) -> np.ndarray:
    """Green and Lagrange's strain of a supercell of cubic cells, xx yy zz yz xz xy, shears engineering shears."""
    stretch = atoms.cell.array / rest(atoms, lattice_constant)[0][:, None]
    strain = 0.5 * (stretch @ stretch.T - np.eye(3))
    return np.array([strain[0, 0], strain[1, 1], strain[2, 2], 2 * strain[1, 2], 2 * strain[0, 2], 2 * strain[0, 1]])


def rest(atoms: ase.Atoms, lattice_constant: float) -> tuple[np.ndarray, float]:
    """Edges (Å) and volume (Å³) of a supercell of cubic cells at rest."""
    edges = np.rint(np.diag(atoms.cell.array) / lattice_constant) * lattice_constant
    return edges, float(edges.prod())


def constants(element: str, folder: pathlib.Path, relax: bool) -> dict:
    import torch

    model, metadata = files.load(folder / "run" / "model.safetensors", dtype=torch.float64)
    ase.io.write(folder / "crystal.xyz", CRYSTALS[element])
    found = elastic(model, folder / "crystal.xyz", folder / "elastic", cell=relax, overwrite=True)
    c = found.relaxed
    return {
        "lattice_constant_A": float(ase.io.read(folder / "elastic" / "relaxed.xyz").cell.cellpar()[0]),
        "C11_GPa": float(c[0, 0]),
        "C12_GPa": float(c[0, 1]),
        "C44_GPa": float(c[3, 3]),
        "clamped_C44_GPa": float(found.clamped[3, 3]),
        "test": metadata.errors.get("test"),
    }


if __name__ == "__main__":
    main()
