"""Infrared and Raman intensities of water from equivariant heads, beside those of the program that made the training data.

    TESSERAL_DATA=folder python recipes/water_intensities.py --output water [--frames 80] [--minutes 0.75] [--seed 0]

PySCF (``pip install 'tesseral[dft]'``) computes dipoles, and of every sixth frame the polarizability from dipoles in a field,
of randomly distorted water at B3LYP/6-31G*: the level of ``pyscf_water``, whose energy is computed again to be sure of it. A
network learns both; its derivatives at the minimum, with the Hessian of the reference, give intensities. No derivative is
trained on, and the minimum is not among the frames. Finished calculations are kept in ``frames.npz``.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import ase
import numpy as np
import torch
from ase.units import Bohr, Hartree
from rich.progress import track

from tesseral.graph import build_graph, collate
from tesseral.interfaces.spectrum_figures import lines_figure
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import Target, TensorModel, TensorSettings
from tesseral.physics.electric import position_derivatives
from tesseral.physics.normal_modes import NormalModes, normal_modes, symmetry_of
from tesseral.train.tensors import typed_loss

CUTOFF = 3.0
BODY = NequIPSettings(
    cutoff=CUTOFF, layers=2, lmax=2, channels=(16, 12, 8), radial_channels=32, parity=False, species=(1, 8), num_neighbors=2.0
)
TARGETS = {"dipole": Target(irreps="1o", charges=True, scale=0.1), "polarizability": Target(irreps="0e+2e", scale=0.1)}
SPREAD, FIELD = 0.05, 1e-3  # Å; atomic units


def response(positions: np.ndarray, polarized: bool) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy in Hartree, dipole in e·Å and polarizability in Å³ (NaN where it is not wanted) of water at ``positions`` in Å."""
    from pyscf import dft, gto

    molecule = gto.M(atom=list(zip("OHH", positions.tolist(), strict=True)), basis="6-31g*", verbose=0)
    density = None

    def dipole(field: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal density
        method = dft.RKS(molecule, xc="b3lyp")
        method.conv_tol = 1e-11
        core = method.get_hcore() + np.einsum("x,xij->ij", field, molecule.intor_symmetric("int1e_r"))
        method.get_hcore = lambda *_: core
        energy = method.kernel(density)
        density = method.make_rdm1()
        return energy, method.dip_moment(unit="AU", verbose=0)

    energy, rest = dipole(np.zeros(3))
    alpha = np.full((3, 3), np.nan)
    if polarized:
        steps = FIELD * np.eye(3)
        alpha = np.array([(dipole(step)[1] - dipole(-step)[1]) / (2 * FIELD) for step in steps])
        alpha = 0.5 * (alpha + alpha.T) * Bohr**3
    return energy, rest * Bohr, alpha


def frames(reference: dict, count: int, file: pathlib.Path) -> dict[str, np.ndarray]:
    """Positions, dipoles and polarizabilities; the same level as the reference, or the recipe ends."""
    if file.exists():
        return dict(np.load(file))
    minimum = reference["positions_bohr"] * Bohr
    energy, dipole, alpha = response(minimum, True)
    for name, mine, theirs in (
        ("energy", energy, reference["energy"]),
        ("dipole", dipole, reference["dipole_au"] * Bohr),
        ("polarizability", alpha, reference["alpha_au"] * Bohr**3),
    ):
        if not np.allclose(mine, theirs, atol=2e-4):
            sys.exit(f"the {name} at the minimum is {mine}, the reference has {theirs}: another level of theory")
    random = np.random.default_rng(0)
    positions = minimum + SPREAD * random.standard_normal((count, 3, 3))
    found = [response(place, number % 6 == 0) for number, place in enumerate(track(positions, "PySCF"))]
    result = {
        "positions": positions,
        "dipole": np.array([f[1] for f in found]),
        "polarizability": np.array([f[2] for f in found]),
    }
    np.savez(file, **result)
    return result


def train(model: TensorModel, data: dict[str, np.ndarray], minutes: float) -> None:
    graphs = []
    for positions, dipole, alpha in zip(data["positions"], data["dipole"], data["polarizability"], strict=True):
        labels = {"dipole": dipole} | ({} if np.isnan(alpha).any() else {"polarizability": alpha})
        graphs.append(build_graph(ase.Atoms("OHH", positions), CUTOFF, labels=labels))
    batch = collate(graphs)
    wanted = {name: model.from_cartesian(name, label) for name, label in batch.labels.items()}
    known = wanted["polarizability"][batch.masks["polarizability"]]
    with torch.no_grad():
        model.references["polarizability"][:, 0] = float(known[:, 0].mean()) / 3 / TARGETS["polarizability"].scale
    weights = {name: target.scale**-2 for name, target in TARGETS.items()}
    begun, passed, step, before = time.process_time(), 0.0, 0, 0.0

    def loss_and_slope() -> torch.Tensor:
        model.zero_grad()
        loss = typed_loss(model(batch), wanted, batch.masks, model.irreps, weights)
        loss.backward()
        return loss

    # All frames are one batch, so that after a rough start a method of second order can follow the loss to its floor.
    rough = torch.optim.Adam(model.parameters(), lr=0.01)
    fine = torch.optim.LBFGS(model.parameters(), max_iter=20, history_size=50, line_search_fn="strong_wolfe")
    while passed < 1:
        optimizer = rough if passed < 0.3 else fine
        loss = float(optimizer.step(loss_and_slope).detach())
        passed = (time.process_time() - begun) / (60 * minutes)
        if step % (200 if optimizer is rough else 10) == 0:
            print(f"{passed:4.0%}  step {step}  loss {loss:.4g}", flush=True)
        if loss == before:  # the floor
            break
        step, before = step + 1, loss


def modes(reference: dict, derivatives: list[np.ndarray]) -> NormalModes:
    dipole, polarizability = derivatives
    return normal_modes(
        reference["hessian"].reshape(3, 3, 3, 3) * Hartree / Bohr**2,
        reference["Z"],
        symmetry_of(reference["Z"], reference["positions_bohr"] * Bohr),
        dipole_derivatives=dipole,
        polarizability_derivatives=polarizability,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--minutes", type=float, default=0.75, help="of processor time, for training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds pyscf_water (docs/data.md)")
    reference = dict(np.load(pathlib.Path(os.environ["TESSERAL_DATA"]) / "pyscf_water" / "water_b3lyp_631gs.npz"))
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    model = TensorModel(TensorSettings(body=BODY, targets=TARGETS), dtype=torch.float64)
    train(model, frames(reference, options.frames, options.output / "frames.npz"), options.minutes)
    model = model.eval().requires_grad_(False)
    graph = build_graph(ase.Atoms(reference["Z"], reference["positions_bohr"] * Bohr), CUTOFF)
    own = [position_derivatives(lambda g, n=name: model.property(n, g), graph).numpy() for name in TARGETS]
    theirs = [reference["dmu_dR"].reshape(3, 3, 3), reference["dalpha_dR"].reshape(3, 3, 3, 3) * Bohr**2]
    spectra = {"PySCF": modes(reference, theirs), "tesseral": modes(reference, own)}
    (options.output / "spectrum.svg").write_text(lines_figure(spectra, 15.0))
    result = {"frames": options.frames, "minutes": options.minutes, "seed": options.seed, "modes": []}
    for dft, mine in zip(*(s.modes for s in spectra.values()), strict=True):
        row = {"frequency": dft.frequency, "irrep": dft.irrep}
        for kind in ("infrared_intensity", "raman_activity"):
            a, b = getattr(dft, kind), getattr(mine, kind)
            row |= {f"{kind}_dft": a, f"{kind}": b, f"{kind}_error_percent": 100 * (b / a - 1)}
        result["modes"].append(row)
    (options.output / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result["modes"], indent=1))


if __name__ == "__main__":
    main()
