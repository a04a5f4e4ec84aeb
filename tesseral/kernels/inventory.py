"""The programs within a model, and what runs each of them and its derivatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from tesseral.kernels.dispatch import choose, explain
from tesseral.kernels.spec import Program


def programs(module: torch.nn.Module) -> list[Program]:
    """The programs that a module itself holds, in its plans; not those of its children.

    >>> from tesseral.nn import Convolution
    >>> len(programs(Convolution("8x0e", "0e", "0e")))
    1
    """
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return list(dict.fromkeys(_within([*own.values(), *_private_plans(module)], set())))


def describe(model: torch.nn.Module, device: torch.device | str, dtype: torch.dtype) -> list[str]:
    """A line for each program of a model: its module, its size, what runs it, and what runs its first and second gradient.

    >>> from tesseral.nn import Convolution
    >>> describe(torch.nn.Sequential(Convolution("8x0e", "0e", "0e", backend="reference")), "cpu", torch.float32)
    ['0: form ...: 4 slots, 1 paths, 1 coefficients: reference (asked for); gradients: reference, reference']
    """
    lines = []
    for name, module in model.named_modules():
        backend = getattr(module, "backend", "auto")
        for program in programs(module):
            gradients = []
            derivative: Program | None = program
            for _ in range(2):
                found = None if derivative is None else derivative.gradient()
                derivative = None if found is None else found.program
                if derivative is not None:
                    gradients.append(choose(derivative, torch.device(device), dtype, backend)[0] or "no backend")
            end = f"; gradients: {', '.join(gradients)}" if gradients else ""
            lines.append(f"{name or type(module).__name__}: {explain(program, device, dtype, backend)}{end}")
    return lines


def _private_plans(module: torch.nn.Module) -> list[Any]:
    """Values of private attributes that are not torch's own."""
    known = vars(torch.nn.Module())
    return [value for name, value in vars(module).items() if name.startswith("_") and name not in known]


def _within(value: Any, seen: set[int]) -> Iterator[Program]:
    """The programs in a value: plans are plain objects of this package that hold programs or further plans."""
    if isinstance(value, Program):
        yield value
        return
    if id(value) in seen or isinstance(value, (torch.nn.Module, torch.Tensor, str)):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        children: list[Any] = list(value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        children = list(value)
    elif type(value).__module__.startswith("tesseral.ops"):
        children = list(getattr(value, "__dict__", {}).values())
    else:
        return
    for child in children:
        yield from _within(child, seen)
