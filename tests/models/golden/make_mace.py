"""Write random models of mace-torch 0.3.16 as it saves them, with their energies, forces and stress in float64.

Run in an environment that has mace-torch 0.3.16:

    python tests/models/golden/make_mace.py                  the small models of the tests, compressed, beside this file
    python tests/models/golden/make_mace.py FOLDER CASE ...  models of the published sizes, for the comparison on demand
"""

import lzma
import sys
import time
from pathlib import Path

import ase.build
import numpy as np
from ase import Atoms

RESIDUAL, DENSITY, PLAIN = "RealAgnosticResidual", "RealAgnosticDensity", "RealAgnostic"
ORGANIC = [1, 6, 7, 8, 9, 15, 16, 17, 35, 53]
MP = {
    "r_max": 6.0, "num_bessel": 10, "num_polynomial_cutoff": 5, "max_ell": 3, "first": RESIDUAL, "later": RESIDUAL,
    "correlation": 3, "neighbors": 61.96, "elements": list(range(1, 90)), "scale": 0.8042, "shift": 0.1641,
}  # fmt: skip
MPA = MP | {"first": DENSITY, "later": DENSITY + "Residual", "pair_repulsion": True, "distance_transform": "Agnesi"}
OFF = MP | {"r_max": 5.0, "num_bessel": 8, "elements": ORGANIC, "neighbors": 24.2, "scale": 1.14, "shift": 0.0}

PUBLISHED = {
    "mp0-small": MP | {"hidden": "128x0e"},
    "mp0-medium": MP | {"hidden": "128x0e+128x1o"},
    "mp0-large": MP | {"hidden": "128x0e+128x1o+128x2e"},
    "mpa0-medium": MPA | {"hidden": "128x0e+128x1o"},
    "off23-small": OFF | {"hidden": "96x0e", "r_max": 4.5},
    "off23-medium": OFF | {"hidden": "128x0e+128x1o"},
    "off23-large": OFF | {"hidden": "192x0e+192x1o+192x2e"},
}
TINY = {"elements": [1, 6, 8], "r_max": 4.0, "num_bessel": 4, "neighbors": 9.0, "radial_MLP": [8, 8], "mlp": 6}
SMALL = {
    "residual": MP | TINY | {"hidden": "4x0e+4x1o", "max_ell": 2},
    "density": MPA | TINY | {"hidden": "3x0e+3x1o", "max_ell": 2, "correlation": 2, "heads": ["pbe", "r2scan"]},
    "plain": MP | TINY | {
        "hidden": "3x0e+3x1o+3x2e", "max_ell": 2, "first": PLAIN, "later": DENSITY + "Residual", "correlation": [2, 1, 2],
        "distance_transform": "Soft", "apply_cutoff": False, "num_interactions": 3, "edge_irreps": "3x0e+2x1o+1x2e",
        "use_agnostic_product": True,
    },
    "parity": MP | TINY | {
        "hidden": "3x0e+3x0o+3x1o+3x1e", "max_ell": 1, "correlation": 2, "num_interactions": 3, "use_last_readout_only": True,
        "radial_type": "gaussian",
    },
    "scalar": MP | TINY | {"hidden": "5x0e", "max_ell": 3, "num_interactions": 1, "unscaled": True},
}  # fmt: skip


def structures(elements: list[int]) -> dict[str, Atoms]:
    rng = np.random.default_rng(0)
    molecule = ase.build.molecule("CH3CH2OH")
    crystal = ase.build.bulk("MgO", "rocksalt", a=4.2).repeat((2, 1, 1))
    crystal.symbols[:] = ["C", "O", "C", "H"]
    if 22 in elements:
        crystal.symbols[:] = ["Ti", "O", "Sr", "O"]
    crystal.cell = crystal.cell + 0.1 * rng.standard_normal((3, 3))
    for atoms in (molecule, crystal):
        atoms.positions += 0.1 * rng.standard_normal(atoms.positions.shape)
    molecule.positions[3] = molecule.positions[0] + [0.5, 0.4, 0.2]  # within the reach of the repulsion
    return {"molecule": molecule, "crystal": crystal}


def build_model(case: dict, seed: int = 1):
    import torch
    from mace import modules  # before e3nn, whose constants it allows torch to load

    from e3nn import o3  # isort: skip

    torch.manual_seed(seed)
    case = dict(case)
    elements, heads = case.pop("elements"), case.get("heads", ["default"])
    rng = np.random.default_rng(seed)
    energies = -1000 * rng.random((len(heads), len(elements)))
    classes = {name: getattr(modules.blocks, case.pop(name) + "InteractionBlock") for name in ("first", "later")}
    scale, shift = case.pop("scale"), case.pop("shift")
    common = {
        "interaction_cls": classes["later"], "interaction_cls_first": classes["first"],
        "num_interactions": case.pop("num_interactions", 2), "num_elements": len(elements),
        "hidden_irreps": o3.Irreps(case.pop("hidden")), "MLP_irreps": o3.Irreps(f"{case.pop('mlp', 16)}x0e"),
        "atomic_energies": energies, "avg_num_neighbors": case.pop("neighbors"), "atomic_numbers": elements,
        "gate": torch.nn.functional.silu, "use_reduced_cg": False,
    }  # fmt: skip
    if "edge_irreps" in case:
        case["edge_irreps"] = o3.Irreps(case["edge_irreps"])
    if case.pop("unscaled", False):
        return modules.MACE(**common, **case)
    scales = scale if len(heads) == 1 else list(scale * np.arange(1, 1 + len(heads)))
    shifts = shift if len(heads) == 1 else list(shift * np.arange(1, 1 + len(heads)))
    return modules.ScaleShiftMACE(atomic_inter_scale=scales, atomic_inter_shift=shifts, **common, **case)


def evaluate(model, atoms: Atoms, head: str) -> dict:
    from mace import data
    from mace.tools import torch_geometric, utils

    table = utils.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    configuration = data.config_from_atoms(atoms, head_name=head)
    item = data.AtomicData.from_config(configuration, z_table=table, cutoff=float(model.r_max), heads=model.heads)
    batch = next(iter(torch_geometric.dataloader.DataLoader([item], batch_size=1)))
    out = model(batch.to_dict(), compute_stress=bool(atoms.pbc.all()))
    found = {"energy": out["energy"], "forces": out["forces"]} | ({"stress": out["stress"]} if atoms.pbc.all() else {})
    return {name: value.detach().double().numpy() for name, value in found.items()}


def reference(model, elements: list[int]) -> dict[str, np.ndarray]:
    arrays = {}
    for label, atoms in structures(elements).items():
        arrays[f"{label}/numbers"], arrays[f"{label}/positions"] = atoms.numbers, atoms.positions
        arrays[f"{label}/cell"], arrays[f"{label}/pbc"] = atoms.cell.array, atoms.pbc
        for head in model.heads:
            for name, value in evaluate(model, atoms, head).items():
                arrays[f"{label}/{head}/{name}"] = value
    return arrays


def write(folder: Path, name: str, case: dict, compress: bool) -> None:
    import torch

    start = time.perf_counter()
    model = build_model(case)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and zeroed weights would hide mistakes
            parameter.add_(0.01 * torch.randn_like(parameter))
    file = folder / f"{name}.model"
    torch.save(model, file)
    np.savez_compressed(folder / f"{name}.npz", **reference(model, case["elements"]))
    if compress:
        file.with_suffix(".model.xz").write_bytes(lzma.compress(file.read_bytes(), preset=9))
        file.unlink()
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    import torch

    torch.set_default_dtype(torch.float64)
    if len(sys.argv) > 1:
        for name in sys.argv[2:]:
            write(Path(sys.argv[1]), name, PUBLISHED[name], compress=False)
    else:
        for name, case in SMALL.items():
            folder = Path(__file__).parent / "mace"
            folder.mkdir(exist_ok=True)
            write(folder, name, case, compress=True)


if __name__ == "__main__":
    main()
