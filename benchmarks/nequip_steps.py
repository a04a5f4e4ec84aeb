"""NequIP training step and force evaluation against nequip 0.19.1, same architecture, interleaved.

TESSERAL_DATA=folder python -m benchmarks.nequip_steps --nequip PATH/TO/python --rounds 15
"""

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks.interleave import Worker, compare

WORKERS = Path(__file__).parent / "workers"
SIZES = {"4 layers, l=1, parity, 32": ("4", "1", "1", "32"), "4 layers, l=2, parity, 32": ("4", "2", "1", "32")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nequip", required=True, help="interpreter of an environment with nequip 0.19.1")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/nequip_steps.json"))
    arguments = parser.parse_args()
    frames = Path(os.environ["TESSERAL_DATA"]) / "acac" / "train_300K.xyz"
    results = []
    for size, words in SIZES.items():
        for mode, batch in (("train", "5"), ("train", "32"), ("md", "1")):
            ours = Worker(
                "tesseral", [sys.executable, WORKERS / "nequip_tesseral.py", mode, frames, batch, *words], arguments.threads
            )
            peer = Worker(
                "nequip", [arguments.nequip, WORKERS / "nequip_peer.py", mode, frames, batch, *words], arguments.threads
            )
            row = {"size": size, "mode": mode, "batch": int(batch), **compare([ours, peer], arguments.rounds)}
            results.append(row)
            print(json.dumps(row), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
