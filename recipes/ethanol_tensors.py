"""Dipoles and polarizabilities of ethanol from equivariant heads, and infrared and Raman intensities of a held-out minimum.

    python recipes/ethanol_tensors.py --output tensors [--minutes 3] [--seed 0] [--potential demo/model.safetensors]

Trains on the embedded frames (dipoles of all, polarizabilities of every tenth), for so many minutes of processor time, with one
masked typed loss; reports errors on the test trajectories, and for gauche+, no derivative of which was trained on, the
intensities from the derivatives of both heads with the DFT Hessian, beside DFT's own; spectrum.svg draws one over the other. With
a potential, as of ``tesseral demo``, nothing of our spectrum is DFT's: the molecule is relaxed and differentiated with it.
"""

import argparse
import json
import pathlib
import time

import ase
import numpy as np
import torch

from tesseral.data import embedded
from tesseral.graph import build_graph, collate
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.spectrum_figures import lines_figure
from tesseral.models import files
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import Target, TensorModel, TensorSettings
from tesseral.models.tensor_files import save_tensors
from tesseral.physics.electric import position_derivatives
from tesseral.physics.hessian import hessian
from tesseral.physics.normal_modes import NormalModes, normal_modes, symmetry_of
from tesseral.physics.relaxation import relax
from tesseral.train.averaging import ExponentialMovingAverage
from tesseral.train.tensors import typed_loss

CUTOFF = 4.0
BODY = NequIPSettings(
    cutoff=CUTOFF, layers=2, lmax=2, channels=(24, 16, 12), radial_channels=32, parity=False, species=(1, 6, 8), num_neighbors=7.5
)
TARGETS = {"dipole": Target(irreps="1o", charges=True, scale=0.1), "polarizability": Target(irreps="0e+2e", scale=0.3)}
BATCH = 4  # frames of each kind: with a dipole, and with a polarizability, too


def graphs(split: str) -> list:
    """Frames of a split that are molecules, and their labels."""
    result = []
    for atoms in embedded.load(split=split):
        if len(atoms) == 9 and atoms.info["config_type"] != "minimum":
            labels = {"dipole": atoms.get_dipole_moment()}
            if "polarizability" in atoms.info:
                labels["polarizability"] = atoms.info["polarizability"]
            result.append((atoms.info["config_type"], build_graph(atoms, CUTOFF, labels=labels)))
    return result


def features(model: TensorModel, graph) -> dict:
    return {name: model.from_cartesian(name, label) for name, label in graph.labels.items()}


def train(model: TensorModel, frames: list, minutes: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    polarized = [g for g in frames if "polarizability" in g.labels]
    trace = torch.stack([features(model, g)["polarizability"][0, 0] for g in polarized]).mean()
    with torch.no_grad():
        model.references["polarizability"][:, 0] = float(trace) / 9 / TARGETS["polarizability"].scale
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.005)
    average = ExponentialMovingAverage(parameters, 0.99)
    weights = {name: target.scale**-2 for name, target in TARGETS.items()}
    begun, step, shown = time.process_time(), 0, 0.0
    while (passed := (time.process_time() - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 0.005 * min(1, step / 50) * 0.5 * (1 + np.cos(np.pi * passed))
        chosen = [frames[i] for i in generator.integers(len(frames), size=BATCH)]
        chosen += [polarized[i] for i in generator.integers(len(polarized), size=BATCH)]
        batch = collate(chosen)
        loss = typed_loss(model(batch), features(model, batch), batch.masks, model.irreps, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        average.update()
        step += 1
        if passed - shown >= 0.1:
            shown = passed
            print(f"{passed:4.0%}  step {step}  loss {loss.item():.4g}", flush=True)
    print(f"{step} steps")
    with torch.no_grad():
        for parameter, value in zip(average.parameters, average.average, strict=True):
            parameter.copy_(value)


def errors(model: TensorModel, frames: list) -> dict:
    """RMS errors of components, and RMS of the labels' deviations from their mean: e·Å and Å³."""
    result = {}
    for kind in sorted({kind for kind, _ in frames}):
        batch = collate([g for k, g in frames if k == kind])
        with torch.no_grad():
            predicted = {name: model.cartesian(name, values) for name, values in model(batch).items()}
        row = {}
        for name, label in batch.labels.items():
            known = batch.masks[name]
            error = (predicted[name] - label)[known]
            row[name] = float(error.square().mean().sqrt())
            row[f"{name}_spread"] = float((label[known] - label[known].mean(0)).square().mean().sqrt())
            row[f"{name}_frames"] = int(known.sum())
        result[kind] = row
    return result


def derivatives(model: TensorModel, atoms: ase.Atoms) -> list[np.ndarray]:
    graph = build_graph(atoms, CUTOFF)
    return [position_derivatives(lambda g, n=name: model.property(n, g), graph).numpy() for name in TARGETS]


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
    parser.add_argument("--minutes", type=float, default=3.0, help="of processor time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--potential", type=pathlib.Path, help="model file of energies, for the figure")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    model = TensorModel(TensorSettings(body=BODY, targets=TARGETS), dtype=torch.float32)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    train(model, [g for _, g in graphs("train")], arguments.minutes, arguments.seed)
    model = model.eval().requires_grad_(False)
    result = {"test": errors(model, graphs("test")), "minutes": arguments.minutes, "seed": arguments.seed}
    result |= {f"spectrum_{name}": spectrum(model, name) for name in ("trans", "gauche+")}
    draw(model, arguments.potential, arguments.output / "spectrum.svg")
    notes = {"level_of_theory": "B3LYP/def2-SVP", "errors": result["test"]}
    save_tensors(model, arguments.output / "tensors.safetensors", notes)
    (arguments.output / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps({k: v for k, v in result.items() if k == "test"}, indent=1))
    for name in ("trans", "gauche+"):
        print(name, {k: round(v, 3) for k, v in result[f"spectrum_{name}"].items() if isinstance(v, float)})


if __name__ == "__main__":
    main()
