"""Either side of benchmarks/mace_steps.py: `python mace_steps.py side train|md FRAMES BATCH HIDDEN FILE`."""

import runpy
import sys
from pathlib import Path

side = sys.argv.pop(1)
sys.argv[0] = str(Path(__file__).with_name({"tesseral": "mace_tesseral.py", "mace": "mace_peer.py"}[side]))
runpy.run_path(sys.argv[0], run_name="__main__")
