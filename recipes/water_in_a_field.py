"""One model of water's energy in an electric field, for its frequencies and its intensities, beside the DFT that it learned from.

    TESSERAL_DATA=folder python recipes/water_in_a_field.py --output water [--epochs 200] [--seed 0] [--without-born-charges]

PySCF (``pip install 'tesseral[dft]'``) computes energies, forces and dipoles of randomly distorted water at B3LYP/6-31G*, the
level of ``pyscf_water``, and of every third frame polarizability and atomic polar tensors, from dipoles and forces in a field:
they are kept in ``frames.xyz``. ``tesseral train`` learns all of it with one energy that reads a field. The minimum of the
reference is not among the frames: there, derivatives of the model give polar tensors and, with the Hessian of the reference,
intensities.
``tesseral spectrum`` then takes everything from the model: its own minimum, frequencies, intensities.
"""

import argparse
import json
import os
import pathlib
import sys

import ase
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree
from rich.progress import track
from water_intensities import modes

from tesseral.graph import build_graph
from tesseral.interfaces.responses import FieldResponses, load_field_energy
from tesseral.interfaces.spectrum import spectrum
from tesseral.interfaces.spectrum_figures import lines_figure
from tesseral.interfaces.training import train
from tesseral.interfaces.training_settings import read_training_settings
from tesseral.physics.electric import charge_sum_error, position_derivatives

SPREADS, FIELD = (0.02, 0.05), 1e-3  # Å, of the distortions in turn; atomic units
SETTINGS = """\
data:
  train: {frames}
  split: {{valid: 10}}
model: {{name: field_energy, cutoff: 4.0, layers: 2, lmax: 2, channels: [16, 12, 8], radial_channels: 32, parity: false}}
precision: float64
loss:
  energy: {{weight: 100.0}}
  forces: {{weight: 10.0}}
  dipole: {{weight: 1000.0}}
  polarizability: {{weight: 100.0}}
  born_charges: {{weight: 300.0}}
optimizer: {{name: muon, lr: 0.02, weight_decay: 0.005}}
batch_size: 8
"""


def solved(molecule, field: np.ndarray, density: np.ndarray | None = None) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Energy, forces and dipole in a field, and the density; atomic units."""
    from pyscf import dft

    method = dft.RKS(molecule, xc="b3lyp")
    method.conv_tol = 1e-11
    core = method.get_hcore() + np.einsum("x,xij->ij", field, molecule.intor_symmetric("int1e_r"))
    method.get_hcore = lambda *_: core
    method.kernel(density)
    gradient = method.nuc_grad_method()
    gradient.verbose, bare, size = 0, gradient.get_hcore, molecule.nao
    slopes = molecule.intor("int1e_irp", comp=9).reshape(3, 3, size, size)  # <a| r_k ∂_j |b>
    gradient.get_hcore = lambda *_: bare(molecule) - np.einsum("k,kjba->jab", field, slopes)
    nuclei = molecule.atom_charges()
    energy = method.e_tot - field @ (nuclei @ molecule.atom_coords())
    return energy, nuclei[:, None] * field - gradient.kernel(), method.dip_moment(unit="AU", verbose=0), method.make_rdm1()


def labelled(positions: np.ndarray, polarized: bool) -> ase.Atoms:
    """Water with energy, forces and dipole, and if it is ``polarized`` with polarizability and Born charges."""
    from pyscf import gto

    molecule = gto.M(atom=list(zip("OHH", positions.tolist(), strict=True)), basis="6-31g*", verbose=0)
    energy, forces, dipole, density = solved(molecule, np.zeros(3))
    atoms = ase.Atoms("OHH", positions)
    atoms.calc = SinglePointCalculator(atoms, energy=energy * Hartree, forces=forces * Hartree / Bohr, dipole=dipole * Bohr)
    if polarized:
        up, down = ([solved(molecule, sign * FIELD * axis, density) for axis in np.eye(3)] for sign in (1, -1))
        slopes = [[(p[k] - m[k]) / (2 * FIELD) for p, m in zip(up, down, strict=True)] for k in (1, 2)]
        alpha = np.stack(slopes[1], axis=1) * Bohr**3
        atoms.info["polarizability"] = 0.5 * (alpha + alpha.T)
        atoms.arrays["born_charges"] = np.stack(slopes[0], axis=2).reshape(3, 9)  # the displaced axis first, then the field
    return atoms


def frames(reference: dict, count: int, file: pathlib.Path) -> None:
    """Distorted water with labels, in a file; the same level as the reference, or the recipe ends."""
    if file.exists():
        return
    minimum = reference["positions_bohr"] * Bohr
    rest = labelled(minimum, True)
    for name, mine, theirs in (
        ("energy", rest.get_potential_energy(), reference["energy"] * Hartree),
        ("dipole", rest.get_dipole_moment(), reference["dipole_au"] * Bohr),
        ("polarizability", rest.info["polarizability"], reference["alpha_au"] * Bohr**3),
        ("polar tensors", rest.arrays["born_charges"].reshape(9, 3), reference["dmu_dR"].reshape(9, 3)),
    ):
        if not np.allclose(mine, theirs, atol=5e-4):
            sys.exit(f"the {name} at the minimum is {mine}, the reference has {theirs}: another level of theory")
    random, found = np.random.default_rng(0), []
    for number in track(range(count), "PySCF"):
        spread = SPREADS[number % len(SPREADS)]
        atoms = labelled(minimum + spread * random.standard_normal((3, 3)), number % 3 == 0)
        atoms.info["config_type"] = f"{spread} Å"
        found.append(atoms)
    ase.io.write(file, found)


def at_the_minimum(model: torch.nn.Module, reference: dict, figure: pathlib.Path) -> dict:
    """Polar tensors, and intensities with the Hessian of the reference, beside its own."""
    graph = build_graph(ase.Atoms(reference["Z"], reference["positions_bohr"] * Bohr), model.cutoff)
    answers = FieldResponses(model)
    own = [position_derivatives(lambda g, n=n: answers.property(n, g), graph).numpy() for n in ("dipole", "polarizability")]
    theirs = [reference["dmu_dR"].reshape(3, 3, 3), reference["dalpha_dR"].reshape(3, 3, 3, 3) * Bohr**2]
    spectra = {"PySCF": modes(reference, theirs), "energy in a field": modes(reference, own)}
    figure.write_text(lines_figure(spectra, 15.0))
    error, rows = own[0] - theirs[0], []
    for dft, mine in zip(*(s.modes for s in spectra.values()), strict=True):
        row = {"frequency": dft.frequency, "irrep": dft.irrep}
        for kind in ("infrared_intensity", "raman_activity"):
            exact, value = getattr(dft, kind), getattr(mine, kind)
            row |= {f"{kind}_dft": exact, kind: value, f"{kind}_error_percent": 100 * (value / exact - 1)}
        rows.append(row)
    return {
        "modes": rows,
        "oxygen_e": {name: values[0][0].diagonal().tolist() for name, values in (("PySCF", theirs), ("tesseral", own))},
        "polar_tensors_rms_error_e": float(np.sqrt(np.mean(error**2))),
        "polar_tensors_largest_error_e": float(np.abs(error).max()),
        "sum_rule_error_e": float(charge_sum_error(torch.tensor(own[0]), graph)[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-born-charges", action="store_true", help="learn from dipoles, and no derivative of them")
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds pyscf_water (docs/data.md)")
    reference = dict(np.load(pathlib.Path(os.environ["TESSERAL_DATA"]) / "pyscf_water" / "water_b3lyp_631gs.npz"))
    options.output.mkdir(parents=True, exist_ok=True)
    file, run = options.output / "frames.xyz", options.output / "run"
    frames(reference, options.frames, file)
    (options.output / "settings.yaml").write_text(SETTINGS.format(frames=file.resolve()))
    overrides = [f"max_epochs={options.epochs}", f"seed={options.seed}"]
    overrides += ["loss.born_charges.weight=0"] if options.without_born_charges else []
    settings = read_training_settings(options.output / "settings.yaml", overrides)
    trained = train(settings, run, overwrite=True, level_of_theory="B3LYP/6-31G*")
    model = load_field_energy(run / "model.safetensors")
    result = {name: value for name, value in vars(options).items() if name != "output"}
    result |= {"validation": trained.metrics["errors"]["validation"]["overall"], "seconds": trained.metrics["seconds"]}
    result |= at_the_minimum(model, reference, options.output / "field_spectrum.svg")
    ase.io.write(options.output / "water.xyz", ase.io.read(file, 0))
    found = spectrum(model, options.output / "water.xyz", options.output / "spectrum", fmax=1e-5, overwrite=True)
    result["own_modes"] = found.summary["modes"]
    (options.output / "field_result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
