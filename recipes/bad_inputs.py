"""Try every bad input we could think of on the real command, and write docs/bad_inputs.md from what it says.

    python recipes/bad_inputs.py                          # all cases, each in a process of its own; rewrites docs/bad_inputs.md
    python recipes/bad_inputs.py --only stress --fork     # the cases whose title contains "stress", importing torch once

The cases are in bad_input_cases/, a file for each subject. What makes a case good is said in bad_input_table.py; the analyses
have a table of their own, bad_inputs_analysis.py. Data: four-atom crystals of copper and gold and an ethanol molecule, labelled
with ASE's effective medium theory; the model has one layer of four channels.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from bad_input_table import Document, run_cases

SUBJECTS = ("units", "labels", "structures", "files", "arrays", "settings", "runs", "model_files", "commands")


def introduction(tried: int, good: int) -> str:
    return (
        f"{tried} mistakes, each tried on the command; {good} end as they should: no traceback, nothing lost or overwritten,\n"
        "and a message that names the file, the frame, the key and the cure. Written by `python recipes/bad_inputs.py`; the\n"
        "files in bad_input_cases/ say how each input is made and which words the message must contain. Data: crystals of\n"
        "copper and gold, and ethanol, labelled with effective medium theory. Of what the command goes on to print when it only\n"
        "warns, little is shown. The analyses, imports and LAMMPS have a table of their own, `bad_inputs_analysis.md`."
    )


DOCUMENT = Document(
    Path(__file__).parents[1] / "docs/bad_inputs.md",
    "Bad inputs",
    introduction,
    tuple(f"tesseral.interfaces.{name}" for name in ("cli", "demo", "simulation", "training")),
)


if __name__ == "__main__":
    for subject in SUBJECTS:  # their cases stand in this order in the table
        importlib.import_module(f"bad_input_cases.{subject}")
    raise SystemExit(run_cases(__doc__, DOCUMENT))
