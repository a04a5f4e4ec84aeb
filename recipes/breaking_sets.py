"""Symmetry-breaking sets: the table of all point groups, and a model that must choose one of six directions.

    python recipes/breaking_sets.py [--smoke]

1. For every crystallographic point group, I and Ih: the smallest equivariant set for full breaking, and whether it is ideal. It
   is ideal exactly if the group has a complement in its normaliser in O(3): all groups but Cn, Cnh (n > 1), S4 and C3i (S6).
2. An atom at the centre of an octahedron is to move to one of its corners, as Ti in tetragonal BaTiO3. An equivariant model is
   stuck at the centre. With a member of the set for Oh -> C4v, six vectors, as an extra input, its loss falls below 1e-8, and the
   other members give the other five corners, untrained.

After Xie and Smidt, TMLR 2024.
"""

import argparse
import math

import ase
import numpy as np
import torch

from tesseral.graph import build_graph
from tesseral.groups import INTERNATIONAL, complement, members_of, normalizer_in_o3, point_group
from tesseral.symmetry import BreakingSet, PointNetwork, breaking_set

CORNERS = np.concatenate([np.eye(3), -np.eye(3)]) * 2.0


def table(names: list[str]) -> list[dict]:
    """A row for each group; ``complement`` is found on its own, in the normaliser."""
    rows = []
    for name in names:
        group = point_group(name)
        found, normalizer = breaking_set(group), normalizer_in_o3(group)
        exists = None
        if hasattr(normalizer, "finite"):
            exists = complement(normalizer.finite, members_of(normalizer, group)) is not None
        size = "continuum" if math.isinf(found.size) else str(int(found.size))
        ideal = "ideal" if found.ideal else "-"
        print(
            f"  {name:5} {normalizer.name:6} {size:>9} {ideal:6} {found.irreps!s:10} each left by {found.stabilizer.name}",
            flush=True,
        )
        rows.append({"name": name, "set": found, "complement": exists})
    return rows


def choose(breaking: BreakingSet | None, steps: int) -> tuple[float, torch.Tensor]:
    """Loss of a model that is to move the centre of the octahedron by (0, 0, 0.4) Å, and its answers to all of the set."""
    torch.manual_seed(0)
    graph = build_graph(ase.Atoms("TiO6", positions=np.concatenate([np.zeros((1, 3)), CORNERS])), cutoff=3.0)
    kinds = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 1, 1, 1, 1]]
    irreps = "2x0e" if breaking is None else f"2x0e+{breaking.irreps}"
    network = PointNetwork(irreps, ["8x0e+8x1o"], "1o", cutoff=3.0, num_neighbors=4, dtype=torch.float64)
    target = torch.tensor([0.0, 0.0, 0.4], dtype=torch.float64)
    numbers = [0] if breaking is None else range(len(breaking.objects))
    inputs = [kinds if breaking is None else breaking.attach(kinds, n) for n in numbers]
    # the member paired with the target must have its stabilizer: the parallel vector
    chosen = 0 if breaking is None else int((breaking.objects @ target).argmax())
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(inputs[chosen], graph)[0] - target).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        answers = torch.stack([network(x, graph)[0] for x in inputs])
    return float((answers[chosen] - target).square().mean()), answers


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few groups only")
    options = parser.parse_args(argv)
    names = ["Ci", "Cs", "C4", "C3v", "D3", "Oh"] if options.smoke else [*INTERNATIONAL, "I", "Ih"]
    print("full breaking: group, normaliser in O(3), size of the set")
    rows = table(names)
    partial = breaking_set(point_group("Oh"), point_group("C4v"))
    print(f"\none of six directions; {partial}")
    without, _ = choose(None, 100)
    loss, answers = choose(partial, 200)
    print(f"  loss {without:.4f} Å² without (the target's own mean square is {0.16 / 3:.4f}), {loss:.1e} Å² with the set")
    for b, answer in zip(partial.objects, answers, strict=True):
        print(f"  {[round(x) for x in b.tolist()]} -> {[round(x, 5) + 0.0 for x in answer.tolist()]}")
    error = float((answers - 0.4 * partial.objects).abs().max())
    print(f"  largest error of all six answers: {error:.0e} Å")
    return {"rows": rows, "without": without, "loss": loss, "error": error}


if __name__ == "__main__":
    main()
