"""nequip 0.19.1 compiled with AOTInductor, for the md rows of benchmarks/nequip_steps.py; run where nequip is installed.

usage: nequip_aot.py md FRAMES.xyz BATCH LAYERS LMAX PARITY CHANNELS

As `nequip-compile --mode aotinductor` does it, with symbolic numbers of atoms and edges, for energies and forces of one
structure: the molecules lie in it side by side. The package stays among the temporary files: compiling takes minutes.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from nequip.data import AtomicDataDict
from nequip.utils.aot import aot_export_model

from benchmarks.interleave import serve
from benchmarks.workers.nequip_peer import prepare

INPUTS = [AtomicDataDict.POSITIONS_KEY, AtomicDataDict.EDGE_INDEX_KEY, AtomicDataDict.ATOM_TYPE_KEY]
OUTPUTS = [AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY]


def main() -> None:
    words = sys.argv[2:8]
    file, batch, *sizes = words
    _, model = prepare(file, "7", *sizes)  # normalised by the neighbours of these frames, however many are evaluated
    data, _ = prepare(file, batch, *sizes)
    eager = model.eval()({key: value.clone() if torch.is_tensor(value) else value for key, value in data.items()})
    single = {key: data[key] for key in INPUTS}
    name = hashlib.sha256("\n".join([torch.__version__, *sizes]).encode()).hexdigest()[:16]
    package = Path(tempfile.gettempdir()) / f"benchmark-{name}.nequip.pt2"
    if not package.exists():
        axes = {kind: torch.export.Dim(f"num_{kind}s", min=2, max=2**31 - 1) for kind in ("node", "edge")}
        part = package.with_name(f"{os.getpid()}-{package.name}")
        aot_export_model(model, "cpu", INPUTS, OUTPUTS, single, {"graph": torch.export.Dim.STATIC, **axes}, str(part))
        part.replace(package)
    compiled = torch._inductor.aoti_load_package(str(package))
    values = [single[key] for key in INPUTS]
    energy, forces = compiled(values)
    wanted = eager[AtomicDataDict.FORCE_KEY]
    torch.testing.assert_close(forces, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))
    expected = eager[AtomicDataDict.TOTAL_ENERGY_KEY].sum()
    torch.testing.assert_close(energy.sum(), expected, rtol=1e-3, atol=1e-5 * len(forces))  # float32 sums over the atoms
    description = {"nodes": len(forces), "edges": int(single[AtomicDataDict.EDGE_INDEX_KEY].shape[1])}
    serve(lambda: compiled(values), description)


if __name__ == "__main__":
    main()
