"""The mixin by which classes of others, MACE's symmetric contraction for one, hold ``torch.fx`` graphs as submodules."""

import io
import pickle
import warnings
from typing import Any

import torch
from torch import fx


class CodeGenMixin:
    """Registers graph modules, and pickles them as bytes under ``__codegen__``, in e3nn's format."""

    def _codegen_register(self, funcs: dict[str, fx.GraphModule]) -> None:
        if not hasattr(self, "__codegen__"):
            self.__codegen__: list[str] = []
        for name, module in funcs.items():
            assert isinstance(module, fx.GraphModule), f"{name} is a {type(module).__name__}, not a GraphModule"
            self.__codegen__.append(name)
            self.add_module(name, module)  # type: ignore[attr-defined]

    def __getstate__(self) -> dict:
        parent = getattr(super(), "__getstate__", None)
        state = parent() if parent is not None else self.__dict__
        state = {**state, "_modules": dict(state["_modules"])}
        if hasattr(self, "__codegen__"):
            state["__codegen__"] = {name: _to_bytes(state["_modules"].pop(name)) for name in self.__codegen__}
        return state

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        generated = state.pop("__codegen__", None)
        parent = getattr(super(), "__setstate__", None)
        if parent is not None:
            parent(state)
        else:
            self.__dict__.update(state)
        if generated is not None:
            for name, data in generated.items():
                setattr(self, name, from_bytes(data))
            self.__codegen__ = list(generated)


def _to_bytes(module: Any) -> tuple[str, bytes]:
    if isinstance(module, torch.jit.ScriptModule):
        buffer = io.BytesIO()
        torch.jit.save(module, buffer)
        return "torchscript", buffer.getvalue()
    return "fx", pickle.dumps(module)


def from_bytes(pickled: bytes | tuple[str, bytes]) -> Any:
    """A module out of what e3nn 0.4 (bytes of TorchScript) or 0.6 (their kind, and they) keeps of it."""
    kind, data = ("torchscript", pickled) if isinstance(pickled, bytes) else pickled
    if kind == "fx":
        return pickle.loads(data)
    if kind == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is; pickles of e3nn 0.4 remain
            return torch.jit.load(io.BytesIO(data))
    raise NotImplementedError(f"generated code of the unknown kind {kind!r}")
