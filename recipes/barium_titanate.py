"""What a cubic perovskite lacks to become its ferroelectric phases: relaxed octahedral convolutions, read in the irreps of Oh.

    python recipes/barium_titanate.py [--smoke]

The input is the electron-like density of ideal cubic BaTiO3 (Pm-3m, one channel an element) on a periodic voxel grid, the target
that of a phase: Ti moved along [001] (P4mm), [110] (Amm2) or [111] (R3m), the oxygens against it. A strict network is stuck at
the mean over all equivalent directions. The weights of a relaxed one become functions on Oh that keep only the symmetry of the
phase, so by Frobenius reciprocity they contain exactly the irreps of the permutation representation on its domains:

    P4mm (C4v, 6 domains): A1g + Eg + T1u      Amm2 (C2v, 12): A1g + Eg + T2g + T1u + T2u      R3m (C3v, 8): A1g + T2g + T1u + A2u

A primary order parameter is a part that alone leaves no more than the symmetry of the phase. Displacements are of the size of the
measured ones (some 0.05 of the cell for Ti against O; Kwei et al., J. Phys. Chem. 97, 2368 (1993)), cells are kept cubic.

After Wang et al., ICML 2024, whose public code exchanges the classes of C4 and S4, so that it prints T2u for T1u.
"""

import argparse
import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tesseral.groups import generate, point_group
from tesseral.symmetry import GroupConvolution, GroupLift, GroupProjection, on_group

PHASES = {"P4mm": (0, 0, 1), "Amm2": (1, 1, 0), "R3m": (1, 1, 1)}
SITES = {"Ba": [(0.5, 0.5, 0.5)], "Ti": [(0, 0, 0)], "O": [(0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]}


def density(direction: tuple[float, ...], points: int = 8, width: float = 0.12) -> Tensor:
    """Densities (1, 3, points, points, points) of Ba, Ti, O, as Gaussians, the cell as the unit of length; Ti at the origin."""
    axis = np.array(direction, dtype=float)
    axis = axis / max(np.linalg.norm(axis), 1.0)
    shift = {"Ba": 0.0, "Ti": 0.03, "O": -0.02}
    grid = (np.stack(np.meshgrid(*[np.arange(points)] * 3, indexing="ij"), -1) + 0.0) / points
    channels = []
    for element, sites in SITES.items():
        total = np.zeros(grid.shape[:3])
        for site in sites:
            along = shift[element] * axis
            if element == "O":  # an oxygen moves more along its own Ti-O bond, as it does in the measured structures
                along = along * (1 + 0.5 * (np.array(site) > 0))
            for image in itertools.product((-1, 0, 1, 2), repeat=3):
                distance = grid - (np.array(site) + along + image)
                total += np.exp(-(distance**2).sum(-1) / (2 * width**2))
        channels.append(total)
    return torch.tensor(np.array(channels))[None]


class Network(nn.Module):
    """Lift, one group convolution, projection; density in, density out."""

    def __init__(self, filters: int, channels: int = 2) -> None:
        super().__init__()
        group = point_group("Oh")
        options = {"filters": filters, "dtype": torch.float64}
        self.lift = GroupLift("3x0e", channels, group, **options)
        self.convolution = GroupConvolution(channels, channels, group, **options)
        self.projection = GroupProjection(channels, "3x0e", group, **options)
        self.projection.weight.data *= 0.01  # it starts close to doing nothing

    def forward(self, density: Tensor) -> Tensor:
        features = functional.silu(self.lift(density))
        features = functional.silu(self.convolution(features))
        return density + self.projection(features)

    def relaxations(self) -> list[Tensor]:
        return [layer.relaxation.weight for layer in (self.lift, self.convolution, self.projection)]


def fit(phase: str, filters: int, steps: int) -> tuple[Network, float]:
    """Train to turn the cubic density into that of a phase; the loss is relative to doing nothing."""
    torch.manual_seed(0)
    network = Network(filters)
    cubic, target = density((0, 0, 0)), density(PHASES[phase])
    scale = float((target - cubic).square().mean())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(cubic) - target).square().mean() / scale
        loss.backward()
        optimizer.step()
    return network, float(loss.detach())


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="fewer steps")
    options = parser.parse_args(argv)
    group, results = point_group("Oh"), {}
    for phase, direction in PHASES.items():
        kept = generate([m for m in group.elements if np.allclose(m @ direction, direction)])
        _, strict = fit(phase, 0, 3 if options.smoke else 100)
        network, loss = fit(phase, 1, 8 if options.smoke else 200)
        print(f"\nPm-3m -> {phase} ({kept.name}): loss {strict:.3f} strict, {loss:.3f} relaxed, of that of doing nothing")
        found = {}
        for weight in network.relaxations():
            for part in on_group(group, weight[0]):
                if part.label not in found or part.strength > found[part.label].strength:
                    found[part.label] = part
        for part in found.values():
            if part.strength > 1e-6:
                primary = ", primary" if part.stabilizer.order == kept.order else ""
                print(f"  {part}{primary}")
        rest = max(part.strength for part in found.values() if part.strength <= 1e-6)
        print(f"  every other irrep: at most {rest:.0e}")
        results[phase] = {"parts": found, "kept": kept, "strict": strict, "relaxed": loss, "rest": rest}
    return results


if __name__ == "__main__":
    main()
