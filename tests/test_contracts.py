"""Every check of the contract catches the fault planted for it, and passes the same operation without the fault."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests import contracts
from tests.contracts import Case


class Scale(nn.Module):
    """x times one plus its squared norm: a sound equivariant operation."""

    def __init__(self, dtype):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1, dtype=dtype))

    def forward(self, x):
        return self.factor * x * (1 + x.square().sum(-1, keepdim=True))


SOUND = Case("sound", Scale, ["1x1o"], "1x1o", reference=lambda f, x: f.factor * (x + x * (x * x).sum(-1, keepdim=True)))


@pytest.mark.parametrize("check", contracts.EAGER, ids=contracts.name_of)
def test_the_sound_operation_passes(check):
    check(SOUND)


@pytest.mark.compile
@pytest.mark.parametrize("check", contracts.GRAPH, ids=contracts.name_of)
def test_the_sound_operation_passes_as_a_graph(check):
    check(SOUND)


class Faulty(Scale):
    """A sound operation with a fault to be planted in a subclass."""

    fault = "none"


class BreaksRotation(Faulty):
    def forward(self, x):
        return super().forward(x) * torch.tensor([1, 1, 1 + 1e-9], dtype=x.dtype)


class BreaksInversion(Faulty):
    def forward(self, x):
        first, second = x[..., :3], x[..., 3:]
        return torch.linalg.cross(first, second)


class Vanishes(Faulty):
    def forward(self, x):
        return 0 * x


class NotANumber(Faulty):
    def forward(self, x):
        return x * torch.nan


class WrongGradient(Faulty):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            return 2.999 * ctx.saved_tensors[0] ** 2 * grad

    def forward(self, x):
        return self.Cube.apply(x)


class WrongParameterGradient(Faulty):
    def forward(self, x):
        return self.factor.detach() * x


class WrongSecondGradient(Faulty):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            return 3 * ctx.saved_tensors[0].detach() ** 2 * grad

    def forward(self, x):
        return self.Cube.apply(x)


class SinglePrecisionInside(Faulty):
    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class ResultInDouble(Faulty):
    def forward(self, x):
        return x.double()


class DefaultDtype(Faulty):
    def forward(self, x):
        return x * torch.tensor(0.1).to(x.dtype)


class NoEmptyBatch(Faulty):
    def forward(self, x):
        return x / x.abs().max()


class EmptyOfWrongWidth(Faulty):
    def forward(self, x):
        return x if len(x) else torch.zeros(0, 1)


class NoFunctionTransforms(Faulty):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    def forward(self, x):
        return self.Square.apply(x)


class SilentForwardDerivative(Faulty):
    class Square(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x**2

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])
            ctx.save_for_forward(inputs[0])

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

        @staticmethod
        def jvp(ctx, dx):
            return 0 * dx

    def forward(self, x):
        return self.Square.apply(x)


class LosesItsState(Faulty):
    def __init__(self, dtype):
        super().__init__(dtype)
        self.hidden = torch.randn(1, dtype=dtype)  # not in the state_dict

    def forward(self, x):
        return self.hidden * x


class HoldsALambda(Faulty):
    def __init__(self, dtype):
        super().__init__(dtype)
        self.act = lambda x: x

    def forward(self, x):
        return self.act(x)


class BreaksTheGraph(Faulty):
    def forward(self, x):
        torch._dynamo.graph_break()
        return x


class CompiledDifferently(Faulty):
    def forward(self, x):
        return 2 * x if torch.compiler.is_compiling() else x


class FixesTheBatch(Faulty):
    def forward(self, x):
        return x + torch.zeros(int(x.shape[0]), 1, dtype=x.dtype) if x.shape[0] == 3 else x


class DependsOnValues(Faulty):
    def forward(self, x):
        return x if bool(x.sum() > 0) else -x


def case(build, rep="1x1o", rep_out=None, **changes) -> Case:
    return dataclasses.replace(Case(build.__name__, build, [rep], rep_out or rep), **changes)


def squares(_: object, x: Tensor) -> Tensor:
    return x * (1 + x.square().sum(-1, keepdim=True)) * (1 + 1e-10)


FAULTS = [
    (contracts.check_equivariance, case(BreaksRotation)),
    (
        contracts.check_equivariance,
        case(BreaksInversion, "2x1o", "1x1o", draw=lambda dtype, batch: (torch.randn(batch, 6, dtype=dtype),)),
    ),
    (contracts.check_equivariance, case(Vanishes)),
    (contracts.check_equivariance, case(NotANumber)),
    (contracts.check_gradients, case(WrongGradient)),
    (contracts.check_gradients, case(WrongParameterGradient)),
    (contracts.check_second_gradients, case(WrongSecondGradient)),
    (contracts.check_dtypes, case(SinglePrecisionInside)),
    (contracts.check_dtypes, case(ResultInDouble)),
    (contracts.check_dtypes, case(DefaultDtype)),
    (contracts.check_empty, case(NoEmptyBatch)),
    (contracts.check_empty, case(EmptyOfWrongWidth)),
    (contracts.check_functional, case(NoFunctionTransforms)),
    (contracts.check_functional, case(SilentForwardDerivative)),
    (contracts.check_pickle, case(LosesItsState)),
    (contracts.check_pickle, case(HoldsALambda)),
    (contracts.check_reference, case(Scale, reference=squares)),
    (contracts.check_reference, case(Scale, reference=lambda f, x: x[..., :1])),
]
GRAPH_FAULTS = [
    (contracts.check_compile, case(BreaksTheGraph)),
    (contracts.check_compile, case(CompiledDifferently)),
    (contracts.check_export, case(FixesTheBatch)),
    (contracts.check_export, case(DependsOnValues)),
]


def fault_id(value: object) -> str:
    return str(value) if isinstance(value, Case) else contracts.name_of(value)


@pytest.mark.parametrize(("check", "faulty"), FAULTS, ids=fault_id)
def test_the_fault_is_caught(check, faulty):
    with pytest.raises(Exception):  # noqa: B017
        check(faulty)


@pytest.mark.compile
@pytest.mark.parametrize(("check", "faulty"), GRAPH_FAULTS, ids=fault_id)
def test_the_fault_is_caught_in_the_graph(check, faulty):
    with pytest.raises(Exception):  # noqa: B017
        check(faulty)


def test_every_check_has_a_planted_fault():
    planted = {check for check, _ in FAULTS + GRAPH_FAULTS}
    assert planted == set(contracts.EAGER + contracts.GRAPH)
