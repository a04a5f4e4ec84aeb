"""Inputs for testing a function, from its irreps."""

import random
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._irreps import Irreps

POINTS = "cartesian_points"


def _is_irreps(obj: object) -> bool:
    return hasattr(type(obj), "_e3nn_irreps_marker")


def _transform(
    dat: Sequence[Tensor], irreps_dat: Sequence, rot_mat: Tensor, translation: Any = 0.0, output_transform_dtype: bool = False
) -> list[Tensor]:
    """Features and points turned by ``rot_mat`` (points also moved by ``translation``); what has no irreps stays."""
    out = []
    for irreps, a in zip(irreps_dat, dat, strict=True):
        if irreps is None:
            out.append(a.clone())
            continue
        matrix = (rot_mat if _is_points(irreps) else irreps.D_from_matrix(rot_mat)).to(a.device)
        b = a.to(rot_mat.dtype) @ matrix.T
        if _is_points(irreps):
            b = b + torch.as_tensor(translation, dtype=rot_mat.dtype, device=a.device)
        out.append(b if output_transform_dtype else b.to(a.dtype))
    return out


def _get_io_irreps(func: Any, irreps_in: Any = None, irreps_out: Any = None) -> tuple[list, list]:
    """Lists of the irreps of a function's inputs and outputs, its own attributes for what is not given."""
    if irreps_in is None:
        if hasattr(func, "irreps_in"):
            irreps_in = func.irreps_in
        elif hasattr(func, "irreps_in1"):
            irreps_in = [func.irreps_in1, func.irreps_in2]
        else:
            raise ValueError(f"Cannot infer irreps_in for {func!r}; provide them explicitly")
    if irreps_out is None:
        if not hasattr(func, "irreps_out"):
            raise ValueError(f"Cannot infer irreps_out for {func!r}; provide them explicitly")
        irreps_out = func.irreps_out
    return _as_list(irreps_in), _as_list(irreps_out)


def _get_args_in(func: Any, args_in: Any = None, irreps_in: Any = None, irreps_out: Any = None) -> tuple:
    irreps_in, irreps_out = _get_io_irreps(func, irreps_in=irreps_in, irreps_out=irreps_out)
    if args_in is None:
        args_in = _rand_args(irreps_in)
    assert len(args_in) == len(irreps_in), f"{len(args_in)} arguments for {len(irreps_in)} irreps_in"
    return args_in, irreps_in, irreps_out


def _rand_args(irreps_in: Sequence, batch_size: int | None = None) -> list[Tensor]:
    if not all(_is_irreps(i) or _is_points(i) for i in irreps_in):
        raise ValueError(f"random arguments need Irreps or {POINTS!r} for each input, got {list(irreps_in)}: give args_in")
    batch = random.randint(1, 4) if batch_size is None else batch_size
    return [torch.randn(batch, 3) if _is_points(irreps) else irreps.randn(batch, -1) for irreps in irreps_in]


def _get_device(mod: nn.Module) -> torch.device:
    first: Tensor | None = next(mod.parameters(), None)
    first = next(mod.buffers(), None) if first is None else first
    return torch.device("cpu") if first is None else first.device


def _get_floating_dtype(mod: nn.Module) -> torch.dtype:
    for tensors in (mod.parameters(), mod.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.dtype
    return torch.get_default_dtype()


def _to_device_dtype(args: Any, device: Any = None, dtype: Any = None) -> Any:
    """Nested tensors on a device, the floating ones in a dtype."""
    if isinstance(args, Tensor):
        return args.to(device=device, dtype=dtype if args.is_floating_point() else None)
    if isinstance(args, tuple | list):
        return type(args)(_to_device_dtype(a, device, dtype) for a in args)
    if isinstance(args, dict):
        return {name: _to_device_dtype(a, device, dtype) for name, a in args.items()}
    raise TypeError(f"expected tensors in tuples, lists and dicts, got {type(args).__name__}")


def _is_points(irreps: object) -> bool:
    return isinstance(irreps, str) and irreps == POINTS


def _as_list(irreps: Any) -> list:
    if irreps is None or _is_irreps(irreps) or _is_points(irreps):
        return [irreps]
    if isinstance(irreps, list):
        return [i if i is None or _is_points(i) else Irreps(i) for i in irreps]
    if isinstance(irreps, tuple):
        warnings.warn(f"the tuple {irreps} is taken as one Irreps; use a list for several", stacklevel=3)
    return [Irreps(irreps)]
