"""Write trained/: checkpoints of a few steps of training by mace-torch 0.3.16, nequip 0.19.1 and nequip-allegro 0.8.3.

Run in environments that have them, with the name of the package, in an empty folder:

    python tests/models/golden/make_trained.py mace|nequip|allegro

Labels are those of ASE's EMT; of nequip's checkpoints the optimiser and the paths are left out.
"""

import lzma
import subprocess
import sys
import zipfile
from pathlib import Path

import ase.build
import ase.io
import numpy as np
from ase.calculators.emt import EMT

OUT = Path(__file__).parent / "trained"
MODELS = {
    "nequip": {
        "_target_": "nequip.model.NequIPGNNModel", "num_layers": 2, "l_max": 1, "parity": True, "num_features": [5, 3],
        "radial_mlp_depth": 1, "radial_mlp_width": 8,
    },
    "allegro": {
        "_target_": "allegro.model.AllegroModel", "num_layers": 2, "l_max": 1, "num_scalar_features": 6,
        "num_tensor_features": 4, "allegro_mlp_hidden_layers_width": 8,
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 5},
    },
}  # fmt: skip
ENERGIES = {"C": 3.0, "H": 3.1, "O": 4.0}


def frames(count: int = 14) -> list:
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        atoms = ase.build.molecule("CH3CH2OH")
        atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        found.append(atoms)
    return found


def store(name: str, file: Path, atoms, energy, forces) -> None:
    OUT.mkdir(exist_ok=True)
    suffix = file.suffix
    (OUT / f"{name}{suffix}.xz").write_bytes(lzma.compress(file.read_bytes(), preset=9))
    arrays = {"numbers": atoms.numbers, "positions": atoms.positions, "energy": energy, "forces": forces}
    np.savez_compressed(OUT / f"{name}.npz", **arrays)
    print(name, energy, np.abs(forces).max())


def train_mace() -> None:
    import torch
    from mace import data
    from mace.tools import torch_geometric, utils
    from make_mace import SMALL, build_model, evaluate

    torch.set_default_dtype(torch.float64)
    model = build_model(SMALL["residual"])
    table = utils.AtomicNumberTable([1, 6, 8])
    batches = []
    for atoms in frames():
        configuration = data.config_from_atoms(atoms)
        batches.append(data.AtomicData.from_config(configuration, z_table=table, cutoff=float(model.r_max)))
    loader = torch_geometric.dataloader.DataLoader(batches, batch_size=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    targets = torch.tensor(np.concatenate([atoms.get_forces() for atoms in frames()]))
    for _ in range(10):
        start = 0
        for batch in loader:
            forces = model(batch.to_dict(), training=True)["forces"]
            loss = (forces - targets[start : start + len(forces)]).square().mean()
            start += len(forces)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(float(loss))
    torch.save(model, "mace.model")
    atoms = frames()[0]
    found = evaluate(model, atoms, "Default")
    store("mace", Path("mace.model"), atoms, found["energy"], found["forces"])


def train_nequip(name: str) -> None:
    import torch
    import yaml
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model.saved_models.checkpoint import ModelFromCheckpoint
    from nequip.utils.global_state import set_global_state

    types, cutoff = ["C", "H", "O"], 4.0
    ase.io.write("train.xyz", frames())
    model = MODELS[name] | {
        "seed": 3, "model_dtype": "float64", "type_names": types, "r_max": cutoff, "avg_num_neighbors": 7.5,
        "per_type_energy_scales": {"C": 1.4, "H": 0.7, "O": 1.3}, "per_type_energy_shifts": ENERGIES,
    }  # fmt: skip
    mapper = {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": types}
    neighbors = {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": cutoff}
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 5}
    saver = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "saved", "save_last": True}
    settings = {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": 1, "transforms": [mapper, neighbors],
            "split_dataset": {"file_path": "train.xyz", "train": 10, "val": 2, "test": 2},
            "train_dataloader": loader, "val_dataloader": loader,
            "stats_manager": {"_target_": "nequip.data.CommonDataStatisticsManager", "type_names": types},
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": 3, "enable_progress_bar": False,
            "logger": False, "callbacks": [saver],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.5, "model": model,
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"forces_mae": 1.0}},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        },
        "global_options": {"allow_tf32": False},
    }  # fmt: skip
    Path("settings.yaml").write_text(yaml.safe_dump(settings))
    folder = Path.cwd()
    subprocess.run([Path(sys.executable).with_name("nequip-train"), "-cp", folder, "-cn", "settings.yaml",
                    f"hydra.run.dir={folder}"], check=True)  # fmt: skip
    set_global_state()
    trained = ModelFromCheckpoint("saved/last.ckpt")["sole_model"]
    atoms = frames()[0]
    item = from_ase(atoms)
    for transform in (ChemicalSpeciesToAtomTypeMapper(types), NeighborListTransform(r_max=cutoff)):
        item = transform(item)
    out = trained(AtomicDataDict.batched_from_list([item]))
    content = torch.load("saved/last.ckpt", weights_only=False)
    kept = {"state_dict": content["state_dict"], "hyper_parameters": {"model": content["hyper_parameters"]["model"]}}
    torch.save(kept, f"{name}.ckpt")
    store(name, Path(f"{name}.ckpt"), atoms, out["total_energy"].detach().numpy(), out["forces"].detach().numpy())
    subprocess.run([Path(sys.executable).with_name("nequip-package"), "build", "saved/last.ckpt", "full.nequip.zip"], check=True)
    store_package(name, Path("full.nequip.zip"))


def store_package(name: str, file: Path) -> None:
    """The package with its program code emptied: other people's, and not read."""
    with zipfile.ZipFile(file) as full, zipfile.ZipFile(f"{name}.nequip.zip", "w") as slim:
        for entry in full.namelist():
            if entry.endswith(("_data.pkl", "compile_model.pkl")):
                continue
            slim.writestr(zipfile.ZipInfo(entry), b"" if entry.endswith(".py") else full.read(entry))
    (OUT / f"{name}.nequip.zip.xz").write_bytes(lzma.compress(Path(f"{name}.nequip.zip").read_bytes(), preset=9))


if __name__ == "__main__":
    train_mace() if sys.argv[1] == "mace" else train_nequip(sys.argv[1])
