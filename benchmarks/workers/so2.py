"""One side of the benchmark of SO(2) convolutions: `python so2.py side lmax mmax channels nodes neighbours`.

Cases are "operation mode": the frames of edges, the convolution in given frames (both without gradients of the frames, which the
peer does not have), and the separable activation on the sphere, on grids of equal size.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import serve

LMAX, MMAX, CHANNELS, NODES, NEIGHBOURS = map(int, sys.argv[2:7])
EDGES = NODES * NEIGHBOURS
RINGS, MERIDIANS = 2 * (LMAX + 1), 2 * (MMAX + 1) + 1 if LMAX == MMAX else 2 * MMAX + 1  # the peer's choice


def graph():
    destination = torch.arange(NODES).repeat_interleave(NEIGHBOURS)
    return torch.stack([torch.randint(NODES, (EDGES,)), destination])


def tesseral():
    """Functions of (vectors), (x, weight), (coefficients, scalars), and the numbers of weights and coefficients."""
    from tesseral.ops.so2 import SO2Plan, edge_frames, so2_convolution
    from tesseral.ops.sphere_activation import SphereActivationPlan, sphere_activation

    irreps = "+".join(f"{CHANNELS}x{l}{'eo'[l % 2]}" for l in range(LMAX + 1))
    plan, edge_index = SO2Plan(irreps, irreps, MMAX, parity=False), graph()
    order, pointers = torch.argsort(edge_index[0], stable=True), torch.arange(0, EDGES + 1, NEIGHBOURS)
    frames = edge_frames(LMAX, torch.randn(EDGES, 3), MMAX)
    grid = SphereActivationPlan(LMAX, MMAX, RINGS, MERIDIANS)
    weight = torch.randn(plan.weight_numel, requires_grad=True)
    rows = torch.randn(EDGES, (len(grid.entries) + 1) * CHANNELS)

    return {
        "frames": (lambda v: edge_frames(LMAX, v, MMAX), torch.randn(EDGES, 3), []),
        "convolution": (
            lambda x: so2_convolution(plan, x, frames, weight, edge_index, None, order, pointers),
            torch.randn(NODES, plan.irreps_in.dim),
            [weight],
        ),
        "activation": (lambda x: sphere_activation(grid, x), rows, []),
    }


def fairchem():
    """The same from the files of the public EquiformerV2, loaded without the package around them."""
    import importlib.util

    root = Path(importlib.util.find_spec("fairchem").submodule_search_locations[0])
    for name in ("core", "core.models", "core.models.equiformer_v2"):
        module = types.ModuleType(f"fairchem.{name}")
        module.__path__ = [str(root / name.replace(".", "/"))]
        sys.modules[module.__name__] = module
    from fairchem.core.models.equiformer_v2.activation import SeparableS2Activation
    from fairchem.core.models.equiformer_v2.edge_rot_mat import init_edge_rot_mat
    from fairchem.core.models.equiformer_v2.so2_ops import SO2_Convolution
    from fairchem.core.models.equiformer_v2.so3 import CoefficientMappingModule, SO3_Embedding, SO3_Grid, SO3_Rotation

    edge_index = graph()
    mapping, rotation = CoefficientMappingModule([LMAX], [MMAX]), SO3_Rotation(LMAX)
    layer = SO2_Convolution(CHANNELS, CHANNELS, [LMAX], [MMAX], mapping, internal_weights=True)
    rotation.set_wigner(init_edge_rot_mat(torch.randn(EDGES, 3)))
    grid = torch.nn.ModuleList(
        [torch.nn.ModuleList([SO3_Grid(l, m, normalization="component") for m in range(LMAX + 1)]) for l in range(LMAX + 1)]
    )
    activation, none = SeparableS2Activation(LMAX, MMAX), torch.zeros(EDGES, 1)

    def convolution(x):
        embedding = SO3_Embedding(0, [LMAX], CHANNELS, x.device, x.dtype)
        embedding.set_embedding(x)
        embedding.set_lmax_mmax([LMAX], [LMAX])
        message = embedding.expand_edge(edge_index[0])
        message = embedding.clone() if message is None else message
        message._rotate(ROTATIONS, [LMAX], [MMAX])
        message = layer(message, none)
        message._rotate_inv(ROTATIONS, mapping)
        message._reduce_edge(edge_index[1], NODES)
        return message.embedding

    ROTATIONS = [rotation]

    def frames(v):
        other = SO3_Rotation(LMAX)
        other.set_wigner(init_edge_rot_mat(v))
        return other.wigner

    coefficients = sum(min(2 * l + 1, 2 * MMAX + 1) for l in range(LMAX + 1))

    def activated(x):
        return activation(x[:, coefficients], x[:, :coefficients], grid)

    return {
        "frames": (frames, torch.randn(EDGES, 3), []),
        "convolution": (convolution, torch.randn(NODES, (LMAX + 1) ** 2, CHANNELS), list(layer.parameters())),
        "activation": (activated, torch.randn(EDGES, coefficients + 1, CHANNELS), []),
    }


def case(name):
    operation, mode = name.split()
    function, x, parameters = OPERATIONS[operation]
    if mode == "forward":

        def run():
            with torch.no_grad():
                return function(x)

        return run
    x = x.clone().requires_grad_()
    g = torch.randn_like(function(x))
    return lambda: torch.autograd.grad(function(x), [x, *parameters], g)


torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.manual_seed(0)
OPERATIONS = {"tesseral": tesseral, "fairchem": fairchem}[sys.argv[1]]()
serve(case, lazy=True)
