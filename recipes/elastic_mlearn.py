"""Elastic constants of silicon and molybdenum from NequIP trained on the sets of Zuo et al., with the atoms clamped and relaxed.

    TESSERAL_DATA=folder python recipes/elastic_mlearn.py --output elastic --minutes 15 [--elements Si Mo]

Energies and forces of the published training frames are fitted, the published test frames scored; stresses are not used, their
convention is not documented. The lattice constant, C11, C12, C44 and the clamped-ion C44 are printed: in diamond-structure
silicon a shear moves the two atoms of the cell against each other, so that the clamped and the relaxed C44 differ by a third,
and a model of energies alone has to know both. In bcc molybdenum they are equal by symmetry.
Data: Zuo et al., J. Phys. Chem. A 124, 731 (2020), whose tables give the DFT values and those of GAP, MTP, NNP, SNAP and qSNAP.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import ase.build
import ase.io

from tesseral.interfaces.elastic import elastic
from tesseral.models import files

CRYSTALS = {"Si": ase.build.bulk("Si", a=5.43, cubic=True), "Mo": ase.build.bulk("Mo", a=3.16, cubic=True)}
SETTINGS = """
data:
  train: {data}/mlearn/{element}_training.xyz
  split: {{valid: 12}}
  test: {{test: {data}/mlearn/{element}_test.xyz}}
  keys: {{config_type: group}}
  examine: false       # strained cells of one atom repeated are near duplicates by construction
model: {{name: nequip, cutoff: 5.0, layers: 2, lmax: 2, channels: 32, parity: false}}
loss:
  energy: {{weight: 100.0, per_atom: true}}
  forces: {{weight: 1.0}}
optimizer: {{lr: 0.01}}
batch_size: 2
ema_decay: 0.995
clip_gradients: 100.0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("elastic"))
    parser.add_argument("--minutes", type=float, default=15.0, help="of training for each element, by the clock")
    parser.add_argument("--elements", nargs="+", choices=tuple(CRYSTALS), default=tuple(CRYSTALS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds mlearn (docs/data.md)")
    data = pathlib.Path(os.environ["TESSERAL_DATA"]).resolve()
    results = {}
    for element in options.elements:
        folder = options.output / element
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.yaml").write_text(SETTINGS.format(data=data, element=element))
        time = [f"max_time={options.minutes}min", f"seed={options.seed}"]
        command = [sys.executable, "-m", "tesseral", "train", folder / "train.yaml", *time, "-o", folder / "run", "--overwrite"]
        subprocess.run([str(word) for word in command], check=True)
        results[element] = constants(element, folder)
    text = json.dumps(results, indent=1)
    (options.output / "result.json").write_text(text)
    print(text)


def constants(element: str, folder: pathlib.Path) -> dict:
    import torch

    model, metadata = files.load(folder / "run" / "model.safetensors", dtype=torch.float64)
    ase.io.write(folder / "crystal.xyz", CRYSTALS[element])
    found = elastic(model, folder / "crystal.xyz", folder / "elastic", overwrite=True)
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
