"""mace-torch 0.3.16 for benchmarks/mace_steps.py; run in an environment that has mace-torch.

usage: mace_peer.py write|train|md FRAMES.xyz BATCH HIDDEN FILE     "write" makes FILE, a model with random weights
"""

import sys
from pathlib import Path

import ase.io
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from mace import data, modules  # before e3nn, whose constants it allows torch to load
from mace.tools import torch_geometric, utils

from benchmarks.interleave import serve

from e3nn import o3  # isort: skip


def build(hidden: str, species: list[int], neighbors: float) -> torch.nn.Module:
    torch.manual_seed(0)
    blocks = modules.blocks.RealAgnosticResidualInteractionBlock
    return modules.ScaleShiftMACE(
        r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=blocks, interaction_cls_first=blocks,
        num_interactions=2, num_elements=len(species), hidden_irreps=o3.Irreps(hidden), MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=torch.zeros(1, len(species)).numpy(), avg_num_neighbors=neighbors, atomic_numbers=species,
        correlation=3, gate=torch.nn.functional.silu, use_reduced_cg=False, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip


def main() -> None:
    mode, file, batch, hidden, model_file = sys.argv[1:6]
    frames = ase.io.read(file, f":{batch}")
    species = sorted({int(z) for atoms in frames for z in atoms.numbers})
    table = utils.AtomicNumberTable(species)
    items = [data.AtomicData.from_config(data.config_from_atoms(a), z_table=table, cutoff=5.0) for a in frames]
    inputs = next(iter(torch_geometric.dataloader.DataLoader(items, batch_size=len(items)))).to_dict()
    nodes, edges = inputs["positions"].shape[0], inputs["edge_index"].shape[1]
    if mode == "write":
        torch.save(build(hidden, species, edges / nodes), model_file)
        return
    model = torch.load(model_file, weights_only=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    target = torch.randn(nodes, 3)

    def train() -> None:
        out = model(dict(inputs), training=True)
        loss = (out["forces"] - target).square().mean() + out["energy"].square().mean() * 1e-9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def step() -> None:
        model(dict(inputs))

    if mode == "md":
        model.eval().requires_grad_(False)
    serve(
        train if mode == "train" else step,
        {"nodes": nodes, "edges": edges, "parameters": sum(p.numel() for p in model.parameters())},
    )


main()
