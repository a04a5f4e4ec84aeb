"""One side of benchmarks/molecular_dynamics.py: `molecular_dynamics.py tesseral|nequip|mace nequip|mace FILE ATOMS STEPS`.

`molecular_dynamics.py write nequip|mace FILE` makes the weights, in an environment that has the program.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.units
import numpy as np
import torch
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

sys.path.insert(0, str(Path(__file__).parents[2]))
CUTOFF, NEIGHBORS = 5.0, 28.0
NEQUIP = {
    "model_dtype": "float32", "r_max": CUTOFF, "type_names": ["Si"], "num_layers": 3, "l_max": 1, "parity": True,
    "num_features": 32, "radial_mlp_depth": 2, "radial_mlp_width": 64, "avg_num_neighbors": NEIGHBORS,
    "per_type_energy_scales": 1.0, "per_type_energy_shifts": {"Si": 0.0},
}  # fmt: skip


def silicon(atoms: int) -> ase.Atoms:
    crystal = ase.build.bulk("Si", a=5.43) * {1000: (5, 10, 10), 10000: (10, 20, 25)}[atoms]
    crystal.rattle(0.05, seed=0)
    return crystal


def write(kind: str, file: str) -> None:
    if kind == "nequip":
        from nequip.model import NequIPGNNModel
        from nequip.utils.global_state import set_global_state

        set_global_state()
        model = NequIPGNNModel(seed=0, **NEQUIP)
        torch.save({name: value.detach() for name, value in model.state_dict().items()}, file)
        return
    from mace import modules
    from mace.calculators import MACECalculator  # noqa: F401  before e3nn, whose constants it allows torch to load

    from e3nn import o3  # isort: skip

    torch.manual_seed(0)
    block = modules.blocks.RealAgnosticResidualInteractionBlock
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF, num_bessel=8, num_polynomial_cutoff=5, max_ell=2, interaction_cls=block, interaction_cls_first=block,
        num_interactions=2, num_elements=1, hidden_irreps=o3.Irreps("32x0e+32x1o"), MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros((1, 1)), avg_num_neighbors=NEIGHBORS, atomic_numbers=[14],
        correlation=2, gate=torch.nn.functional.silu, use_reduced_cg=False, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    torch.save(model, file)


def calculator(side: str, kind: str, file: str) -> Any:
    if side == "tesseral":
        from tesseral.interfaces.ase import Calculator
        from tesseral.interfaces.import_mace import read_mace
        from tesseral.interfaces.import_nequip import from_settings

        if kind == "mace":
            return Calculator(read_mace(Path(file)).requires_grad_(False))
        weights = {name.removeprefix("model.func.").removeprefix("func."): value for name, value in torch.load(file).items()}
        settings = {"_target_": "nequip.model.NequIPGNNModel", **NEQUIP}
        return Calculator(from_settings(settings, weights).to(torch.float32).requires_grad_(False))
    if kind == "mace":
        from mace.calculators import MACECalculator

        return MACECalculator(model_paths=file, device="cpu", default_dtype="float32")
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.integrations.ase import NequIPCalculator
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    model = NequIPGNNModel(seed=0, **NEQUIP).eval()
    model.load_state_dict(torch.load(file))
    return NequIPCalculator(
        model, "cpu", transforms=[ChemicalSpeciesToAtomTypeMapper(["Si"]), NeighborListTransform(r_max=CUTOFF)]
    )


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1] == "write":
        write(*sys.argv[2:4])
        return
    side, kind, file, atoms, steps = sys.argv[1:6]
    crystal = silicon(int(atoms))
    crystal.calc = calculator(side, kind, file)
    start = crystal.get_forces()[0].tolist()
    MaxwellBoltzmannDistribution(crystal, temperature_K=300, rng=np.random.RandomState(0))
    dynamics = VelocityVerlet(crystal, 1.0 * ase.units.fs)
    dynamics.run(1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"memory_MB": memory, "force_0": start}), flush=True)
    for _ in sys.stdin:
        before = time.process_time()
        dynamics.run(int(steps))
        print(json.dumps({"seconds": time.process_time() - before}), flush=True)


main()
