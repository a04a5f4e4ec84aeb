"""All benchmarks that this machine can run: JSON in benchmarks/results, one table in benchmarks/RESULTS.md.

python -m benchmarks            # everything, about an hour
python -m benchmarks --quick    # the main rows, a quarter of an hour at most
python -m benchmarks --only convolution --only spherical_harmonics

Peers live in environments of their own; an interpreter that has them is named by TESSERAL_BENCH_E3NN, TESSERAL_BENCH_CUET
(cuequivariance-torch and sphericart-torch), TESSERAL_BENCH_NEQUIP, TESSERAL_BENCH_MACE and TESSERAL_BENCH_FAIRCHEM, or by
--peer cuet=PATH.
Without one, this interpreter is tried. What is not at hand is left out, with a sentence.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import math
import os
import sys
import time
from pathlib import Path

from benchmarks import roofline
from benchmarks.environment import PEERS, Environment, absent, version
from benchmarks.interleave import WorkerError
from benchmarks.report import table

SUITES = (  # the most important first, in case the minutes are over
    "convolution",
    "nequip_steps",
    "spherical_harmonics",
    "symmetric_contraction",
    "convolution_variants",
    "precision",
    "gaunt",
    "mace_steps",
    "tensor_product",
    "small_sizes",
    "so2",
)
QUICK_MINUTES = 14.0
FOLDER = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the main rows only, few rounds")
    parser.add_argument("--only", action="append", choices=SUITES, help="run these suites; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="rounds per row: 15, or 5 with --quick")
    parser.add_argument("--seconds", type=float, help="end the rounds of a row after this long: 60, or 2 with --quick")
    parser.add_argument("--minutes", type=float, help=f"begin no row after this long ({QUICK_MINUTES:g} with --quick)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="interpreter of a peer")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of results/ and RESULTS.md")
    arguments = parser.parse_args()
    for words in arguments.peer:
        name, _, path = words.partition("=")
        if name not in PEERS or not Path(path).exists():
            parser.error(f"--peer wants NAME=PATH with a name among {', '.join(PEERS)} and an interpreter; got {words!r}")
        os.environ[PEERS[name][0]] = path
    quick = arguments.quick
    environment = Environment(
        arguments.threads, arguments.rounds or (5 if quick else 15), arguments.seconds or (2.0 if quick else 60.0), quick
    )
    results = arguments.output / "results"
    results.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    machine = roofline.measure(environment.threads)
    print(json.dumps(machine), flush=True)
    end = start + 60 * (arguments.minutes or (QUICK_MINUTES if quick else math.inf))
    for name in arguments.only or SUITES:
        if time.perf_counter() > end:
            print(f"{name}: left out, the {arguments.minutes or QUICK_MINUTES:g} minutes are over", flush=True)
            continue
        begun = time.perf_counter()
        suite = importlib.import_module(f"benchmarks.{name}")
        notes = absent(suite.PEERS)
        print(f"{suite.TITLE}\n  " + "\n  ".join(notes or ["all peers at hand"]), flush=True)
        rows: list[dict] = []
        record = {
            "title": suite.TITLE,
            "note": suite.NOTE,
            "left_out": notes,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "machine": machine,
            "versions": {peer: version(peer) for peer in suite.PEERS},
            "variants": getattr(suite, "VARIANTS", {}),
            "rows": rows,
        }
        try:
            for row in suite.rows(environment):
                rows.append(row)
                print("  " + summary(row, (*suite.PEERS, *record["variants"])), flush=True)
                (results / f"{name}.json").write_text(json.dumps(record, indent=1))
                if time.perf_counter() > end:
                    notes.append(f"Ended after {arguments.minutes or QUICK_MINUTES:g} minutes: some rows are missing.")
                    break
        except WorkerError as error:
            notes.append(f"The suite broke off: {error}")
            print("  " + notes[-1], file=sys.stderr, flush=True)
        if rows or notes:
            (results / f"{name}.json").write_text(json.dumps(record, indent=1))
        write(arguments.output)
        print(f"  {time.perf_counter() - begun:.0f} s", flush=True)
    print(f"{time.perf_counter() - start:.0f} s; table in {arguments.output / 'RESULTS.md'}", flush=True)


def summary(row: dict, peers: tuple[str, ...]) -> str:
    """One line about a row."""
    ratios = ", ".join(f"{peer} {row[peer]['ratio']:.3g}x" for peer in peers if peer in row)
    return f"{row['problem']}, {row['mode']}: {row['tesseral']['ms']:.3g} ms; {ratios or 'no peer'}"


def write(folder: Path) -> None:
    """RESULTS.md from all results in the folder, those of earlier runs included."""
    parts = ["# Benchmarks\n", "Written by `make bench`; the numbers with all details are in `results/`.\n"]
    for name in SUITES:
        path = folder / "results" / f"{name}.json"
        if path.exists():
            parts.append(table(json.loads(path.read_text())))
    (folder / "RESULTS.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
