"""Order parameters by Curie's principle, exactly and learned: a square becomes a rectangle, octahedra of a perovskite tilt.

    python recipes/order_parameters.py [--smoke]

1. Square -> rectangle (D4h -> D2h, C2' = x). Group theory: only B1g, that is x²-y² (2e) and (x²-y²)(7z²-r²) (4e) among irreps of
   natural parity, once each in 3e and 5e if pseudotensors are offered. In our axes x²-y² is -(√3/2) Y2[2] - (1/2) Y2[4]. A
   network is stuck at the mean of both rectangles; an extra input, zero at the start, becomes such a function.
2. Cubic perovskite (221) -> Pnma (62), Glazer's a-b+a-, built with ASE in 2 x 2 x 2 cells. Offered pseudovectors (1e) at the B
   sites, group theory allows rotations about x and z at R = (1/2, 1/2, 1/2), T1g of Oh, and about y at M = (1/2, 0, 1/2), A2g of
   D4h: R4+ and M3+ for the origin at B (R5- and M2+ for the origin at A). A network learns them from the displacements alone, and
   spglib finds 62 in what it predicts, 221 without the input.

After Smidt, Geiger, Miller, Phys. Rev. Research 3, L012002 (2021).
"""

import argparse

import ase
import numpy as np
import spglib
import torch
from torch import Tensor
from torch.nn import functional

from tesseral.graph import build_graph
from tesseral.groups import point_group, stabilizer_of_points
from tesseral.o3 import Irreps
from tesseral.symmetry import (
    PointNetwork,
    all_irreps,
    common_symmetry,
    crystal_order_parameters,
    learn_order_parameter,
    order_parameters,
    strengths,
)

SQUARE = np.array([[1.0, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]])


def square(offered: Irreps, steps: tuple[int, int]) -> dict:
    """Learn what a network needs to stretch the square along x."""
    rectangle = SQUARE * np.array([1.3, 0.8, 1.0])
    group = stabilizer_of_points(point_group("D4h"), SQUARE)
    parameters = order_parameters(group, common_symmetry(group, stabilizer_of_points(group, rectangle)))
    torch.manual_seed(0)
    graph = build_graph(ase.Atoms("C4", positions=SQUARE), cutoff=4.0)
    irreps_in, hidden = Irreps("0e") + offered, ["4x0e+4x1o+4x1e+4x2e"]
    network = PointNetwork(irreps_in, hidden, "1o", cutoff=4.0, lmax=4, num_neighbors=3, dtype=torch.float64)
    target, ones = torch.tensor(rectangle - SQUARE), torch.ones(4, 1, dtype=torch.float64)

    def loss(extra: Tensor) -> Tensor:
        return (network(torch.cat([ones, extra.expand(4, -1)], dim=1), graph) - target).square().mean()

    start = torch.zeros(offered.dim, dtype=torch.float64)
    found = learn_order_parameter(loss, network.parameters(), start, offered, steps=steps, invariant_under=group)
    functions = parameters.functions(offered)
    outside = found.value - found.value @ functions.T @ functions
    kept = {str(p.irrep): p.strength for p in strengths(found.value, offered) if p.strength > 1e-6}
    print(f"\nsquare -> rectangle, {parameters}; offered {offered}")
    print(f"  exactly: {', '.join(f'{ir} {labels}' for ir, labels in parameters.irreps(offered))}")
    print(f"  learned: {', '.join(f'{ir} {s:.3f}' for ir, s in kept.items())}; outside the functions of B1g: ", end="")
    print(f"{float(outside.norm() / found.value.norm()):.0e}; loss {found.stuck:.4f} without, {found.loss:.1e} with the input")
    second = found.value[offered.slices()[offered.index("2e")]]
    ours = torch.tensor([0.0, 0.0, -(3**0.5) / 2, 0.0, -0.5], dtype=torch.float64)  # x² - y²
    cosine = abs(float(functional.cosine_similarity(second, ours, dim=0)))
    print(f"  |cos(2e, x²-y²)| = {cosine:.8f}")
    return {"found": found, "kept": kept, "outside": float(outside.norm() / found.value.norm()), "cosine": cosine}


def perovskite(tilts: tuple[float, float, float] = (0.0, 0.0, 0.0), edge: float = 3.9) -> ase.Atoms:
    """SrTiO3-like, 2 x 2 x 2 cells, B at the origin: octahedra turned about x and z in antiphase, about y in phase along y."""
    cells = np.array([(i, j, k) for i in range(2) for j in range(2) for k in range(2)])
    signs = np.stack([(-1.0) ** cells.sum(1), (-1.0) ** (cells[:, 0] + cells[:, 2]), (-1.0) ** cells.sum(1)], axis=1)
    rotations = signs * np.array(tilts)
    positions = [cells * edge, (cells + 0.5) * edge]
    for axis in np.eye(3):
        positions.append((cells + axis / 2 + np.cross(rotations, axis / 2)) * edge)
    return ase.Atoms("Ti8Sr8O24", positions=np.concatenate(positions), cell=[2 * edge] * 3, pbc=True)


def space_group(atoms: ase.Atoms) -> int:
    return int(spglib.get_symmetry_dataset((atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers), symprec=1e-2).number)


def tilted(steps: tuple[int, int]) -> dict:
    """The tilts of a-b+a-, exactly and learned."""
    parent, child = perovskite(), perovskite((0.1, 0.12, 0.1))
    sites = list(range(8))
    exact = crystal_order_parameters(parent, child, sites, "1e")
    print(f"\nperovskite {exact.parent} -> {exact.child}: {len(exact.basis)} functions of 1e at the B sites")
    for function in exact.basis:
        print("  exactly: " + "; ".join(map(str, exact.waves(function))))
    torch.manual_seed(0)
    graph = build_graph(parent, cutoff=0.72 * 3.9)
    network = PointNetwork("3x0e+1e", ["8x0e+8x1o+8x1e"], "1o", cutoff=0.72 * 3.9, num_neighbors=12, dtype=torch.float64)
    kinds = torch.tensor(np.searchsorted([8, 22, 38], parent.numbers))
    species = functional.one_hot(kinds, 3).to(torch.float64)
    target = torch.tensor(child.positions - parent.positions)

    def predict(extra: Tensor) -> Tensor:
        at_sites = torch.cat([extra, extra.new_zeros(len(parent) - 8, 3)])
        return network(torch.cat([species, at_sites], dim=1), graph)

    def loss(extra: Tensor) -> Tensor:
        return (predict(extra) - target).square().mean()

    start = torch.zeros(8, 3, dtype=torch.float64)
    found = learn_order_parameter(loss, network.parameters(), start, "1e", steps=steps, penalty=0.0)
    basis = exact.basis.flatten(1)
    flat = found.value.flatten()
    outside = float((flat - flat @ basis.T @ basis).norm() / flat.norm())
    print(f"  learned, outside these {outside:.0e}; loss {found.stuck:.1e} Å² without, {found.loss:.1e} with the input")
    waves = exact.waves(found.value)
    for wave in waves:
        print(f"  learned: {wave}, amplitude {np.round(wave.amplitude, 3).tolist()}")
    numbers = []
    for extra in (start, found.value):
        atoms = parent.copy()
        atoms.positions += predict(extra).detach().numpy()
        numbers.append(space_group(atoms))
    print(f"  spglib: {numbers[0]} without, {numbers[1]} with the input")
    return {"exact": exact, "found": found, "outside": outside, "waves": waves, "numbers": numbers}


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="fewer steps, the natural parities only")
    options = parser.parse_args(argv)
    steps = (40, 110) if options.smoke else (150, 250)
    offers = [Irreps("1o+2e+3o+4e+5o")] if options.smoke else [Irreps("1o+2e+3o+4e+5o"), all_irreps(5)]
    return {"square": [square(offered, steps) for offered in offers], "perovskite": tilted(steps)}


if __name__ == "__main__":
    main()
