"""NequIP and Allegro models of nequip 0.19 and nequip-allegro 0.8 as tesseral's, from the checkpoints of their training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor

from tesseral.interfaces.foreign_pickle import ForeignFileError, check, load
from tesseral.interfaces.import_nequip_package import is_package, read_package
from tesseral.models.allegro import Allegro, AllegroSettings
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.nn import SpeciesLinear

# What a builder of theirs may be told for a model to be one of ours; anything else is refused.
IGNORED = {
    "_target_", "seed", "model_dtype", "type_names", "per_type_energy_scales", "per_type_energy_shifts",
    "per_type_energy_scales_trainable", "per_type_energy_shifts_trainable", "do_derivatives", "avg_num_neighbors", "r_max",
    "forward_normalize",
}  # fmt: skip


def read_nequip(path: Path) -> NequIP | Allegro:
    """The model in a checkpoint (``.ckpt``) or package (``.nequip.zip``) of nequip 0.19 or nequip-allegro 0.8; neither is needed.

    The weights are the averaged ones (EMA) where the training kept them, as nequip itself takes them. Raises
    :class:`~tesseral.interfaces.foreign_pickle.ForeignFileError` for other files, and for architectures that are not here.
    """
    if path.suffix == ".pt2":
        raise ForeignFileError(f"{path} is compiled (AOTInductor), and its settings are gone: give the .ckpt or .nequip.zip file")
    check(path)
    if is_package(path):
        settings, tensors = read_package(path)
        return from_settings(settings, _weights(tensors, path), path)
    content = load(path)
    parameters = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    if not isinstance(parameters, Mapping) or "model" not in parameters or "state_dict" not in content:
        raise ForeignFileError(
            f"{path} is not a training checkpoint of nequip: it lacks its settings; give the .ckpt file, or a package"
        )
    return from_settings(dict(parameters["model"]), _weights(content["state_dict"], path), path)


def from_settings(settings: dict[str, Any], weights: dict[str, Tensor], path: Path | str = "the model") -> NequIP | Allegro:
    """The model that nequip's settings and weights (named from inside the model) describe."""
    builder = str(settings.get("_target_", "")).rpartition(".")[2]
    if builder not in BUILDERS:
        raise ForeignFileError(f"{path} is a model of {builder or 'no name'}: tesseral has {' and '.join(BUILDERS)}")
    names = list(settings["type_names"])
    strangers = [name for name in names if name not in atomic_numbers]
    if strangers:
        raise ForeignFileError(f"{path} names the types {', '.join(strangers)}: only chemical symbols can be imported")
    neighbors = settings.get("avg_num_neighbors")
    if not isinstance(neighbors, (int, float)):
        raise ForeignFileError(f"{path} has avg_num_neighbors={neighbors!r}: tesseral's models have one number for all species")
    common = {
        "cutoff": float(settings["r_max"]),
        "species": tuple(atomic_numbers[name] for name in names),
        "num_neighbors": float(neighbors),
    }
    known, make = BUILDERS[builder]
    unknown = [key for key, value in settings.items() if key not in known and key not in IGNORED and value not in (None, False)]
    if unknown:
        raise ForeignFileError(f"{path} was built with {', '.join(unknown)}, which tesseral's {builder} does not have")
    model = make({key: value for key, value in settings.items() if value is not None}, common, weights)
    with torch.no_grad():
        scale_shift = "per_type_energy_scale_shift."
        for name, buffer in (("scales", model.scales), ("shifts", model.atomic_energies)):
            found = weights.get(scale_shift + name)
            if found is not None and found.numel():
                buffer.copy_(found.flatten().expand(len(names)))
    return model.to(torch.float64 if settings.get("model_dtype") == "float64" else torch.float32)


def _nequip(settings: dict[str, Any], common: dict[str, Any], weights: dict[str, Tensor]) -> NequIP:
    features = settings.get("num_features", 32)
    lmax = int(settings.get("l_max", 1))
    channels = tuple(features) if not isinstance(features, int) else (features,) * (lmax + 1)
    if settings.get("type_embed_num_features", channels[0]) != channels[0]:
        raise ForeignFileError("type_embed_num_features differs from num_features[0]: tesseral's NequIP has one number for both")
    chosen = NequIPSettings(
        layers=int(settings.get("num_layers", 4)),
        lmax=lmax,
        channels=channels,
        parity=bool(settings.get("parity", True)),
        radial_layers=int(settings.get("radial_mlp_depth", 1)),
        radial_channels=int(settings.get("radial_mlp_width", 128)),
        num_basis=int(settings.get("num_bessels", 8)),
        cutoff_power=float(settings.get("polynomial_cutoff_p", 6)),
        **common,
    )
    model = NequIP(chosen, dtype=torch.float64)
    fill_nequip(model, weights)
    return model


def fill_nequip(model: NequIP, weights: Mapping[str, Tensor]) -> None:
    """Copy nequip's weights, named as in ``model.state_dict()`` from ``type_embed`` on, into ours."""
    with torch.no_grad():
        model.embedding.weight.copy_(weights["type_embed.embed_module.weight"])
        model.readout.weight.copy_(weights["per_atom_energy_readout.mlp_module.mlp.0.weight"].flatten())
        for i, module in enumerate(model.layers):
            layer: Any = module
            prefix = f"layer{i}_convnet.conv."
            layer.linear_in.weight.copy_(weights[prefix + "linear_1.weight"])
            layer.linear_out.weight.copy_(weights[prefix + "linear_2.weight"])
            for n, weight in enumerate(layer.radial.weights):
                weight.copy_(weights[f"{prefix}edge_mlp.mlp.{2 * n}.weight"])
            if layer.self_connection is not None:
                _fill_self_connection(layer.self_connection, weights[prefix + "sc.weight"])


def _fill_self_connection(layer: SpeciesLinear, flat: Tensor) -> None:
    """Weights of a FullyConnectedTensorProduct: (mul_in, attributes, mul_out) one after the other."""
    start = 0
    for path in layer.plan.paths:
        mul, mul_out = layer.irreps_in[path.i_in].mul, layer.irreps_out[path.i_out].mul
        block = flat[start * layer.attributes : (start + mul * mul_out) * layer.attributes].view(mul, layer.attributes, mul_out)
        layer.weight[:, path.start : path.start + mul * mul_out] = block.transpose(0, 1).flatten(1)
        start += mul * mul_out
    if start * layer.attributes != flat.numel():
        raise ForeignFileError(f"a self-connection has {flat.numel()} weights, expected {start * layer.attributes}")


def _allegro(settings: dict[str, Any], common: dict[str, Any], weights: dict[str, Tensor]) -> Allegro:
    embedding = dict(settings.get("radial_chemical_embed", {}))
    kind = str(embedding.get("_target_", "")).rpartition(".")[2]
    if kind != "TwoBodyBesselScalarEmbed" or embedding.get("bessel_trainable"):
        raise ForeignFileError(f"radial_chemical_embed is {kind} (or trained): tesseral's Allegro has fixed Bessel functions")
    for name in ("scalar_embed", "allegro", "readout"):
        if settings.get(f"{name}_mlp_nonlinearity", "silu") != "silu":
            raise ForeignFileError(f"{name}_mlp_nonlinearity is not silu: tesseral's Allegro has silu")

    def widths(prefix: str, width: int) -> tuple[int, ...]:
        return (int(settings.get(f"{prefix}_hidden_layers_width", width)),) * int(
            settings.get(f"{prefix}_hidden_layers_depth", 1)
        )

    chosen = AllegroSettings(
        layers=int(settings.get("num_layers", 2)),
        lmax=int(settings["l_max"]),
        parity=bool(settings.get("parity", True)),
        scalar_channels=int(settings.get("num_scalar_features", 64)),
        tensor_channels=int(settings.get("num_tensor_features", 16)),
        embedding_channels=int(settings.get("radial_chemical_embed_dim", 0)),
        embedding_widths=widths("scalar_embed_mlp", 64),
        latent_widths=widths("allegro_mlp", 64),
        readout_widths=widths("readout_mlp", 32),
        coupled_paths=bool(settings.get("tp_path_channel_coupling", True)),
        num_basis=int(embedding.get("num_bessels", 8)),
        cutoff_power=float(embedding.get("polynomial_cutoff_p", 6)),
        **common,
    )
    model = Allegro(chosen, dtype=torch.float64)
    fill_allegro(model, weights)
    return model


def fill_allegro(model: Allegro, weights: Mapping[str, Tensor]) -> None:
    """Copy nequip-allegro's weights, named as in its state dict from ``radial_chemical_embed`` on, into ours."""
    degrees, scalars = len(model.irreps_sh), model.settings.scalar_channels
    embed = "radial_chemical_embed.type_embed."
    networks: list[tuple[Any, str, int | None]] = [
        (model.basis_linear, f"{embed}basis_linear", None),
        (model.embedding, "scalar_embed_mlp.mlp_module", None),
        (model.tensor_linear, "tensor_embed.env_embed_linear", 0),
        (model.first_linear, "allegro.first_layer_env_embed_projection", scalars),
        (model.readout, "edge_readout.mlp_module", None),
    ]
    networks += [(latent, f"allegro.latents.{i}", scalars) for i, latent in enumerate(model.latents)]
    with torch.no_grad():
        model.center.weight.copy_(weights[f"{embed}center_embed.weight"])
        model.neighbor.weight.copy_(weights[f"{embed}neighbor_embed.weight"])
        for network, name, start in networks:
            for n, weight in enumerate(network.weights):
                found = weights[f"{name}.mlp.{2 * n}.weight"]
                if start is not None and n == len(network.weights) - 1:  # weights of harmonics: theirs (channel, degree)
                    tail = found[:, start:].unflatten(1, (-1, degrees)).transpose(1, 2).flatten(1)
                    found = torch.cat([found[:, :start], tail], dim=1)
                weight.copy_(found)
        for i, module in enumerate(model.products):
            product: Any = module
            found = weights[f"allegro.tps.{i}.weights"]
            paths = len(product.paths)
            found = found.reshape(-1, paths) if product.weight.shape[1] > 1 else found.reshape(1, paths)
            product.weight.copy_(found.T)


BUILDERS: dict[str, tuple[set[str], Callable[..., NequIP | Allegro]]] = {
    "NequIPGNNModel": (
        {"num_layers", "l_max", "parity", "num_features", "type_embed_num_features", "radial_mlp_depth", "radial_mlp_width",
         "num_bessels", "polynomial_cutoff_p"},
        _nequip,
    ),
    "AllegroModel": (
        {"num_layers", "l_max", "parity", "radial_chemical_embed", "radial_chemical_embed_dim", "num_scalar_features",
         "num_tensor_features", "tp_path_channel_coupling"}
        | {f"{prefix}_{what}" for prefix in ("scalar_embed_mlp", "allegro_mlp", "readout_mlp")
           for what in ("hidden_layers_depth", "hidden_layers_width", "nonlinearity")},
        _allegro,
    ),
}  # fmt: skip


def _weights(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights of the one model in a checkpoint, averaged where there are averages, named from inside the model."""
    models = {name.split(".")[1] for name in state if name.startswith("model.")}
    if len(models) != 1:
        raise ForeignFileError(f"{path} holds {len(models)} models ({', '.join(sorted(models))}), expected one")
    found = {
        name.split(".model.", 1)[1].removeprefix("func."): value
        for name, value in state.items()
        if name.startswith("model.") and isinstance(value, Tensor) and ".model." in name
    }
    averages = [state[name] for name in sorted((n for n in state if n.startswith("ema.ema_weight_")), key=_number)]
    extra = state.get("ema._extra_state")
    if averages and isinstance(extra, Mapping) and extra.get("is_holding_ema_weights"):
        learned = [name for name, value in found.items() if _learned(name, value)]
        if [found[name].shape for name in learned] != [value.shape for value in averages]:
            raise ForeignFileError(
                f"{path}: {len(averages)} averaged weights do not match the {len(learned)} of the model; "
                "nequip 0.19 and nequip-allegro 0.8 are supported"
            )
        found |= dict(zip(learned, averages, strict=True))
    return {name: value.double() if value.is_floating_point() else value for name, value in found.items()}


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _learned(name: str, value: Tensor) -> bool:
    return bool(value.numel()) and name.endswith(("weight", "weights")) and not name.endswith("bessel_weights")
