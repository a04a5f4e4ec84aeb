"""Write mace_contraction.npz: weights, features and results of mace-torch 0.3.16's SymmetricContraction, in float64.

Run in an environment that has mace-torch 0.3.16 (and e3nn 0.4.4): python tests/nn/golden/make_mace_contraction.py
"""

from pathlib import Path

import numpy as np

# name: irreps of the features, irreps of the result, correlation
CASES = {
    "cubic": ("3x0e+3x1o+3x2e", "3x0e+3x1o", 3),
    "quadratic": ("4x0e+4x1o", "4x0e+4x1o+4x2e", 2),
    "linear": ("2x0e+2x1o", "2x1o", 1),
    "degree three": ("2x0e+2x1o+2x2e+2x3o", "2x0e+2x2e", 3),
}


def main() -> None:
    import torch

    torch.serialization.add_safe_globals([slice])  # for the constants of e3nn 0.4.4
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    species = torch.tensor([0, 2, 1, 1, 2])
    arrays = {"species": species.numpy()}
    for name, (irreps_in, irreps_out, correlation) in CASES.items():
        layer = SymmetricContraction(o3.Irreps(irreps_in), o3.Irreps(irreps_out), correlation, num_elements=3)
        irreps = o3.Irreps(irreps_in)
        x = torch.randn(len(species), irreps[0].mul, sum(ir.dim for _, ir in irreps))  # (nodes, channels, components)
        y = layer(x, torch.nn.functional.one_hot(species, 3).to(x.dtype))  # mul_ir
        arrays |= {f"{name}/x": x.numpy(), f"{name}/y": y.detach().numpy()}
        for i_out, contraction in enumerate(layer.contractions):
            # weights_max is of the highest order, weights of those below, from high to low
            for order, weight in zip(range(correlation, 0, -1), [contraction.weights_max, *contraction.weights], strict=True):
                arrays[f"{name}/w{i_out}_{order}"] = weight.detach().numpy()
    np.savez_compressed(Path(__file__).with_name("mace_contraction.npz"), **arrays)


if __name__ == "__main__":
    main()
