"""Phonons of NaCl: a NequIP fitted to the DFT forces of displaced supercells, its bands beside phonopy's from the same forces.

    TESSERAL_DATA=folder python recipes/phonons_nacl.py --output nacl [--minutes 6] [--seed 0]
    TESSERAL_DATA=folder python recipes/phonons_nacl.py --output nacl --smoke      # seconds

Two supercells of 64 atoms with one displaced atom each (phonopy's NaCl example) give phonopy its force constants; nine of ten
supercells with all atoms displaced (NaCl-rd) join them for the fit, the tenth selects the weights. No energies are used. Both
sides go through phonopy with the same supercell and the same Born charges; commensurate wave vectors, where nothing is
interpolated, come first. Files: phonopy's examples, Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings

import ase
import ase.io
import numpy as np
import phonopy
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from tesseral.graph import build_graph
from tesseral.models import files
from tesseral.physics.force_constants import force_constants
from tesseral.physics.hessian import asymmetry, hessian, sum_rule_error
from tesseral.physics.phonons import exact_frequencies
from tesseral.train.figures import COLORS, label, legend, new_figure, to_svg
from tesseral.train.report import Report, installed_versions, write_report

# A displaced atom's forces are a thousandth of the others': the two frames of the reference count 200 times in the loss.
WEIGHT = 200.0
SETTINGS = """
data:
  train: train.xyz
  validation: valid.xyz
  examine: false       # no energies, and atoms 0.01 Å from their sites: what the doctor would complain about is the point
model: {name: nequip, cutoff: CUTOFF, layers: LAYERS, lmax: 2, channels: CHANNELS, parity: false}
loss:
  energy: {weight: 0.0}
  forces: {weight: 1.0e+4}
optimizer: {lr: 0.01}
batch_size: 1
clip_gradients: 1000.0
atomic_energies: {source: dictionary, values: {Na: 0.0, Cl: 0.0}}
"""


def reference(data: pathlib.Path) -> phonopy.Phonopy:
    folder = data / "phonopy_examples" / "NaCl"
    crystal = phonopy.load(
        unitcell_filename=folder / "POSCAR-unitcell",
        supercell_matrix=[2, 2, 2],
        primitive_matrix="auto",
        force_sets_filename=folder / "FORCE_SETS",
        born_filename=folder / "BORN",
        log_level=0,
    )
    crystal.produce_force_constants(calculate_full_force_constants=True)
    return crystal


def write_frames(data: pathlib.Path, crystal: phonopy.Phonopy, folder: pathlib.Path, smoke: bool) -> None:
    cell = crystal.supercell
    rest = ase.Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)

    def frame(displacements, forces, weight=1.0):
        atoms = rest.copy()
        atoms.positions += displacements
        atoms.info["config_weight"] = weight
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
        return atoms

    reference = []
    for first in crystal.dataset["first_atoms"]:
        moved = np.zeros((len(rest), 3))
        moved[first["number"]] = first["displacement"]
        reference.append(frame(moved, first["forces"], WEIGHT))
    other = data / "phonopy_examples" / "NaCl-rd"
    loaded = phonopy.load(
        other / "phonopy_disp.yaml", force_sets_filename=other / "FORCE_SETS", log_level=0, produce_fc=False
    ).dataset
    random = [frame(u, f) for u, f in zip(loaded["displacements"], loaded["forces"], strict=True)]
    ase.io.write(folder / "train.xyz", reference + random[:9])
    ase.io.write(folder / "valid.xyz", random[9:])
    sizes = {"CUTOFF": 5.0, "LAYERS": 1, "CHANNELS": 4} if smoke else {"CUTOFF": 6.0, "LAYERS": 2, "CHANNELS": 24}
    text = SETTINGS
    for name, value in sizes.items():
        text = text.replace(name, str(value))
    (folder / "train.yaml").write_text(text)


def train(folder: pathlib.Path, end: str, seed: int) -> None:
    command = [sys.executable, "-m", "tesseral", "train", "train.yaml", end, f"seed={seed}", "-o", "run"]
    subprocess.run([*command, "--level-of-theory", "PBE, from phonopy's NaCl example", "--overwrite"], cwd=folder, check=True)


def compare(folder: pathlib.Path, crystal: phonopy.Phonopy, data: pathlib.Path) -> dict:
    model, _ = files.load(folder / "run" / "model.safetensors", dtype=torch.float64)
    cell = crystal.supercell
    supercell = ase.Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)
    matrix = hessian(model, build_graph(supercell, model.cutoff))
    fitted = reference(data)
    fitted.force_constants = matrix.numpy().transpose(0, 2, 1, 3)

    steps = np.linspace(0.01, 1, 50)[:, None]
    path = np.concatenate([0.5 * steps * [1, 0, 1], 0.5 * steps * [1, 1, 1], 0.375 * steps * [1, 1, 2]])
    lattice = np.rint(cell.cell @ np.linalg.inv(crystal.primitive.cell)).astype(int)
    commensurate = get_commensurate_points(lattice)
    charges = crystal.nac_params
    result = {"asymmetry": asymmetry(matrix), "sum_rule_error": sum_rule_error(matrix)}
    for name, nac in (("without_correction", None), ("with_Born_charges", charges)):
        for where, points in (("commensurate", commensurate), ("path", path)):
            found = []
            for one in (crystal, fitted):
                one.nac_params = nac
                one.run_qpoints(points)
                found.append(one.qpoints.frequencies)
            error = np.abs(found[1] - found[0])
            result[f"{where}_{name}"] = {"MAE_THz": float(error.mean()), "max_THz": float(error.max())}
    primitive = crystal.primitive
    small = ase.Atoms(primitive.symbols, positions=primitive.positions, cell=primitive.cell, pbc=True)
    crystal.nac_params = None
    crystal.run_qpoints(commensurate)
    exact = exact_frequencies(force_constants(model, small), commensurate)
    fitted.nac_params = None  # nothing is interpolated here: both ways to the force constants must agree, however far they reach
    fitted.run_qpoints(commensurate)
    result["one_cell_against_supercell_THz"] = float(np.abs(exact - fitted.qpoints.frequencies).max())
    result["commensurate_from_one_cell"] = {"MAE_THz": float(np.abs(exact - crystal.qpoints.frequencies).mean())}
    crystal.nac_params = fitted.nac_params = charges
    draw(folder, crystal, fitted, path, result)
    return result


def draw(folder: pathlib.Path, crystal: phonopy.Phonopy, fitted: phonopy.Phonopy, path: np.ndarray, result: dict) -> None:
    figure, (panel,) = new_figure(1, height=4.0, width=27.0)
    for one, color, style, name in ((crystal, COLORS[1], "-", "phonopy, DFT forces"), (fitted, COLORS[0], "--", "tesseral")):
        one.run_qpoints(path)
        for branch, frequencies in enumerate(one.qpoints.frequencies.T):
            for piece in range(3):
                x = piece + np.linspace(0.02, 1, 50)
                text = name if branch == piece == 0 else None
                panel.plot(x, frequencies[50 * piece : 50 * piece + 50], style, color=color, linewidth=1.4, label=text)
    panel.set_xticks([0, 1, 2, 3], ["Γ", "X|Γ", "L|Γ", "K"])
    label(panel, "NaCl, the same Born charges on both sides", "wave vector", "frequency, THz")
    legend(panel)
    facts = {name: json.dumps(value) for name, value in result.items()}
    page = Report(
        title="Phonons of NaCl", subtitle="fitted to displaced supercells", facts=facts,
        versions=installed_versions(), extra={"Bands": to_svg(figure, "bands")},
    )  # fmt: skip
    write_report(page, folder / "report.html")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("nacl"))
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, by the clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a tiny network and one epoch")
    parser.add_argument("--trained", action="store_true", help="the model is there, compare only")
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds phonopy_examples (docs/data.md)")
    warnings.filterwarnings("ignore", module="phonopy")
    data = pathlib.Path(os.environ["TESSERAL_DATA"])
    options.output.mkdir(parents=True, exist_ok=True)
    crystal = reference(data)
    start = time.monotonic()
    if not options.trained:
        write_frames(data, crystal, options.output, options.smoke)
        train(options.output, "max_epochs=1" if options.smoke else f"max_time={options.minutes}min", options.seed)
    result = {"seconds": time.monotonic() - start, **compare(options.output, crystal, data)}
    (options.output / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
