"""Activations scaled to unit second moment, by e3nn's constants: to the bit, since trained models contain them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.util.default_type import explicit_default_types
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.nn.activation import _in_double


def moment(f: Callable, n: int, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
    """The mean of f(z)^n over a million normal numbers z of a fixed seed.

    >>> moment(torch.relu, 2)
    tensor(0.4985)
    """
    dtype, device = explicit_default_types(dtype, device)
    generator = torch.Generator(device=device).manual_seed(0)
    z = torch.randn(1_000_000, generator=generator, dtype=torch.float64, device=device)
    return f(z.to(dtype)).pow(n).mean()


@compile_mode("trace")
class normalize2mom(nn.Module):
    """The function ``f`` times ``cst``, its second moment to the power -1/2; unchanged if that is within 1e-4 of 1.

    The numbers are drawn on the CPU, or on the device of a module ``f``: never on the default device, on which they would differ.

    >>> f"{normalize2mom(torch.nn.functional.silu).cst:.9f}"
    '1.679176792'
    """

    def __init__(self, f: Callable, dtype: torch.dtype | None = None, device: torch.device | None = None) -> None:
        super().__init__()
        if device is None and isinstance(f, nn.Module):
            device = next((t.device for t in (*f.parameters(), *f.buffers())), None)
        with torch.no_grad():
            on = torch.device("cpu" if device is None else device)
            self.cst = _second_moment(f, on).pow(-0.5).item()
        self.f, self._is_id = f, abs(self.cst - 1) < 1e-4

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x) if self._is_id else self.f(x).mul(self.cst)

    @staticmethod
    def _make_tracing_inputs(n: int) -> list[dict[str, tuple]]:
        return [{"forward": (torch.zeros(1),)}]


def _second_moment(f: Callable, device: torch.device) -> Tensor:
    return moment(lambda z: _in_double(f, z).to(z.device), 2, dtype=torch.float64, device=device)
