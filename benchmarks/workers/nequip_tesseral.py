"""tesseral's NequIP for benchmarks/nequip_steps.py.

usage: nequip_tesseral.py train|md FRAMES.xyz BATCH LAYERS LMAX PARITY CHANNELS [KNOTS]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.workers.energy_steps import batch_of, serve_steps
from tesseral.models.nequip import NequIP, NequIPSettings

mode, file, batch, layers, lmax, parity, channels, *knots = sys.argv[1:]
graph = batch_of(file, batch)
settings = NequIPSettings(
    layers=int(layers), lmax=int(lmax), parity=parity == "1", channels=int(channels),
    species=tuple(sorted(set(graph.species.tolist()))), num_neighbors=graph.num_edges / graph.num_nodes,
    radial_knots=int(knots[0]) if knots else 0,
)  # fmt: skip
serve_steps(mode, NequIP(settings), graph)
