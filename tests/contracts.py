"""The contract that every public operation and layer signs: one function a promise; `test_contracts.py` plants a fault for each.

A test file lists its cases and runs them all against `EAGER` and, in the process without the shape checker, against `GRAPH`:

    CASES = [Case("linear", lambda dtype: Linear("4x0e+2x1o", "3x0e+5x1o", dtype=dtype), ["4x0e+2x1o"], "3x0e+5x1o")]

    @pytest.mark.parametrize("check", EAGER, ids=name_of)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_contract(case, check):
        check(case)

    @pytest.mark.compile
    @pytest.mark.parametrize("check", GRAPH, ids=name_of)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_contract_graph(case, check):
        check(case)
"""

import contextlib
import copy
import inspect
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tesseral.groups import equivariance_error, representation


@dataclass(frozen=True)
class Case:
    """What the contract needs to know of an operation.

    `build(dtype)` makes a fresh callable of tensors; its first axis is a batch (nodes, edges, ...), that may be empty.
    `rep_in` lists a representation per argument. `draw(dtype, batch)` makes the arguments where random tensors of the
    representations will not do (radii, indices). `reference(function, *inputs)` is an independent way to the same result.
    """

    name: str
    build: Callable[[torch.dtype], Callable[..., Any]]
    rep_in: Sequence[Any]
    rep_out: Any
    draw: Callable[[torch.dtype, int], tuple[Tensor, ...]] | None = None
    reference: Callable[..., Any] | None = None
    group: str = "O(3)"
    batched: bool = True  # whether the batch of the result is that of the inputs
    single_precision: float = 2e-4  # allowed difference of float32 from float64, relative to the largest component
    tolerance: float = 1e-12  # of the equivariance error and of the reference in float64, relative
    smooth: bool = True  # whether two derivatives exist

    def __str__(self) -> str:
        return self.name

    def inputs(self, dtype: torch.dtype = torch.float64, batch: int = 3) -> tuple[Tensor, ...]:
        if self.draw is not None:
            with torch.random.fork_rng():
                torch.manual_seed(1)
                return self.draw(dtype, batch)
        generator = torch.Generator().manual_seed(1)
        reps = [representation(rep) for rep in self.rep_in]
        return tuple(rep.sample((batch,), generator).to(dtype) for rep in reps)  # type: ignore[attr-defined]

    def function(self, dtype: torch.dtype = torch.float64) -> Callable[..., Any]:
        """The same weights for every dtype: drawn from a fixed seed in float64, then cast."""
        with torch.random.fork_rng():
            torch.manual_seed(2)
            function = self.build(dtype)
            if isinstance(function, torch.nn.Module) and dtype != torch.float64:
                torch.manual_seed(2)
                double = self.build(torch.float64)
                assert isinstance(double, torch.nn.Module)
                function.load_state_dict(double.state_dict())
            return function


def check_equivariance(case: Case) -> None:
    """Commutes with rotations and inversion (group O(3)) to float64 accuracy; prints the number."""
    error = equivariance_error(case.function(), list(case.rep_in), case.rep_out, case.group, inputs=case.inputs())
    print(f"equivariance of {case}: {error}")
    assert error.scale > 0, f"{case}: the output vanishes, so nothing was tested"
    assert float(error) <= case.tolerance, f"{case}: {error}"


def check_gradients(case: Case) -> None:
    """First derivatives agree with finite differences, also those of the parameters."""
    function, arguments, call = _differentiable(case)
    assert torch.autograd.gradcheck(call, arguments, rtol=1e-5, atol=1e-7, fast_mode=True), f"{case}: {function}"


def check_second_gradients(case: Case) -> None:
    """Second derivatives agree with finite differences of the first."""
    if not case.smooth:
        return
    function, arguments, call = _differentiable(case)
    assert torch.autograd.gradgradcheck(call, arguments, rtol=1e-5, atol=1e-6, fast_mode=True), f"{case}: {function}"


def check_dtypes(case: Case) -> None:
    """Results have the dtype of the inputs, do not depend on the default dtype, and float32 agrees with float64."""
    default = torch.get_default_dtype()
    function, inputs = case.function(torch.float64), case.inputs(torch.float64)
    double = _leaves(function(*inputs))
    rounded = _leaves(function(*(x.float().double() if x.is_floating_point() else x for x in inputs)))
    sees = any(not torch.equal(a, b) for a, b in zip(double, rounded, strict=True) if a.is_floating_point())
    assert sees, f"{case}: a float64 input rounded to float32 gives the same result, so float32 is used inside"
    try:
        for other in (torch.float32, torch.float64):
            torch.set_default_dtype(other)
            for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, case.single_precision)):
                inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in case.inputs(torch.float64))
                result = _leaves(case.function(dtype)(*inputs))
                for actual, expected in zip(result, double, strict=True):
                    if not expected.is_floating_point():
                        continue
                    assert actual.dtype == dtype, f"{case}: {dtype} inputs gave {actual.dtype}"
                    scale = float(expected.detach().abs().max())
                    error = float((actual.detach().double() - expected.detach()).abs().max())
                    assert error <= tolerance * scale, f"{case}: {dtype} is off by {error / scale:.1e} relative"
    finally:
        torch.set_default_dtype(default)


def check_empty(case: Case) -> None:
    """An empty batch gives an empty result of the right width, and gradients that exist."""
    function = case.function()
    full = _leaves(function(*case.inputs(batch=2)))
    inputs = [x.requires_grad_() if x.is_floating_point() else x for x in case.inputs(batch=0)]
    empty = _leaves(function(*inputs))
    for e, f in zip(empty, full, strict=True):
        assert e.shape[1:] == f.shape[1:], f"{case}: empty input gives {tuple(e.shape)}, expected (0, *{tuple(f.shape[1:])})"
        assert not case.batched or e.shape[0] == 0, f"{case}: empty input gives {tuple(e.shape)}"
        assert bool(torch.isfinite(e).all())
    wanted = [x for x in inputs if x.requires_grad]
    if wanted and any(e.requires_grad for e in empty):
        sum(e.sum() for e in empty if e.requires_grad).backward()  # type: ignore[union-attr]
        assert all(x.grad is None or x.grad.shape == x.shape for x in wanted)


def check_functional(case: Case) -> None:
    """`torch.func`: grad agrees with backward, jvp with finite differences (it may not be silently zero), vmap with a loop."""
    function = case.function()
    inputs = case.inputs()
    which = [i for i, x in enumerate(inputs) if x.is_floating_point()]

    def loss(*floating: Tensor) -> Tensor:
        arguments = list(inputs)
        for i, x in zip(which, floating, strict=True):
            arguments[i] = x
        results = [y for y in _leaves(function(*arguments)) if y.is_floating_point()]
        return sum(((y * _weights(y)).sum() for y in results), torch.zeros((), dtype=torch.float64))

    point = [inputs[i].clone().requires_grad_() for i in which]
    value = loss(*point)
    expected = torch.autograd.grad(value, point, allow_unused=True, materialize_grads=True)
    actual = torch.func.grad(loss, argnums=tuple(range(len(which))))(*(x.detach() for x in point))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)
    tangents = tuple(_weights(x, 3) for x in point)
    plain = tuple(x.detach() for x in point)
    _, derivative = torch.func.jvp(loss, plain, tangents)
    along = sum(((e * t).sum() for e, t in zip(expected, tangents, strict=True)), torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(derivative, along, rtol=1e-8, atol=1e-8)
    stacked = tuple(torch.stack([x, x + 0.1 * _weights(x, 5).abs()]) for x in plain)
    mapped = torch.func.vmap(loss)(*stacked)
    torch.testing.assert_close(mapped, torch.stack([loss(*(x[i] for x in stacked)) for i in range(2)]), rtol=1e-9, atol=1e-9)


def check_pickle(case: Case) -> None:
    """pickle, deepcopy, and a state_dict loaded into a new object all give the same function."""
    function, inputs = case.function(), case.inputs()
    expected = _leaves(function(*inputs))
    copies = [copy.deepcopy(function), pickle.loads(pickle.dumps(function))]
    if isinstance(function, torch.nn.Module):
        buffer = io.BytesIO()
        torch.save(function.state_dict(), buffer)
        buffer.seek(0)
        with torch.random.fork_rng():
            torch.manual_seed(99)
            fresh = case.build(torch.float64)
        assert isinstance(fresh, torch.nn.Module)
        fresh.load_state_dict(torch.load(buffer, weights_only=True))
        copies.append(fresh)
    for other in copies:
        for a, e in zip(_leaves(other(*inputs)), expected, strict=True):
            torch.testing.assert_close(a, e, rtol=0, atol=0)


def check_reference(case: Case) -> None:
    """Agrees with an independent reference in float64."""
    if case.reference is None:
        return
    function, inputs = case.function(), case.inputs()
    actual, expected = _leaves(function(*inputs)), _leaves(case.reference(function, *inputs))
    for a, e in zip((x.detach() for x in actual), (x.detach() for x in expected), strict=True):
        assert a.shape == e.shape, f"{case}: shape {tuple(a.shape)}, the reference has {tuple(e.shape)}"
        if e.numel():
            error = float((a.double() - e.double()).abs().max() / e.double().abs().max())
            assert error <= case.tolerance, f"{case}: off the reference by {error:.1e} relative"


def check_compile(case: Case) -> None:
    """`torch.compile(fullgraph=True)` gives the values and gradients of eager mode, also for another batch size."""
    function = case.function(torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (3, 5):
        results = []
        for call in (function, compiled):
            inputs = [x.requires_grad_() if x.is_floating_point() else x for x in case.inputs(batch=batch)]
            outputs = _leaves(call(*inputs))
            wanted = [x for x in inputs if x.requires_grad]
            scalar = sum((y * _weights(y)).sum() for y in outputs if y.requires_grad)
            grads = torch.autograd.grad(scalar, wanted, allow_unused=True) if wanted and isinstance(scalar, Tensor) else ()
            results.append([*outputs, *(g for g in grads if g is not None)])
        for a, e in zip(results[1], results[0], strict=True):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


def check_export(case: Case) -> None:
    """`torch.export` with a dynamic batch gives a program that runs at another batch size."""
    function, inputs = case.function(), case.inputs(batch=3)
    module = function if isinstance(function, torch.nn.Module) else _Wrapped(function)
    other = case.inputs(batch=5)
    batch = torch.export.Dim("batch", min=2, max=1024)
    shapes = tuple(
        {i: batch for i, (a, b) in enumerate(zip(x.shape, y.shape)) if (a, b) == (3, 5)} for x, y in zip(inputs, other)
    )
    signature = (shapes,) if _variadic(module) else shapes
    program = torch.export.export(module, inputs, dynamic_shapes=signature).module()
    for a, e in zip(_leaves(program(*other)), _leaves(module(*other)), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)


EAGER = (
    check_equivariance,
    check_gradients,
    check_second_gradients,
    check_dtypes,
    check_empty,
    check_functional,
    check_pickle,
    check_reference,
)
GRAPH = (check_compile, check_export)


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Peers take their constants from the default dtype: build them in here for float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def name_of(check: Callable[[Case], None]) -> str:
    """The id of a check in pytest."""
    return check.__name__.removeprefix("check_")


class _Wrapped(torch.nn.Module):
    """A function as a module, for torch.export."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def _variadic(module: torch.nn.Module) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values())


def _differentiable(case: Case) -> tuple[Any, list[Tensor], Callable[..., Any]]:
    """The function of all that has a derivative: inputs in floating point and parameters."""
    function, inputs = case.function(), case.inputs(batch=2)
    names, values = [], []
    if isinstance(function, torch.nn.Module):
        named = [(name, p) for name, p in function.named_parameters() if p.numel()]
        names, values = [n for n, _ in named], [p.detach().clone() for _, p in named]
    which = [i for i, x in enumerate(inputs) if x.is_floating_point()]
    arguments = [inputs[i].clone().requires_grad_() for i in which] + [v.requires_grad_() for v in values]

    def call(*tensors: Tensor) -> Any:
        full = list(inputs)
        for i, x in zip(which, tensors, strict=False):
            full[i] = x
        if names:
            parameters = dict(zip(names, tensors[len(which) :], strict=True))
            result = torch.func.functional_call(function, parameters, tuple(full))
        else:
            result = function(*full)
        return tuple(y for y in _leaves(result) if y.is_floating_point())

    return function, arguments, call


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _leaves(value[key])]
    return [leaf for item in value for leaf in _leaves(item)]


def _weights(like: Tensor, seed: int = 0) -> Tensor:
    """Fixed irregular numbers, so that a wrong component of a gradient cannot cancel."""
    count = int(like.numel())
    return torch.cos(torch.arange(count, dtype=torch.float64) * 1.7 + seed).reshape(like.shape).to(like.dtype)
