"""The Clebsch-Gordan tensors that e3nn keeps in the state dict of a product.

Here they take no part in the computation, but they have the same names, shapes and values, so that state dicts load strictly in
either direction; and in what is loaded they tell the sign convention of the weights beside them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tesseral import o3
from tesseral.interfaces.e3nn._convention import convention
from tesseral.interfaces.e3nn.util.codegen._mixin import from_bytes
from tesseral.o3.clebsch_gordan import Convention, wigner_3j_array
from tesseral.ops.tensor_product import Instruction

Triple = tuple[int, int, int]


class Constants(nn.Module):
    """Buffers ``_w3j_l1_l2_l3``, and ``_triu_indices_n`` for the pairs u < v of n channels.

    They are those that e3nn's code for ``paths`` would contain, in order of first use: ``degrees`` are the degrees of the blocks
    of both inputs and the output; ``specialized`` leaves out the tensors of what e3nn computes without one (scalars and cross
    products); ``right`` is for the code of the partial evaluation.
    """

    def __init__(
        self,
        paths: Iterable[Instruction],
        degrees: Sequence[Sequence[int]],
        convention: Convention,
        specialized: bool = True,
        right: bool = False,
    ) -> None:
        super().__init__()
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        for path in paths:
            if 0 in path.path_shape:
                continue
            triple = (degrees[0][path.i_in1], degrees[1][path.i_in2], degrees[2][path.i_out])
            if not (specialized and _special(path, triple, right)):
                name = "_w3j_{}_{}_{}".format(*triple)
                if name not in self._buffers:
                    self.register_buffer(name, o3.wigner_3j(*triple, dtype=dtype, device=device, convention=convention))
            if "<" in path.connection_mode:
                mul = _channels(path.path_shape[0])
                self.register_buffer(f"_triu_indices_{mul}", torch.triu_indices(mul, mul, 1, device=device))


def _special(path: Instruction, triple: Triple, right: bool) -> bool:
    mode, weighted = path.connection_mode, path.has_weight
    if mode == "uuu" and triple == (1, 1, 1):
        return not right
    if 0 not in triple:
        return False
    if right:
        return mode in ("uvw", "uuu") or (mode in ("uvu", "uvv") and weighted)
    return mode in ("uvw", "uvv", "uuu") or (mode in ("uvu", "uuw") and weighted)


def detect(state: Mapping[str, Tensor], prefix: str) -> Convention | None:
    """The convention of the tensors under ``prefix`` in a state dict; None where they are the same in both, or absent.

    Raises ``ValueError`` for a tensor that is neither, or for tensors of both.
    """
    told: dict[Convention, str] = {}
    for name, tensor in state.items():
        if not name.startswith(prefix + "_compiled_main_") or "._w3j_" not in name:
            continue
        triple = tuple(int(l) for l in name.rsplit("._w3j_", 1)[1].split("_"))
        if tensor.is_meta or len(triple) != 3 or sum(triple) % 2 == 0:
            continue
        new, old = (wigner_3j_array(*triple, convention=c) for c in ("0.6", "0.4"))  # type: ignore[arg-type]
        if np.array_equal(new, old):
            continue
        overlap = float((tensor.detach().to("cpu", torch.float64).numpy() * new).sum())
        if abs(abs(overlap) - 1) > 1e-2:
            raise ValueError(f"{name} is no Clebsch-Gordan tensor: expected {triple} in the convention 0.6 or 0.4")
        told["0.6" if overlap > 0 else "0.4"] = name
    if len(told) > 1:
        raise ValueError(f"{told['0.6']} has the convention 0.6 but {told['0.4']} has 0.4: a layer has one")
    return next(iter(told), None)


def convention_of(pickled: Mapping[str, Any]) -> Convention:
    """That of the tensors in the generated code that e3nn pickled with a layer; that of the builder, where they tell none."""
    tensors: dict[str, Tensor] = {}
    for name, data in pickled.get("__codegen__", {}).items():
        tensors |= {f"{name}.{key}": value for key, value in from_bytes(data).state_dict().items()}
    return detect(tensors, "") or convention()


def _channels(pairs: int) -> int:
    """n of n (n - 1) / 2 pairs."""
    return (1 + math.isqrt(1 + 8 * pairs)) // 2
