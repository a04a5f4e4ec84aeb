"""Helpers of tests: random irreps, equivariance, normalisation, compilation."""

import itertools
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn._optimization import get_optimization_defaults, set_optimization_defaults
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._rotation import rand_matrix
from tesseral.interfaces.e3nn.util._argtools import _get_args_in, _get_io_irreps, _rand_args, _transform
from tesseral.interfaces.e3nn.util.jit import get_compile_mode, get_tracing_inputs

logger = logging.getLogger(__name__)

FLOAT_TOLERANCE = {
    torch.float32: torch.as_tensor(1e-3, dtype=torch.float32),
    torch.float64: torch.as_tensor(1e-10, dtype=torch.float64),
}
"""What ``assert_equivariant`` allows."""

try:
    import pytest
except ImportError:  # the other helpers work without it
    pass
else:

    @pytest.fixture(scope="session", autouse=True, params=["float32", "float64"])
    def float_tolerance(request):
        """Every test in both precisions; the value is the tolerance."""
        before = torch.get_default_dtype()
        dtype = getattr(torch, request.param)
        torch.set_default_dtype(dtype)
        yield FLOAT_TOLERANCE[dtype]
        torch.set_default_dtype(before)


def random_irreps(
    n: int = 1,
    lmax: int = 4,
    mul_min: int = 0,
    mul_max: int = 5,
    len_min: int = 0,
    len_max: int = 4,
    clean: bool = False,
    allow_empty: bool = True,
) -> Any:
    """``n`` random irreps (one alone for n = 1): Irreps with ``clean``, else by chance Irreps, a string or a list."""
    assert n >= 1, f"n must be positive, got {n}"
    assert lmax >= 0, f"lmax must not be negative, got {lmax}"
    assert 0 <= mul_min <= mul_max, f"no multiplicities from {mul_min} to {mul_max}"
    found = []
    for _ in range(n):
        count = random.randint(len_min if allow_empty else max(len_min, 1), len_max)
        blocks = [(random.randint(mul_min, mul_max), (random.randint(0, lmax), random.choice((1, -1)))) for _ in range(count)]
        if not allow_empty and not any(mul for mul, _ in blocks):
            blocks[-1] = (random.randint(1, mul_max), blocks[-1][1])
        irreps = Irreps(blocks)
        found.append(irreps if clean else random.choice((irreps, repr(irreps), blocks)))
    return found[0] if n == 1 else found


def format_equivariance_error(errors: dict) -> str:
    """A line for each case of :func:`equivariance_error`."""
    return "\n".join(
        f"(parity_k={int(k)}, did_translate={bool(moved)}) -> max error={float(e.max()):.3e} in argument {int(e.argmax())}"
        for (k, moved), e in errors.items()
    )


def assert_equivariant(
    func: Any, args_in: Any = None, irreps_in: Any = None, irreps_out: Any = None, tolerance: Any = None, **kwargs: Any
) -> dict:
    """Raise ``AssertionError`` where the largest equivariance error exceeds ``tolerance``; the errors by case."""
    __tracebackhide__ = True
    args_in, irreps_in, irreps_out = _get_args_in(func, args_in=args_in, irreps_in=irreps_in, irreps_out=irreps_out)
    errors = equivariance_error(func, args_in=args_in, irreps_in=irreps_in, irreps_out=irreps_out, **kwargs)
    logger.info(
        "equivariance errors of %s:\n%s", getattr(func, "__name__", type(func).__name__), format_equivariance_error(errors)
    )
    allowed = FLOAT_TOLERANCE[torch.get_default_dtype()] if tolerance is None else tolerance
    wrong = {case: error for case, error in errors.items() if error.max() > allowed}
    assert not wrong, f"Largest componentwise equivariance error was too large for: {format_equivariance_error(wrong)}"
    return errors


def equivariance_error(
    func: Callable,
    args_in: Any,
    irreps_in: Any = None,
    irreps_out: Any = None,
    ntrials: int = 1,
    do_parity: bool = True,
    do_translation: bool = True,
    transform_dtype: torch.dtype = torch.float64,
) -> dict:
    """The largest error of each output over random transformations, by (power of inversion, whether points were moved)."""
    irreps_in, irreps_out = _get_io_irreps(func, irreps_in=irreps_in, irreps_out=irreps_out)
    moves = [False, True] if do_translation and any(isinstance(i, str) for i in irreps_in) else [False]
    largest: dict = {}
    for _, k, moved in itertools.product(range(ntrials), (0, 1) if do_parity else (0,), moves):
        matrix = rand_matrix(dtype=transform_dtype) * (-1) ** k
        shift = 10 * torch.randn(1, 3, dtype=transform_dtype) if moved else 0.0
        before = [y.detach().to(transform_dtype) for y in _outputs(func(*_transform(args_in, irreps_in, matrix, shift)))]
        after = _transform([y.detach() for y in _outputs(func(*args_in))], irreps_out, matrix, shift, output_transform_dtype=True)
        assert len(before) == len(irreps_out), f"{len(before)} outputs for {len(irreps_out)} irreps_out"
        errors = torch.stack([(a - b).abs().max() if a.numel() else a.new_zeros(()) for a, b in zip(before, after, strict=True)])
        largest[k, moved] = torch.maximum(errors, largest[k, moved]) if (k, moved) in largest else errors
    return {case: error.to(torch.get_default_dtype()) for case, error in largest.items()}


def assert_auto_jitable(func: Any, error_on_warnings: bool = True, n_trace_checks: int = 2, strict_shapes: bool = True) -> Any:
    """Raise unless a module marked with ``compile_mode`` can be exported by ``torch.export`` and gives the same numbers.

    e3nn checks TorchScript here, which is deprecated. With ``strict_shapes`` the exported module must refuse inputs that are too
    short. The result is a module that exports itself for the shapes and the mode of each call, and runs what was exported.
    """
    __tracebackhide__ = True
    if get_compile_mode(func) is None:
        raise ValueError("assert_auto_jitable is only for modules marked with @compile_mode")
    given = get_tracing_inputs(func, n_trace_checks)[0]["forward"]
    with warnings.catch_warnings():
        if not error_on_warnings:
            warnings.simplefilter("ignore")
        exported = _Exported(func)
        for a, b in zip(_seeded(exported, given), _seeded(func, given), strict=True):
            torch.testing.assert_close(a, b)
    if strict_shapes and given:
        short = (given[0][..., :-1], *given[1:])
        try:
            exported.program(given)(*short)
        except (RuntimeError, AssertionError, ValueError):
            pass
        else:
            raise AssertionError("the exported function didn't error on bad input shape")
    return exported


class _Exported(nn.Module):
    """A module that runs as its exported programs."""

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.source = source
        self._programs: dict[tuple, Callable] = {}

    def program(self, inputs: tuple) -> Callable:
        """What is exported for the shapes of these inputs and the present mode."""
        key = (self.source.training, tuple((tuple(x.shape), x.dtype) for x in inputs))
        if key not in self._programs:
            try:
                self._programs[key] = torch.export.export(self.source, inputs).module()
            except (AssertionError, ValueError) as mistake:  # in compiled code it would be this
                raise RuntimeError(str(mistake)) from mistake
        return self._programs[key]

    def forward(self, *inputs: Tensor) -> Any:
        return self.program(inputs)(*inputs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("source"), name)


def _seeded(func: Callable, inputs: tuple) -> list[Tensor]:
    """Its outputs, and the same again if it draws random numbers."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return _outputs(func(*inputs))


def assert_torch_compile(compile_mode: str, func: Callable, *args: Any, **kwargs: Any) -> Any:
    """Make a module by ``func()``, compile it with ``fullgraph=True`` and call it; the compiled module."""
    before = get_optimization_defaults()["jit_mode"]
    try:
        set_optimization_defaults(jit_mode=compile_mode)
        torch._dynamo.reset()
        compiled = torch.compile(func(), fullgraph=True)
        compiled(*args, **kwargs)
    finally:
        set_optimization_defaults(jit_mode=before)
    return compiled


def assert_normalized(
    func: Any,
    irreps_in: Any = None,
    irreps_out: Any = None,
    normalization: str = "component",
    n_input: int = 10_000,
    n_weight: int | None = None,
    weights: Iterable[nn.Parameter] | None = None,
    atol: float = 0.1,
) -> None:
    """Raise ``AssertionError`` unless inputs and weights of unit variance give outputs of unit variance, up to ``atol``.

    The mean is over ``n_input`` inputs for each of ``n_weight`` draws of the weights (20 where there are any). In "norm"
    normalisation it is each irrep whose mean square norm is one.
    """
    __tracebackhide__ = True
    if normalization not in ("component", "norm"):
        raise ValueError(f"invalid normalization {normalization!r}: expected 'component' or 'norm'")
    irreps_in, irreps_out = _get_io_irreps(func, irreps_in=irreps_in, irreps_out=irreps_out)
    if all(i.num_irreps == 0 for i in irreps_in) or all(i.num_irreps == 0 for i in irreps_out):
        return
    if weights is None:
        weights = func.parameters() if isinstance(func, nn.Module) else ()
    weights = list(weights)
    draws = (20 if weights else 1) if n_weight is None else n_weight
    assert weights or draws == 1, "without weights to draw again, n_weight must be 1 or None"
    with torch.no_grad():
        squares = [torch.zeros(irreps.dim) for irreps in irreps_out]
        for _ in range(draws):
            for weight in weights:
                weight.normal_()
            args = [
                _scaled(x, irreps, normalization) for x, irreps in zip(_rand_args(irreps_in, n_input), irreps_in, strict=True)
            ]
            for total, y in zip(squares, _outputs(func(*args)), strict=True):
                total += y.square().mean(0) / draws
    for total, irreps in zip(squares, irreps_out, strict=True):
        for (mul, ir), place in zip(irreps, irreps.slices(), strict=True):
            block = total[place].reshape(mul, ir.dim)
            found = block.sum(-1) if normalization == "norm" else block
            off = (found - 1).abs().max().item() if found.numel() else 0.0
            assert off <= atol, f"< x_i^2 > of {mul}x{ir} is off by {off:.3f}, more than {atol}"


def set_random_seeds() -> None:
    """Python's and torch's generators from a fixed seed."""
    random.seed(0)
    torch.manual_seed(0)


def _outputs(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return list(result)
    raise TypeError(f"equivariance_error cannot handle output type {type(result)}")


def _scaled(x: Tensor, irreps: Any, normalization: str) -> Tensor:
    if normalization == "component":
        return x
    scales = [1 / math.sqrt(ir.dim) for mul, ir in irreps for _ in range(mul * ir.dim)]
    return x * x.new_tensor(scales)
