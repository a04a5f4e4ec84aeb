"""Acetylacetone: tesseral, nequip and mace-torch trained for the same wall-clock time on the same split, scored by one scorer.

    TESSERAL_DATA=folder python recipes/acac_comparison.py --minutes 15 --seeds 0 1 2 --output acac \
        --nequip path/to/venv/bin --mace path/to/venv/bin

Peers live in environments of their own (nequip and mace-torch cannot share one); leave one out and it is not run. Runs go one
after another, so that each has the machine for itself. Settings were chosen on the validation frames; each model sees the test
files once, after training. On a machine that is not idle, --peers-by-processor counts the peers' minutes as processor time of one
thread instead of wall-clock time, which favours them; tesseral's schedule follows the clock. Published, for the full training
times: NequIP 0.81 meV / 5.9 meV/Å at 300 K, 6.04 / 27.8 at 600 K; MACE 0.9 / 5.1 and 4.6 / 22.4 (Batatia et al.,
arXiv:2206.07697, table 3).
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import ase
import ase.io
import numpy as np

HERE = pathlib.Path(__file__).parent
TESTS = {
    "300K": "test_MD_300K.xyz",
    "600K": "test_MD_600K.xyz",
    "dihedral": "test_dihedral.xyz",
    "H_transfer": "test_H_transfer.xyz",
}
NEQUIP_SETTINGS = {
    "4l1": {"layers": 4, "lmax": 1, "parity": "true", "features": 32},
    "small": {"layers": 2, "lmax": 1, "parity": "false", "features": "[128, 64]"},
    "4l2": {"layers": 4, "lmax": 2, "parity": "true", "features": 32},
}
MACE_SETTINGS = {"64x0e": (64, 0), "128x0e": (128, 0), "64x1o": (64, 1)}


def split(data: pathlib.Path, folder: pathlib.Path, seed: int) -> None:
    """Write train.xyz (450) and valid.xyz (50), the same for every package at a seed."""
    frames = ase.io.read(data / "train_300K.xyz", ":")
    order = np.random.default_rng(seed).permutation(len(frames))
    ase.io.write(folder / "train.xyz", [frames[i] for i in order[:450]])
    ase.io.write(folder / "valid.xyz", [frames[i] for i in order[450:]])
    shutil.copy(data / "isolated_atoms.xyz", folder)  # found there by tesseral; the peers are told


def train_tesseral(folder: pathlib.Path, minutes: float, seed: int, setting: str) -> pathlib.Path:
    words = setting.split()
    settings = words.pop(0) if words and words[0].endswith(".yaml") else "acac.yaml"
    command = [sys.executable, "-m", "tesseral", "train", HERE / settings, f"seed={seed}", f"max_time={minutes}min"]
    command += [
        f"data.train={folder / 'train.xyz'}",
        f"data.validation={folder / 'valid.xyz'}",
        *words,
        "--output",
        folder / "run",
    ]
    run(command, folder)
    return folder / "run" / "model.safetensors"


def train_nequip(
    folder: pathlib.Path, minutes: float, seed: int, setting: str, binaries: pathlib.Path, by_processor: bool
) -> pathlib.Path:
    text = (HERE / "peers" / "nequip.yaml").read_text()
    seconds = int(minutes * 60) if not by_processor else 23 * 3600
    clock = f"00:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    for word, value in {**NEQUIP_SETTINGS[setting], "seed": seed, "time": clock}.items():
        text = text.replace(f"<{word}>", str(value))
    (folder / "nequip.yaml").write_text(text)
    command = [binaries / "nequip-train", "-cp", folder, "-cn", "nequip", f"hydra.run.dir={folder}"]
    if by_processor:
        run([*processor_limit(minutes), *command], folder, check=False)
    else:
        run(command, folder)
    return folder / "best.ckpt"


def train_mace(
    folder: pathlib.Path, minutes: float, seed: int, setting: str, binaries: pathlib.Path, data: pathlib.Path, by_processor: bool
) -> pathlib.Path:
    channels, degree = MACE_SETTINGS[setting]
    for name in ("train", "valid"):  # the keys `energy` and `forces` are not read: it would train on without them
        frames = ase.io.read(folder / f"{name}.xyz", ":")
        for atoms in frames:
            atoms.info["REF_energy"] = atoms.get_potential_energy()
            atoms.arrays["REF_forces"] = atoms.get_forces()
            atoms.calc = None
        ase.io.write(folder / f"mace_{name}.xyz", frames)
    isolated = {int(a.numbers[0]): float(a.get_potential_energy()) for a in ase.io.read(data / "isolated_atoms.xyz", ":")}
    command = [binaries / "mace_run_train", "--name=acac", "--train_file=mace_train.xyz", "--valid_file=mace_valid.xyz"]
    command += [
        "--energy_key=REF_energy",
        "--forces_key=REF_forces",
        f"--E0s={isolated}",
        "--model=MACE",
        f"--num_channels={channels}",
    ]
    command += [
        f"--max_L={degree}",
        "--r_max=5.0",
        "--batch_size=5",
        "--valid_batch_size=10",
        "--ema",
        "--ema_decay=0.99",
        "--amsgrad",
    ]
    command += [
        "--lr=0.01",
        "--default_dtype=float32",
        "--device=cpu",
        f"--seed={seed}",
        "--eval_interval=1",
        "--scheduler_patience=10",
    ]
    command += ["--error_table=TotalRMSE", "--energy_weight=1", "--forces_weight=100"]
    limit = processor_limit(minutes) if by_processor else ["timeout", str(minutes * 60)]
    run([*limit, *command, "--max_num_epochs=100000"], folder, check=False)
    run(
        [*command, "--max_num_epochs=1", "--restart_latest"], folder
    )  # writes the model of the last checkpoint, trains no further
    return folder / "acac.model"


def processor_limit(minutes: float) -> list[str]:
    return ["prlimit", f"--cpu={round(minutes * 60)}", "--core=0"]


def run(command: list, folder: pathlib.Path, check: bool = True) -> None:
    with open(folder / "log", "a") as log:
        subprocess.run([str(word) for word in command], cwd=folder, stdout=log, stderr=log, check=check)


def score(package: str, model: pathlib.Path, data: pathlib.Path, folder: pathlib.Path, interpreter: pathlib.Path | None) -> dict:
    """RMSE of energies (meV) and force components (meV/Å) on each test file; predictions stay in the folder."""
    errors = {}
    for name, file in TESTS.items():
        out = folder / f"{name}.npz"
        if interpreter is None:
            predict_tesseral(model, data / file, out)
        else:
            run([interpreter, HERE / "peers" / "predict.py", package, model, data / file, out], folder)
        frames, predicted = ase.io.read(data / file, ":"), np.load(out)
        reference = np.array([a.get_potential_energy() for a in frames])
        errors[name] = {"energy": 1e3 * float(np.sqrt(np.mean((predicted["energy"] - reference) ** 2)))}
        if "forces" in frames[0].calc.results:
            difference = predicted["forces"] - np.array([a.get_forces() for a in frames])
            errors[name]["forces"] = 1e3 * float(np.sqrt(np.mean(difference**2)))
    return errors


def predict_tesseral(model: pathlib.Path, frames: pathlib.Path, out: pathlib.Path) -> None:
    from tesseral.interfaces.ase import Calculator

    calculator = Calculator(model)
    energies, forces = [], []
    for atoms in ase.io.read(frames, ":"):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    np.savez(out, energy=np.array(energies), forces=np.array(forces))


def plot(rows: list[dict], output: pathlib.Path, data: pathlib.Path) -> None:
    """curves.png: energies along the dihedral scan and the hydrogen transfer beside DFT, a colour a model, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    models = list(dict.fromkeys(f"{row['package']} {row['setting']}".strip() for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for ax, (name, title) in zip(axes, {"dihedral": "dihedral scan", "H_transfer": "hydrogen transfer"}.items(), strict=True):
        reference = np.array([a.get_potential_energy() for a in ase.io.read(data / TESTS[name], ":")])
        for row in rows:
            predicted = np.load(output / row["folder"] / f"{name}.npz")["energy"]
            model = f"{row['package']} {row['setting']}".strip()
            fresh = model not in ax.get_legend_handles_labels()[1]
            ax.plot(predicted - reference.min(), f"C{models.index(model)}", lw=1, label=model if fresh else None)
        ax.plot(reference - reference.min(), "k.", ms=4, label="DFT")
        ax.set(title=title, xlabel="frame", ylabel="energy, eV")
    axes[0].legend(fontsize=8)
    figure.savefig(output / "curves.png", dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--nequip", type=pathlib.Path, help="bin folder of an environment with nequip 0.19.1")
    parser.add_argument("--mace", type=pathlib.Path, help="bin folder of an environment with mace-torch 0.3.16")
    parser.add_argument(
        "--peers-by-processor", action="store_true", help="peers' minutes are processor time, not wall-clock time"
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        default=["tesseral:", "nequip:4l1", "mace:64x0e"],
        help="PACKAGE:SETTING to run; of tesseral [FILE.yaml] KEY=VALUE ...",
    )
    arguments = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds acac/ (see docs/data.md)")
    data = pathlib.Path(os.environ["TESSERAL_DATA"]).resolve() / "acac"
    results = []
    for seed in arguments.seeds:
        for name in arguments.settings:
            package, _, setting = name.partition(":")
            binaries = {"nequip": arguments.nequip, "mace": arguments.mace}.get(package)
            if package != "tesseral" and binaries is None:
                continue
            folder = (arguments.output / f"{package}-{re.sub(r'[^0-9A-Za-z.=_-]', '_', setting) or 'default'}-{seed}").resolve()
            folder.mkdir(parents=True)
            split(data, folder, seed)
            if package == "tesseral":
                model = train_tesseral(folder, arguments.minutes, seed, setting)
            elif package == "nequip":
                model = train_nequip(folder, arguments.minutes, seed, setting, binaries, arguments.peers_by_processor)
            else:
                model = train_mace(folder, arguments.minutes, seed, setting, binaries, data, arguments.peers_by_processor)
            interpreter = None if binaries is None else binaries / "python"
            row = {"package": package, "setting": setting, "seed": seed, "minutes": arguments.minutes, "folder": folder.name}
            row["errors"] = score(package, model, data, folder, interpreter)
            results.append(row)
            (arguments.output / "results.json").write_text(json.dumps(results, indent=1))
            plot(results, arguments.output, data)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
