"""nequip 0.19.1 for benchmarks/nequip_steps.py; run in an environment that has nequip.

usage: nequip_peer.py train|md FRAMES.xyz BATCH LAYERS LMAX PARITY CHANNELS [KNOTS]
"""

import sys
from pathlib import Path

import ase.io
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state

from benchmarks.interleave import serve


def prepare(file, batch, layers, lmax, parity, channels):
    """The frames as one batch, and the model."""
    set_global_state()
    frames = ase.io.read(file, f":{batch}")
    names = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    transforms = [ChemicalSpeciesToAtomTypeMapper(names), NeighborListTransform(r_max=5.0)]
    data = []
    for atoms in frames:
        item = from_ase(atoms)
        for transform in transforms:
            item = transform(item)
        data.append(item)
    inputs = AtomicDataDict.batched_from_list(data)
    edges = inputs[AtomicDataDict.EDGE_INDEX_KEY].shape[1]
    nodes = inputs[AtomicDataDict.POSITIONS_KEY].shape[0]
    model = NequIPGNNModel(
        seed=0, model_dtype="float32", r_max=5.0, type_names=names, num_layers=int(layers), l_max=int(lmax), parity=parity == "1",
        num_features=int(channels), radial_mlp_depth=2, radial_mlp_width=64, avg_num_neighbors=edges / nodes,
        per_type_energy_scales=1.0, per_type_energy_shifts=dict.fromkeys(names, 0.0),
    )  # fmt: skip
    return inputs, model


def main() -> None:
    mode = sys.argv[1]
    inputs, model = prepare(*sys.argv[2:8])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    target = inputs[AtomicDataDict.FORCE_KEY].clone()

    def train() -> None:
        out = model({key: value.clone() if torch.is_tensor(value) else value for key, value in inputs.items()})
        loss = (out[AtomicDataDict.FORCE_KEY] - target).square().mean() + out[
            AtomicDataDict.TOTAL_ENERGY_KEY
        ].square().mean() * 1e-9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step() -> None:
        model({key: value.clone() if torch.is_tensor(value) else value for key, value in inputs.items()})

    if mode == "md":
        model.eval()
    parameters = sum(p.numel() for p in model.parameters())
    nodes, edges = inputs[AtomicDataDict.POSITIONS_KEY].shape[0], inputs[AtomicDataDict.EDGE_INDEX_KEY].shape[1]
    serve(train if mode == "train" else step, {"nodes": nodes, "edges": edges, "parameters": parameters})


if __name__ == "__main__":
    main()
