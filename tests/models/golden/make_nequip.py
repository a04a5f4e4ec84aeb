"""Write nequip.npz: weights, energies, forces and stress of small random models of nequip 0.19.1, in float64.

Run in an environment that has nequip 0.19.1: python tests/models/golden/make_nequip.py
"""

from pathlib import Path

import ase.build
import numpy as np
import torch
from ase import Atoms

CASES = {
    "parity": {"num_layers": 3, "l_max": 2, "parity": True, "num_features": [6, 4, 3], "radial_mlp_depth": 2},
    "natural": {"num_layers": 2, "l_max": 1, "parity": False, "num_features": 5, "radial_mlp_depth": 1},
}


def structures() -> dict[str, Atoms]:
    rng = np.random.default_rng(0)
    molecule = ase.build.molecule("CH3CH2OH")
    crystal = ase.build.bulk("MgO", "rocksalt", a=4.2).repeat((2, 1, 1))
    crystal.symbols[:] = ["C", "O", "C", "H"]
    for atoms in (molecule, crystal):
        atoms.positions += 0.1 * rng.standard_normal(atoms.positions.shape)
    return {"molecule": molecule, "crystal": crystal}


def main() -> None:
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    names = ["H", "C", "O"]
    transforms = [ChemicalSpeciesToAtomTypeMapper(names), NeighborListTransform(r_max=4.0)]
    arrays = {}
    for case, settings in CASES.items():
        model = NequIPGNNModel(
            seed=1, model_dtype="float64", r_max=4.0, type_names=names, radial_mlp_width=8, avg_num_neighbors=11.0,
            per_type_energy_scales={"H": 1.5, "C": 2.0, "O": 0.5},
            per_type_energy_shifts={"H": -13.6, "C": -1000.0, "O": -2000.0}, **settings,
        )  # fmt: skip
        for name, value in model.state_dict().items():
            if name.endswith("weight") and value.numel() and "gate" not in name:
                arrays[f"{case}/{name.split('model.')[-1].removeprefix('func.')}"] = value.numpy()
        for label, atoms in structures().items():
            data = from_ase(atoms)
            for transform in transforms:
                data = transform(data)
            data = AtomicDataDict.batched_from_list([data])
            out = model(data)
            key = f"{case}/{label}"
            arrays[f"{key}/numbers"], arrays[f"{key}/positions"] = atoms.numbers, atoms.positions
            arrays[f"{key}/cell"], arrays[f"{key}/pbc"] = atoms.cell.array, atoms.pbc
            arrays[f"{key}/energy"] = out[AtomicDataDict.TOTAL_ENERGY_KEY].detach().numpy()
            arrays[f"{key}/forces"] = out[AtomicDataDict.FORCE_KEY].detach().numpy()
            if label == "crystal":
                arrays[f"{key}/stress"] = out[AtomicDataDict.STRESS_KEY].detach().numpy()
    torch.manual_seed(0)
    np.savez_compressed(Path(__file__).with_name("nequip.npz"), **arrays)
    print("\n".join(f"{name} {value.shape}" for name, value in arrays.items()))


if __name__ == "__main__":
    main()
