"""A hundred small molecules in one batch of TorchSim against one after another through ASE and through TorchSim.

    python -m benchmarks.torchsim_batch

Needs the extra `torchsim`. Ratios of processor times of the same steps, alternated; medians.
"""

from __future__ import annotations

import time

import ase
import numpy as np
import torch
import torch_sim as ts
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.torchsim import Model
from tesseral.models import NequIPSettings, build

NAMES = ("CH3CH2OH", "CH3OH", "H2O", "C2H6", "CH4", "H2CO", "C2H4", "CH3CHO", "HCOOH", "C2H2")


def main(count: int = 100, steps: int = 5, rounds: int = 3) -> None:
    """Print how many times less a batch costs."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    settings = NequIPSettings(species=(1, 6, 8), num_neighbors=6.0, layers=2, channels=16, lmax=1, cutoff=4.0)
    network = build(settings)
    molecules = [molecule(NAMES[i % len(NAMES)]) for i in range(count)]
    for atoms in molecules:
        atoms.set_cell(np.eye(3) * 20)
    ratios = []
    for _ in range(rounds):
        times = [_timed(run, molecules, network, steps) for run in (_batch, _one_by_one, _through_ase)]
        ratios.append((times[1] / times[0], times[2] / times[0]))
        print(f"batch {times[0]:.2f} s, one by one {times[1]:.2f} s, through ASE {times[2]:.2f} s", flush=True)
    middle = [sorted(column)[rounds // 2] for column in zip(*ratios)]
    print(f"{count} molecules, {steps} steps: one by one costs {middle[0]:.1f}x a batch, through ASE {middle[1]:.1f}x")


def _timed(run, molecules: list[ase.Atoms], network: torch.nn.Module, steps: int) -> float:
    begun = time.process_time()
    run([atoms.copy() for atoms in molecules], network, steps)
    return time.process_time() - begun


def _batch(molecules: list[ase.Atoms], network: torch.nn.Module, steps: int) -> None:
    model = Model(network, compute_stress=False)
    ts.integrate(system=molecules, model=model, integrator=ts.nve, n_steps=steps, timestep=0.0005, temperature=300)


def _one_by_one(molecules: list[ase.Atoms], network: torch.nn.Module, steps: int) -> None:
    for atoms in molecules:
        _batch([atoms], network, steps)


def _through_ase(molecules: list[ase.Atoms], network: torch.nn.Module, steps: int) -> None:
    for atoms in molecules:
        atoms.calc = Calculator(network)
        VelocityVerlet(atoms, 0.5 * units.fs).run(steps)


if __name__ == "__main__":
    main()
