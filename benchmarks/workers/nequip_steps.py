"""Either side of benchmarks/nequip_steps.py: `python nequip_steps.py side train|md FRAMES BATCH LAYERS LMAX PARITY CHANNELS`."""

import runpy
import sys
from pathlib import Path

side = sys.argv.pop(1)
sys.argv[0] = str(Path(__file__).with_name({"tesseral": "nequip_tesseral.py", "nequip": "nequip_peer.py"}[side]))
runpy.run_path(sys.argv[0], run_name="__main__")
