"""Write allegro.npz: weights, energies, forces and stress of small random models of nequip-allegro 0.8.3, in float64.

Run in an environment that has nequip 0.19.1 and nequip-allegro 0.8.3: python tests/models/golden/make_allegro.py
"""

from pathlib import Path

import numpy as np

COMMON = {
    "num_scalar_features": 6, "num_tensor_features": 4, "scalar_embed_mlp_hidden_layers_width": 7,
    "allegro_mlp_hidden_layers_width": 8, "readout_mlp_hidden_layers_width": 5,
}  # fmt: skip
CASES = {
    "parity": COMMON | {"num_layers": 3, "l_max": 2, "parity": True, "radial_chemical_embed_dim": 8},
    "natural": COMMON | {"num_layers": 1, "l_max": 1, "parity": False, "tp_path_channel_coupling": False},
}


def main() -> None:
    from allegro.model import AllegroModel
    from make_nequip import structures  # beside this file
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.utils.global_state import set_global_state

    set_global_state()
    names = ["H", "C", "O"]
    transforms = [ChemicalSpeciesToAtomTypeMapper(names), NeighborListTransform(r_max=4.0)]
    arrays = {}
    for case, settings in CASES.items():
        model = AllegroModel(
            seed=1, model_dtype="float64", r_max=4.0, type_names=names, avg_num_neighbors=11.0,
            radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 5},
            per_type_energy_scales={"H": 1.5, "C": 2.0, "O": 0.5},
            per_type_energy_shifts={"H": -13.6, "C": -1000.0, "O": -2000.0}, **settings,
        )  # fmt: skip
        for name, value in model.state_dict().items():
            if value.numel() and ("weight" in name) and value.is_floating_point():
                arrays[f"{case}/{name.split('model.')[-1].removeprefix('func.')}"] = value.numpy()
        for label, atoms in structures().items():
            data = from_ase(atoms)
            for transform in transforms:
                data = transform(data)
            out = model(AtomicDataDict.batched_from_list([data]))
            key = f"{case}/{label}"
            arrays[f"{key}/numbers"], arrays[f"{key}/positions"] = atoms.numbers, atoms.positions
            arrays[f"{key}/cell"], arrays[f"{key}/pbc"] = atoms.cell.array, atoms.pbc
            arrays[f"{key}/energy"] = out[AtomicDataDict.TOTAL_ENERGY_KEY].detach().numpy()
            arrays[f"{key}/forces"] = out[AtomicDataDict.FORCE_KEY].detach().numpy()
            if label == "crystal":
                arrays[f"{key}/stress"] = out[AtomicDataDict.STRESS_KEY].detach().numpy()
    np.savez_compressed(Path(__file__).with_name("allegro.npz"), **arrays)
    print("\n".join(f"{name} {value.shape}" for name, value in arrays.items()))


if __name__ == "__main__":
    main()
