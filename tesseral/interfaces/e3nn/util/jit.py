"""The marks by which e3nn compiles modules to TorchScript.

They stay importable, and modules of others that carry them still compile where torch can script them. The layers of this tree
cannot be TorchScripted: their work is done in compiled kernels that TorchScript does not know. ``torch.compile`` and
``torch.export`` are what they support instead; :func:`compile` says so.
"""

import contextlib
import copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx, nn

from tesseral.interfaces.e3nn._optimization import get_optimization_defaults, set_optimization_defaults

_E3NN_COMPILE_MODE = "__e3nn_compile_mode__"
_MAKE_TRACING_INPUTS = "_make_tracing_inputs"
_VALID_MODES = ("trace", "script", "unsupported", None)


def compile_mode(mode: str) -> Callable[[type], type]:
    """A decorator that marks how a module wants to be compiled: "script", "trace", "unsupported" or None."""
    if mode not in _VALID_MODES:
        raise ValueError(f"invalid compile mode {mode!r}: expected one of {_VALID_MODES}")

    def mark(cls: type) -> type:
        if not (inspect.isclass(cls) and issubclass(cls, nn.Module)):
            raise TypeError(f"compile_mode marks classes of modules, not {cls!r}")
        setattr(cls, _E3NN_COMPILE_MODE, mode)
        return cls

    return mark


def get_compile_mode(mod: nn.Module) -> str | None:
    """The mark of a module, None without one."""
    mode = getattr(mod, _E3NN_COMPILE_MODE, None)
    return "script" if mode is None and isinstance(mod, fx.GraphModule) else mode


def compile(
    mod: nn.Module,
    n_trace_checks: int = 1,
    script_options: dict | None = None,
    trace_options: dict | None = None,
    in_place: bool = True,
    recurse: bool = True,
) -> nn.Module:
    """TorchScript of a module and its submodules, as their marks say.

    Raises ``NotImplementedError`` for modules marked "unsupported" and for the layers of this tree.
    """
    mode = get_compile_mode(mod)
    if mode == "unsupported" or (mode is not None and _ours(mod)):
        cure = ": use torch.compile or torch.export, which its kernels support, or load the state dict into the model on e3nn"
        raise NotImplementedError(f"{type(mod).__name__} does not support TorchScript compilation{cure if _ours(mod) else ''}")
    if not in_place:
        mod = copy.deepcopy(mod)
    if recurse:
        for name, child in mod.named_children():
            setattr(mod, name, compile(child, n_trace_checks, script_options, trace_options))
    if mode == "script":
        if isinstance(mod, fx.GraphModule):
            from opt_einsum_fx import jitable

            mod = jitable(mod)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The TorchScript type system doesn't support instance-level annotations")
            return torch.jit.script(mod, **(script_options or {}))
    if mode == "trace":
        inputs = get_tracing_inputs(mod, n_trace_checks)
        return torch.jit.trace_module(mod, inputs=inputs[0], check_inputs=inputs, **(trace_options or {}))
    return mod


def get_tracing_inputs(
    mod: nn.Module, n: int = 1, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> list[dict[str, tuple]]:
    """Inputs by method for tracing a module: its own ``_make_tracing_inputs``, or random features of its ``irreps_in``."""
    from tesseral.interfaces.e3nn.util._argtools import (
        _get_device,
        _get_floating_dtype,
        _get_io_irreps,
        _rand_args,
        _to_device_dtype,
    )

    make = getattr(mod, _MAKE_TRACING_INPUTS, None)
    if make is not None:
        inputs = make(n)
        assert all(isinstance(i, dict) for i in inputs), "tracing inputs are dicts of arguments by method"
    else:
        irreps_in, _ = _get_io_irreps(mod, irreps_out=[None])
        inputs = [{"forward": tuple(_rand_args(irreps_in))} for _ in range(n)]
    return _to_device_dtype(
        inputs, _get_device(mod) if device is None else device, _get_floating_dtype(mod) if dtype is None else dtype
    )


def trace_module(mod: nn.Module, inputs: dict | None = None, check_inputs: list | None = None, in_place: bool = True):
    """``torch.jit.trace_module`` after :func:`compile` of the submodules."""
    given = None if inputs is None else lambda number: [inputs, *(check_inputs or [])]
    with _marked(mod, "trace", given):
        return compile(mod, in_place=in_place)


def trace(mod: nn.Module, example_inputs: tuple | None = None, check_inputs: list | None = None, in_place: bool = True):
    """``torch.jit.trace`` after :func:`compile` of the submodules."""
    inputs = None if example_inputs is None else {"forward": example_inputs}
    return trace_module(mod, inputs, [{"forward": c} for c in check_inputs or []], in_place)


def script(mod: nn.Module, in_place: bool = True):
    """``torch.jit.script`` after :func:`compile` of the submodules."""
    with _marked(mod, "script", None):
        return compile(mod, in_place=in_place)


@contextlib.contextmanager
def disable_e3nn_codegen() -> Iterator[None]:
    """Nothing is generated here; the settings are as they were afterwards."""
    before = get_optimization_defaults()
    set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        set_optimization_defaults(**{k: v for k, v in before.items() if k != "jit_mode"})
        set_optimization_defaults(jit_mode=before["jit_mode"])


@contextlib.contextmanager
def _marked(mod: nn.Module, mode: str, inputs: Any) -> Iterator[None]:
    """The module itself, for a while, with this mark and these tracing inputs."""
    old = get_compile_mode(mod)
    if old is not None and old != mode:
        warnings.warn(f"{type(mod).__name__} is marked to {old}, not to {mode}: expect errors", stacklevel=3)
    wanted = {_E3NN_COMPILE_MODE: mode} if inputs is None else {_E3NN_COMPILE_MODE: mode, _MAKE_TRACING_INPUTS: inputs}
    before = {name: mod.__dict__.get(name) for name in wanted}
    for name, value in wanted.items():
        mod.__dict__[name] = value
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                mod.__dict__.pop(name, None)
            else:
                mod.__dict__[name] = value


def _ours(mod: nn.Module) -> bool:
    return type(mod).__module__.startswith("tesseral.")
