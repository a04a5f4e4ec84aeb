"""Which backend runs a program: an argument of the call, never a global."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tesseral.kernels import cpu, reference
from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.spec import ITEM, SHARED, Program

Backend = Literal["auto", "reference", "cpu", "triton"]
BACKENDS = ("auto", "reference", "cpu", "triton")


class BackendError(RuntimeError):
    """A backend that was asked for by name cannot run this program; the message says why."""


def execute(
    program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int], backend: str = "auto"
) -> tuple[Tensor, ...]:
    """Run ``program`` now, outside autograd. Arguments as in :func:`tesseral.kernels.operator.multilinear`.

    Raises :class:`BackendError` where the named backend cannot run it, ``ValueError`` for tensors that do not fit.
    """
    check(program, tensors, maps, rows)
    name, reason = choose(program, tensors[0].device, tensors[0].dtype, backend)
    if name is None:
        raise BackendError(f"backend {backend!r} cannot run this program: {reason}")
    with torch.no_grad():
        if name == "cpu":
            return cpu.execute(program, tensors, maps, rows)
        if name == "triton":
            from tesseral.kernels import triton

            return triton.execute(program, tensors, maps, rows)
        return reference.execute(program, tensors, maps, rows)


def choose(program: Program, device: torch.device, dtype: torch.dtype, backend: str = "auto") -> tuple[str | None, str]:
    """The backend that runs the program, and why; None where the named one cannot."""
    if backend == "reference":
        return "reference", "asked for"
    if backend == "cpu":
        refusal = cpu.refusal(program, device, dtype)
        return (None, refusal) if refusal else ("cpu", "asked for")
    if backend == "triton":
        refusal = _triton_refusal(program, device, dtype)
        return (None, refusal) if refusal else ("triton", "asked for")
    if backend != "auto":
        raise ValueError(f"backend must be one of {BACKENDS}; got {backend!r}")
    fast, refuse = ("triton", _triton_refusal) if device.type == "cuda" else ("cpu", cpu.refusal)
    refusal = refuse(program, device, dtype)
    return ("reference", f"not {fast}: {refusal}") if refusal else (fast, f"fastest on {device.type}")


def anticipate(program: Program, tensors: Sequence[Tensor], backend: str = "auto") -> None:
    """Begin compiling the program's gradient, which will be wanted after it, while it compiles itself."""
    if backend not in ("auto", "cpu") or tensors[0].device.type != "cpu":
        return
    derivative = program.gradient([t.requires_grad for t in tensors])
    if derivative is not None and cpu.refusal(derivative.program, tensors[0].device, tensors[0].dtype) is None:
        cpu.anticipate(derivative.program, tensors[0].dtype)


def explain(
    program: Program, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, backend: str = "auto"
) -> str:
    """One line: the backend of the program and the reason.

    >>> from tesseral.ops.convolution import ConvolutionPlan
    >>> explain(ConvolutionPlan("8x0e", "0e", "0e").program, backend="reference")
    'form ...: 4 slots, 1 paths, 1 coefficients: reference (asked for)'
    """
    name, reason = choose(program, torch.device(device), dtype, backend)
    return f"{program.form.summary}: {name or 'no backend'} ({reason})"


def _triton_refusal(program: Program, device: torch.device, dtype: torch.dtype) -> str | None:
    if importlib.util.find_spec("tesseral.kernels.triton") is None:
        return "this installation has no triton kernels"
    from tesseral.kernels import triton

    return triton.refusal(program, device, dtype)


def check(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> None:
    """Raise ``ValueError`` where shapes, dtypes or devices do not fit the program."""
    slots, names = program.input_slots, program.form.indices
    if len(tensors) != len(slots) or len(maps) != len(names) or len(rows) != len(names):
        raise ValueError(
            f"the program takes {len(slots)} tensors and the maps {names}; "
            f"got {len(tensors)}, {len(maps)} maps, {len(rows)} row counts"
        )
    counts = {SHARED: 1, **dict(zip(names, rows, strict=True))}
    if maps:
        counts[ITEM] = maps[0].index.shape[0]
    first = tensors[0]
    for number, (tensor, slot) in enumerate(zip(tensors, slots, strict=True)):
        count = counts.setdefault(slot.index, tensor.shape[0])
        if tensor.dim() != 2 or tensor.shape[0] != count or tensor.shape[1] != slot.dim:
            raise ValueError(
                f"tensor {number} lives on {slot.index!r}: expected ({count}, {slot.dim}), got {tuple(tensor.shape)}"
            )
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise ValueError(
                f"tensor {number} is {tensor.dtype} on {tensor.device}, "
                f"tensor 0 is {first.dtype} on {first.device}; they must agree"
            )
    for name, (index, _, _) in zip(names, maps, strict=True):
        if index.dtype != torch.int64 or index.dim() != 1 or index.shape[0] != counts[ITEM] or index.device != first.device:
            raise ValueError(
                f"map {name!r} must be int64 of shape ({counts[ITEM]},) on {first.device}; "
                f"got {index.dtype}, {tuple(index.shape)}, {index.device}"
            )
