"""Write golden values of the installed e3nn into ``e3nn-<version>.npz`` beside this file.

The fixtures pin our conventions to numbers of e3nn 0.6.0 and 0.4.4, whose Clebsch-Gordan signs differ. To make them again, run
this script once in an environment with each version (0.4.4 needs ``setuptools<80`` and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1):

    python tests/o3/golden/make_golden.py
"""

import pathlib

import e3nn
import numpy as np
import torch
from e3nn import io, o3

TRIPLES_OF_HIGH_DEGREE = [(1, 11, 11), (5, 7, 11), (7, 9, 11), (9, 11, 11), (11, 9, 11), (11, 11, 9), (10, 11, 11), (11, 5, 6)]
FORMULAS = ["ij", "ij=ji", "ij=-ji", "ijk=-jik", "ijk=jik=ikj", "ijkl=jikl=klij", "ijkl=jikl=ikjl=ijlk"]


def triples(lmax: int) -> list[tuple[int, int, int]]:
    degrees = range(lmax + 1)
    return [(a, b, c) for a in degrees for b in degrees for c in degrees if abs(a - b) <= c <= a + b]


def clebsch_gordan() -> dict[str, np.ndarray]:
    """The non-zero elements of every triple up to degree 6 and of some with 11, one after the other."""
    values, indices = [], []
    chosen = triples(6) + TRIPLES_OF_HIGH_DEGREE
    for a, b, c in chosen:
        w = o3.wigner_3j(a, b, c, dtype=torch.float64).numpy()
        w = np.where(np.abs(w) > 1e-12, w, 0.0).reshape(-1)
        indices.append(np.flatnonzero(w).astype(np.uint16))
        values.append(w[indices[-1]])
    return {
        "w3j_triples": np.array(chosen, dtype=np.uint8),
        "w3j_counts": np.array([len(v) for v in values], dtype=np.int32),
        "w3j_indices": np.concatenate(indices),
        "w3j_values": np.concatenate(values),
    }


def harmonics() -> dict[str, np.ndarray]:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    angles = torch.rand(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
    result = {"sh_x": x.numpy(), "angles": angles.numpy()}
    for normalization in ("integral", "component", "norm"):
        result[f"sh_{normalization}"] = o3.spherical_harmonics(list(range(12)), x, False, normalization).numpy()
    result["sh_normalized"] = o3.spherical_harmonics(list(range(12)), x, True).numpy()
    result["sh_alpha_beta"] = o3.spherical_harmonics_alpha_beta(list(range(6)), angles[0], angles[1]).numpy()
    for l in (1, 2, 3, 6):
        result[f"wigner_D_{l}"] = o3.wigner_D(l, *angles).numpy()
    return result


def cartesian() -> dict[str, np.ndarray]:
    result = {"formulas": np.array(FORMULAS)}
    for i, formula in enumerate(FORMULAS):
        tensor = io.CartesianTensor(formula)
        basis = o3.ReducedTensorProducts(formula, **dict.fromkeys(formula.split("=")[0], "1o")).change_of_basis
        result[f"cartesian_{i}_irreps"] = np.array(str(tensor))
        result[f"cartesian_{i}"] = basis.numpy()
    return result


def grids() -> dict[str, np.ndarray]:
    x = torch.randn(25, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    result = {"grid_x": x.numpy()}
    for normalization in ("integral", "component", "norm"):
        result[f"grid_{normalization}"] = o3.ToS2Grid(4, (10, 9), normalization)(x).numpy()
    return result


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    path = pathlib.Path(__file__).parent / f"e3nn-{e3nn.__version__}.npz"
    np.savez_compressed(path, **clebsch_gordan(), **harmonics(), **cartesian(), **grids())
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
