"""Either side of benchmarks/nequip_steps.py: `python nequip_steps.py side train|md FRAMES BATCH LAYERS LMAX PARITY CHANNELS`."""

import runpy
import sys
from pathlib import Path

side = sys.argv.pop(1)
FILES = {"tesseral": "nequip_tesseral.py", "nequip": "nequip_peer.py", "nequip-aot": "nequip_aot.py"}
sys.argv[0] = str(Path(__file__).with_name(FILES[side]))
runpy.run_path(sys.argv[0], run_name="__main__")
