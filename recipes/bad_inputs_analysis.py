"""Bad inputs for what is done with a model: symmetry, phonons, elastic, eos, import, lammps, dispersion, evaluate, md, train.

    python recipes/bad_inputs_analysis.py --fork                   # all cases; rewrites docs/bad_inputs_analysis.md, minutes
    python recipes/bad_inputs_analysis.py --only phonons --fork    # the cases of one command

What makes a case good is said in bad_input_table.py, the cases are in bad_input_cases/; bad_inputs.py has the mistakes in data
and settings. The model knows copper and gold; crystals are copper, the molecule is Cu2.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from bad_input_table import Document, run_cases

SUBJECTS = ("crystal_commands", "symmetry", "imports", "lammps", "dispersion", "uncertainty", "architectures", "tensors")


def introduction(tried: int, good: int) -> str:
    return (
        f"{tried} mistakes, each tried on the command; {good} end as they should, in the sense of `bad_inputs.md`. Written by\n"
        "`python recipes/bad_inputs_analysis.py`; the files in bad_input_cases/ say how each input is made and which words the\n"
        "message must contain."
    )


DOCUMENT = Document(
    Path(__file__).parents[1] / "docs/bad_inputs_analysis.md",
    "Bad inputs: analyses, imports, LAMMPS",
    introduction,
    tuple(f"tesseral.interfaces.{name}" for name in ("cli", "elastic", "import_weights", "phonons", "symmetry", "training")),
)


if __name__ == "__main__":
    for subject in SUBJECTS:  # their cases stand in this order in the table
        importlib.import_module(f"bad_input_cases.{subject}")
    raise SystemExit(run_cases(__doc__, DOCUMENT))
