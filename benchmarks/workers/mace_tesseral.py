"""tesseral's MACE for benchmarks/mace_steps.py, with the weights that mace_peer.py wrote.

usage: mace_tesseral.py train|md FRAMES.xyz BATCH HIDDEN FILE
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.workers.energy_steps import batch_of, serve_steps
from tesseral.interfaces.import_mace import read_mace

mode, file, batch, _, model_file = sys.argv[1:6]
serve_steps(mode, read_mace(Path(model_file)), batch_of(file, batch))
