"""Super-resolution of turbulence: a CNN, an Oh-equivariant and a relaxed network with the same number of parameters.

All have one architecture (lift, three separable convolutions, sub-voxels); the CNN leaves out the group, and is shown with ten
times the parameters too.

    python recipes/super_resolution.py                       # both flows, three seeds: some 20 CPU minutes
    python recipes/super_resolution.py --smoke               # the same in seconds, for the tests; its numbers mean nothing

A pseudo-spectral solver makes two turbulent flows in a periodic box: *isotropic*, kept going by holding the energy of the
largest eddies, and *sheared*, driven by a force sin(y) along x (Kolmogorov flow), whose statistics are not those of the cube.
Networks see velocities averaged over blocks of 2 x 2 x 2 voxels and predict the velocities at full resolution, as a correction
of a trilinear interpolation. Test snapshots come later in time than all training snapshots. The error is the mean absolute error
of the velocity in units of its standard deviation; the spread is the standard deviation over seeds.

After Wang et al., ICML 2024, who have 3 x 32^3 -> 128^3 and report 0.122, 0.112, 0.100 (CNN, equivariant, relaxed; isotropic).
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tesseral.groups import point_group
from tesseral.symmetry import GroupLift, GroupProjection, SeparableGroupConvolution, on_group

FLOWS = ("isotropic", "sheared")
NETWORKS = ("cnn", "cnn x10", "equivariant", "relaxed")


def simulate(flow: str, snapshots: int, points: int, viscosity: float, seed: int = 0, interval: float = 0.5) -> Tensor:
    """Velocities (snapshots, 3, points, points, points) of an incompressible flow in a box of side 2π, after a start-up of 10."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.fft.fftfreq(points, 1 / points)
    waves = torch.stack(torch.meshgrid(k, k, k[: points // 2 + 1].abs(), indexing="ij"))
    k2 = waves.square().sum(0)
    kept = (waves.abs() < points / 3).all(0)  # two thirds: products of kept waves do not fold back on kept waves
    large = (k2 > 0) & (k2 <= 6.5)
    y = torch.arange(points) * (2 * torch.pi / points)
    force = torch.zeros(3, points, points, points)
    force[0] = torch.sin(y)[None, :, None] if flow == "sheared" else 0.0
    force = torch.fft.rfftn(force, dim=(1, 2, 3))

    def project(u: Tensor) -> Tensor:
        return (u - waves * (waves * u).sum(0) / k2.clamp_min(1)) * kept

    def tendency(u: Tensor) -> Tensor:
        vorticity = torch.fft.irfftn(1j * torch.linalg.cross(waves.to(u), u, dim=0), dim=(1, 2, 3))
        velocity = torch.fft.irfftn(u, dim=(1, 2, 3))
        return project(torch.fft.rfftn(torch.linalg.cross(velocity, vorticity, dim=0), dim=(1, 2, 3)) + force)

    noise = torch.randn(3, points, points, points, generator=generator)
    u = project(torch.fft.rfftn(noise, dim=(1, 2, 3)) * torch.exp(-k2 / 4) * (k2 > 0))  # the box does not drift
    u *= 1.0 / torch.fft.irfftn(u, dim=(1, 2, 3)).std()
    energy = (u.abs().square() * large).sum()
    step = 0.32 / points
    decay = torch.exp(-viscosity * k2 * step)
    frames, every, start = [], round(interval / step), round(10.0 / step) if snapshots > 4 else 0
    for count in range(start + every * snapshots):
        first = tendency(u)
        second = tendency((u + step * first) * decay)
        u = (u + step / 2 * first) * decay + step / 2 * second  # Heun's method, viscosity exactly
        if flow == "isotropic":
            u = torch.where(large, u * (energy / (u.abs().square() * large).sum()).sqrt(), u)
        if count >= start and (count - start) % every == every - 1:
            frames.append(torch.fft.irfftn(u, dim=(1, 2, 3)))
    return torch.stack(frames)


def interpolate(coarse: Tensor) -> Tensor:
    """Twice as many points in each direction, trilinear and periodic."""
    padded = functional.pad(coarse, [1] * 6, mode="circular")
    return functional.interpolate(padded, scale_factor=2, mode="trilinear", align_corners=False)[..., 2:-2, 2:-2, 2:-2]


class CNN(nn.Module):
    """Lift, separable convolutions with residual connections, and a last layer that makes the 8 sub-voxels of each voxel."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        space = {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}
        self.first = nn.Conv3d(3, channels, **space)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv3d(channels, channels, 1), nn.Conv3d(channels, channels, groups=channels, **space))
                for _ in range(blocks)
            ]
        )
        self.last = nn.Conv3d(channels, 24, 1)

    def forward(self, coarse: Tensor) -> Tensor:
        x = functional.silu(self.first(coarse))
        for block in self.blocks:
            x = x + functional.silu(block(x))
        out = self.last(x).unflatten(1, (3, 2, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return interpolate(coarse) + out.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class GroupNetwork(nn.Module):
    """The same with convolutions on the group of the cube; strict for ``filters=0``."""

    def __init__(self, channels: int, blocks: int, group: object, filters: int) -> None:
        super().__init__()
        self.first = GroupLift("1o", channels, group, filters=filters)
        layers = [SeparableGroupConvolution(channels, channels, group, filters=filters) for _ in range(blocks)]
        self.blocks = nn.ModuleList(layers)
        self.last = GroupProjection(channels, "1o", group, upsample=(2, 2, 2), filters=filters)

    def forward(self, coarse: Tensor) -> Tensor:
        x = functional.silu(self.first(coarse))
        for block in self.blocks:
            x = x + functional.silu(block(x))
        return interpolate(coarse) + self.last(x)


def build(name: str, group: object, channels: int, blocks: int) -> nn.Module:
    """A network of that name; a CNN has as many channels as the parameters of the relaxed one (or ten times as many) allow."""
    if not name.startswith("cnn"):
        return GroupNetwork(channels, blocks, group, filters=1 if name == "relaxed" else 0)
    budget = size(GroupNetwork(channels, blocks, group, filters=1)) * (10 if name == "cnn x10" else 1)
    return CNN(min(range(2, 256), key=lambda n: abs(size(CNN(n, blocks)) - budget)), blocks)


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def train(network: nn.Module, fine: Tensor, steps: int, generator: torch.Generator) -> nn.Module:
    """Adam with a learning rate that falls to zero, one snapshot a step."""
    coarse = functional.avg_pool3d(fine, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        i = int(torch.randint(len(fine), (1,), generator=generator))
        optimizer.zero_grad()
        loss = (network(coarse[i : i + 1]) - fine[i : i + 1]).abs().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def score(network: Callable[[Tensor], Tensor], fine: Tensor) -> float:
    coarse = functional.avg_pool3d(fine, 2)
    return statistics.mean(float((network(c[None]) - f).abs().mean()) for c, f in zip(coarse, fine, strict=True))


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--points", type=int, default=24, help="voxels along a side of the fine grid")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes; the numbers mean nothing")
    parser.add_argument("--output", type=pathlib.Path, help="write the results to this JSON file")
    options = parser.parse_args(argv)
    if options.smoke:
        options.seeds, options.steps, options.channels, options.points = [0], 2, 1, 8
    group, blocks = point_group("Oh"), 3
    training, test = (2, 1) if options.smoke else (24, 8)
    results: dict = {"settings": {k: v for k, v in vars(options).items() if k != "output"}, "flows": {}}
    for flow in options.flows:
        began = time.process_time()
        fine = simulate(flow, training + test + (0 if options.smoke else 4), options.points, viscosity=0.04)
        fine = fine / fine.std()
        print(f"{flow}: {len(fine)} snapshots of {options.points}^3 in {time.process_time() - began:.0f} CPU s", flush=True)
        rows: dict = {"interpolation": {"errors": [score(interpolate, fine[-test:])], "parameters": 0}}
        for name in options.networks:
            errors, breaking = [], []
            for seed in options.seeds:
                torch.manual_seed(seed)
                network = build(name, group, options.channels, blocks)
                train(network, fine[:training], options.steps, torch.Generator().manual_seed(seed))
                errors.append(score(network, fine[-test:]))
                if name == "relaxed":
                    breaking.append(spread(network, group))
                print(f"  {name} seed {seed}: {errors[-1]:.4f}, {time.process_time() - began:.0f} CPU s", flush=True)
            rows[name] = {"errors": errors, "parameters": size(network), "breaking": breaking}
        results["flows"][flow] = rows
        report(flow, rows)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1))
    return results


def spread(network: nn.Module, group: object) -> dict[str, float]:
    """Strengths of the irreps of Oh in the relaxed weights, root mean square over the layers."""
    weights = [p for name, p in network.named_parameters() if name.endswith("relaxation.weight")]
    found = [{part.label: part.strength for part in on_group(group, w[0])} for w in weights]
    return {label: statistics.mean(f[label] ** 2 for f in found) ** 0.5 for label in found[0]}


def report(flow: str, rows: dict) -> None:
    print(f"\n{flow}: mean absolute error in standard deviations of the velocity")
    for name, row in rows.items():
        errors = row["errors"]
        deviation = statistics.stdev(errors) if len(errors) > 1 else 0.0
        print(f"  {name:14} {row['parameters']:6d} parameters   {statistics.mean(errors):.4f} ± {deviation:.4f}")
    learned = rows.get("relaxed", {}).get("breaking", [])
    for label in learned[0] if learned else ():
        print(f"  breaking {label:4} {statistics.mean(b[label] for b in learned):.3f}")
    print(flush=True)


if __name__ == "__main__":
    main()
