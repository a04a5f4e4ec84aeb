"""MACE models of mace-torch as tesseral's: what each of their tensors means here.

Theirs differ in conventions only: edge vectors point the other way, Clebsch-Gordan coefficients have the signs of e3nn 0.4, the
couplings of a product are not independent. The first two are signs of paths, which the last matrix of the radial network takes
up; for the third, the file's own coefficients are projected on the independent ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tesseral.interfaces.foreign_pickle import ForeignFileError, Stranger, child, children, load, tensors
from tesseral.models.mace import MACE, MACELayer, MACESettings
from tesseral.nn import Linear
from tesseral.o3 import Irreps
from tesseral.o3.clebsch_gordan import wigner_3j_array
from tesseral.ops.symmetric_contraction import symmetric_basis

INTERACTIONS = {
    "RealAgnosticInteractionBlock": "plain",
    "RealAgnosticResidualInteractionBlock": "residual",
    "RealAgnosticDensityInteractionBlock": "density",
    "RealAgnosticDensityResidualInteractionBlock": "density_residual",
}
TRANSFORMS = {"AgnesiTransform": "agnesi", "SoftTransform": "soft"}
BASES = {"BesselBasis": "bessel", "GaussianBasis": "gaussian"}


def read_mace(path: Path) -> MACE:
    """The model in a ``.model`` file of mace-torch (0.3.x), in the precision of the file; mace-torch is not needed.

    Raises :class:`~tesseral.interfaces.foreign_pickle.ForeignFileError` for another kind of file, and for architectures that
    are not here.
    """
    root = load(path)
    if isinstance(root, dict):
        raise ForeignFileError(
            f"{path} holds weights without their architecture (a training checkpoint): give the whole model, "
            "the .model file that mace_run_train writes at the end"
        )
    if not isinstance(root, Stranger) or not root.package.startswith("mace."):
        raise ForeignFileError(f"{path} holds {root!r}, expected a model of mace-torch")
    settings = mace_settings(root, path)
    weights = {name: value.double() if value.is_floating_point() else value for name, value in tensors(root).items()}
    model = MACE(settings, dtype=torch.float64)
    with torch.no_grad():
        _fill(model, weights, path)
    precision = tensors(root)["node_embedding.linear.weight"].dtype
    return model.to(precision)


def mace_settings(root: Any, path: Path) -> MACESettings:
    """The architecture of a pickled model; :class:`ForeignFileError` for what tesseral's MACE has not."""
    if root.name not in ("MACE", "ScaleShiftMACE"):
        raise _absent(path, f"the model {root.name} (here are MACE and ScaleShiftMACE)")
    for name in ("joint_embedding", "embedding_readout"):
        if child(root, name) is not None:
            raise _absent(path, f"a model with {name}")
    if getattr(root, "use_so3", False):
        raise _absent(path, "a model of proper rotations only (use_so3)")
    data = tensors(root)
    interactions, readouts = (
        list(children(child(root, "interactions")).values()),
        list(children(child(root, "readouts")).values()),
    )
    products = list(children(child(root, "products")).values())
    kinds = []
    for block in interactions:
        if block.name not in INTERACTIONS:
            raise _absent(path, f"the interaction {block.name} (here are {', '.join(INTERACTIONS)})")
        kinds.append(INTERACTIONS[block.name])
    if len(set(kinds[1:])) > 1:
        raise _absent(path, f"a model whose later layers are of different kinds ({', '.join(kinds)})")
    neighbors = {float(block.avg_num_neighbors) for block in interactions}
    if len(neighbors) > 1:
        raise _absent(path, "a model whose layers count different numbers of neighbours")
    hidden = irreps_of(interactions[0].hidden_irreps)
    edge = getattr(root, "edge_irreps", None)
    embedding = child(root, "radial_embedding")
    transform, basis = child(embedding, "distance_transform"), child(embedding, "bessel_fn")
    if basis.name not in BASES:
        raise _absent(path, f"the radial basis {basis.name}")
    orders = [_orders(data, f"products.{i}.symmetric_contractions.contractions.0", path) for i in range(len(products))]
    heads = tuple(str(name) for name in (getattr(root, "heads", None) or ["default"]))
    last = readouts[-1]
    width = 16
    if len(products) > 1:
        if last.name != "NonLinearReadoutBlock":
            raise _absent(path, f"the readout {last.name}")
        width = irreps_of(last.hidden_irreps).dim // len(heads)
    cutoff = float(data["r_max"])
    values: dict[str, Any] = {
        "cutoff": cutoff,
        "layers": len(interactions),
        "hidden": str(hidden),
        "lmax": max(ir.l for _, ir in irreps_of(interactions[0].edge_attrs_irreps)),
        "correlation": orders[0] if len(set(orders)) == 1 else tuple(orders),
        "first_interaction": kinds[0],
        "interaction": kinds[-1],
        "edge_irreps": str(irreps_of(edge)) if edge is not None else "",
        "edge_irreps_first": bool(getattr(root, "use_edge_irreps_first", False)),
        "shared_product": bool(getattr(root, "use_agnostic_product", False)),
        "radial_widths": _radial_widths(data),
        "basis": BASES[basis.name],
        "num_basis": int(data["interactions.0.conv_tp_weights.layer0.weight"].shape[0]),
        "transform": TRANSFORMS[transform.name] if transform is not None else "none",
        "cutoff_power": float(data["radial_embedding.cutoff_fn.p"]),
        "cutoff_on_weights": not getattr(root, "apply_cutoff", True),
        "readout_width": width,
        "readout_activation": _activation(last, path) if len(products) > 1 else "silu",
        "last_readout_only": len(readouts) < len(products),
        "zbl": child(root, "pair_repulsion_fn") is not None,
        "heads": heads,
        "species": tuple(int(z) for z in data["atomic_numbers"]),
        "num_neighbors": neighbors.pop(),
    }
    return MACESettings(**values)


def irreps_of(stranger: Any) -> Irreps:
    """The irreps in a pickled ``Irreps`` object, or in its text."""
    if isinstance(stranger, str):
        return Irreps(stranger)
    if getattr(stranger, "name", "") == "Irreps":
        return Irreps([(mul, tuple(ir)) for mul, ir in stranger])
    raise TypeError(f"expected irreps, got {stranger!r}")


def _absent(path: Path, what: str) -> ForeignFileError:
    return ForeignFileError(
        f"{path} is {what if what.startswith('a ') else 'a model with ' + what}, which tesseral does not have"
    )


def _orders(data: dict[str, Tensor], prefix: str, path: Path) -> int:
    order = sum(name.startswith(f"{prefix}.U_matrix_") for name in data)
    if not order:
        raise ForeignFileError(
            f"{path} holds kernels of cuEquivariance instead of the product's coefficients: "
            "convert it with mace_cueq_to_e3nn first"
        )
    return order


def _radial_widths(data: dict[str, Tensor]) -> tuple[int, ...]:
    prefix = "interactions.0.conv_tp_weights.layer"
    count = sum(name.startswith(prefix) and name.endswith(".weight") for name in data)
    return tuple(int(data[f"{prefix}{i}.weight"].shape[1]) for i in range(count - 1))


def _activation(readout: Any, path: Path) -> str:
    act = child(readout, "non_linearity.acts.0")
    function = getattr(act, "f", None)
    if act is None or function is None:
        return "none"
    name = getattr(function, "name", getattr(function, "__name__", ""))
    if name.rpartition(".")[2] not in ("silu", "tanh", "abs"):
        raise _absent(path, f"the readout activation {name}")
    return name.rpartition(".")[2]


def _fill(model: MACE, data: dict[str, Tensor], path: Path) -> None:
    settings = model.settings
    species, heads = len(model.species), len(settings.heads)
    model.embedding.weight.copy_(data["node_embedding.linear.weight"].view(species, -1))
    _check_basis(model, data, path)
    if model.radial.transform is not None:
        for name, buffer in model.radial.transform.named_buffers():
            buffer.copy_(data[f"radial_embedding.distance_transform.{'covalent_radii' if name == 'radii' else name}"])
    if model.zbl is not None:
        theirs = {"coefficients": "c", "exponent": "a_exp", "prefactor": "a_prefactor", "radii": "covalent_radii"}
        for name, buffer in model.zbl.named_buffers():
            buffer.copy_(data[f"pair_repulsion_fn.{theirs[name]}"])
    for i, layer in enumerate(model.layers):
        _fill_layer(cast(MACELayer, layer), data, i)
    for i, readout in enumerate(model.readouts):
        if isinstance(readout, Linear):
            readout.weight.copy_(data[f"readouts.{i}.linear.weight"])
            continue
        perceptron: Any = readout
        perceptron.hidden.weight.copy_(data[f"readouts.{i}.linear_1.weight"])
        last = data[f"readouts.{i}.linear_2.weight"].view(heads, settings.readout_width, heads)
        perceptron.weight.copy_(last.diagonal(dim1=0, dim2=2).T)  # a head reads its own hidden layer; the rest is masked there
    model.head_energies.copy_(torch.atleast_2d(data["atomic_energies_fn.atomic_energies"]).expand(heads, -1))
    if "scale_shift.scale" in data:
        model.scales.copy_(torch.atleast_1d(data["scale_shift.scale"]).view(-1, 1).expand(heads, species))
        model.shifts.copy_(torch.atleast_1d(data["scale_shift.shift"]).expand(heads))


def _check_basis(model: MACE, data: dict[str, Tensor], path: Path) -> None:
    settings = model.settings
    if settings.basis == "bessel":
        known = math.pi / settings.cutoff * torch.arange(1, settings.num_basis + 1, dtype=torch.float64)
        found = data["radial_embedding.bessel_fn.bessel_weights"]
    else:
        known = torch.linspace(0, settings.cutoff, settings.num_basis, dtype=torch.float64)
        found = data["radial_embedding.bessel_fn.gaussian_weights"]
    if not torch.allclose(found, known, rtol=1e-6, atol=1e-6):
        raise _absent(path, "a model whose radial basis has been trained")


def _fill_layer(layer: MACELayer, data: dict[str, Tensor], number: int) -> None:
    prefix = f"interactions.{number}."
    layer.linear_in.weight.copy_(data[f"{prefix}linear_up.weight"])
    layer.linear_out.weight.copy_(data[f"{prefix}linear.weight"])
    count = len(layer.radial.weights)
    for i, weight in enumerate(layer.radial.weights):
        found = data[f"{prefix}conv_tp_weights.layer{i}.weight"]
        weight.copy_(paths_from_mace(layer, found) if i == count - 1 else found)
    if layer.density is not None:
        layer.density.weights[0].copy_(data[f"{prefix}density_fn.layer0.weight"])
    matrix = layer.self_connection if layer.self_connection is not None else layer.by_species
    if matrix is not None:
        fill_by_species(matrix, data[f"{prefix}skip_tp.weight"])
    _fill_product(layer, data, f"products.{number}.")


def paths_from_mace(layer: MACELayer, weight: Tensor) -> Tensor:
    """Columns of the radial network's last matrix in the order of our paths, with the signs of our vectors and coefficients.

    Theirs are ordered by the block of output; paths of equal block do not occur.
    """
    plan = layer.convolution.plan
    theirs = sorted(plan.paths, key=lambda p: p.i_out)
    starts, start = {}, 0
    for path in theirs:
        starts[path.i_out] = start
        start += plan.irreps_in[path.i_in].mul
    columns = []
    for path in plan.paths:
        degrees = plan.irreps_in[path.i_in].ir.l, plan.irreps_sh[path.i_sh].ir.l, plan.irreps_out[path.i_out].ir.l
        ours, old = (wigner_3j_array(*degrees, convention=c) for c in (plan.convention, "0.4"))
        sign = (-1) ** degrees[1] * math.copysign(1.0, float(np.vdot(ours, old)))
        columns.append(sign * weight[:, starts[path.i_out] : starts[path.i_out] + plan.irreps_in[path.i_in].mul])
    return torch.cat(columns, dim=1)


def fill_by_species(matrix: Any, flat: Tensor) -> None:
    """Weights of e3nn's FullyConnectedTensorProduct with scalars: a block (mul_in, species, mul_out) after the other."""
    plan, species, start = matrix.plan, matrix.weight.shape[0], 0
    for path in plan.paths:
        n, m = plan.blocks_in[path.i_in][2], plan.blocks_out[path.i_out][2]
        block = flat[start : start + n * species * m].view(n, species, m)
        matrix.weight[:, path.start : path.start + n * m] = block.transpose(0, 1).flatten(1)
        start += n * species * m
    if start != flat.numel():
        raise ForeignFileError(f"a product with the species has {flat.numel()} weights, expected {start}: the file is damaged")


def _fill_product(layer: MACELayer, data: dict[str, Tensor], prefix: str) -> None:
    plan = layer.product.plan
    irreps = tuple(ir for _, ir in plan.irreps_in)
    numbers = {ir: i for i, (_, ir) in reversed(list(enumerate(layer.irreps_out)))}
    for block in plan.blocks:
        ir = plan.irreps_out[block.i_out].ir
        contraction = f"{prefix}symmetric_contractions.contractions.{numbers[ir]}."
        place = "weights_max" if block.order == plan.correlation else f"weights.{plan.correlation - block.order - 1}"
        weights, coefficients = data[contraction + place], data[f"{contraction}U_matrix_{block.order}"]
        basis = symmetric_basis(irreps, ir, block.order, plan.convention) * math.factorial(block.order)  # the dual basis
        paths = coefficients.shape[-1]
        overlap = torch.from_numpy(basis.reshape(len(basis), -1)) @ coefficients.reshape(-1, paths) / ir.dim
        columns = torch.einsum("kp,spc->skc", overlap, weights).flatten(1)
        layer.product.weight[:, block.start : block.start + columns.shape[1]] = columns
    _fill_after_product(layer, data[f"{prefix}linear.weight"])


def _fill_after_product(layer: MACELayer, flat: Tensor) -> None:
    """Their map after the product has blocks for irreps that no product gives, too."""
    ours, theirs = layer.linear_product, Linear(layer.irreps_out, layer.irreps_out)
    places = {ir: i for i, (_, ir) in enumerate(layer.product.irreps_out)}
    for path in theirs.plan.paths:
        ir, other = layer.irreps_out[path.i_in].ir, path.i_out
        if ir not in places:
            continue
        size = theirs.irreps_in[path.i_in].mul * theirs.irreps_out[path.i_out].mul
        mine = next(p for p in ours.plan.paths if p.i_in == places[ir] and p.i_out == other)
        ours.weight[mine.start : mine.start + size] = flat[path.start : path.start + size]
