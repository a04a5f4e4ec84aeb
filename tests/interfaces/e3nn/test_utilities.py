"""The helpers: compilation marks, pickles of generated code, equivariance and normalisation."""

import pickle

import pytest
import torch

from tesseral.interfaces.e3nn import get_optimization_defaults, nn, o3, set_optimization_defaults
from tesseral.interfaces.e3nn.util import jit
from tesseral.interfaces.e3nn.util.codegen import CodeGenMixin
from tesseral.interfaces.e3nn.util.test import (
    assert_equivariant,
    assert_normalized,
    equivariance_error,
    format_equivariance_error,
    random_irreps,
)


class Generated(CodeGenMixin, torch.nn.Module):
    def __init__(self):
        super().__init__()
        graph = torch.fx.Graph()
        x = graph.placeholder("x")
        graph.output(graph.call_function(torch.mul, (x, 2.0)))
        self._codegen_register({"_compiled": torch.fx.GraphModule(torch.nn.Module(), graph)})

    def forward(self, x):
        return self._compiled(x)


def test_generated_code_survives_pickling():
    module = pickle.loads(pickle.dumps(Generated()))
    assert module(torch.tensor(3.0)) == 6
    assert module.__codegen__ == ["_compiled"]
    assert isinstance(Generated().__getstate__()["__codegen__"]["_compiled"][1], bytes)


@jit.compile_mode("script")
class Doubling(torch.nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.filterwarnings("ignore")
def test_marks_and_torchscript():
    assert jit.get_compile_mode(Doubling()) == "script"
    scripted = jit.script(Doubling())
    assert isinstance(scripted, torch.jit.ScriptModule)
    with pytest.raises(NotImplementedError, match=r"Linear does not support TorchScript.*torch\.compile"):
        jit.compile(torch.nn.Sequential(o3.Linear("2x0e", "1x0e")))
    with pytest.raises(ValueError, match="invalid compile mode"):
        jit.compile_mode("fast")


def test_settings_come_back():
    before = get_optimization_defaults()

    def fail():
        with jit.disable_e3nn_codegen():
            assert get_optimization_defaults()["jit_mode"] == "eager"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert get_optimization_defaults() == before
    with pytest.raises(ValueError, match="Unknown optimization option"):
        set_optimization_defaults(fast=True)


def test_equivariance_is_measured():
    assert_equivariant(o3.FullyConnectedTensorProduct("2x0e+2x1o", "1x1o+1x2e", "2x1o+2x1e"), tolerance=1e-4)
    assert_equivariant(nn.Gate("3x0e", [torch.tanh], "4x0e", [torch.tanh], "2x1o+2x2e"), tolerance=1e-4)
    broken = equivariance_error(lambda x: x.abs(), [torch.randn(5, 3)], ["1o"], ["1o"])
    assert float(broken[0, False]) > 0.1
    assert "max error" in format_equivariance_error(broken)
    with pytest.raises(AssertionError, match="too large"):
        assert_equivariant(lambda x: x.abs(), [torch.randn(5, 3)], ["1o"], ["1o"])


def test_points_are_moved():
    def differences(x):
        return x[:, None] - x[None]

    errors = assert_equivariant(differences, [torch.randn(4, 3)], ["cartesian_points"], ["1o"], tolerance=1e-4)
    assert set(errors) == {(0, False), (0, True), (1, False), (1, True)}


def test_normalisation_is_measured():
    layer = o3.Linear("8x0e+8x1o", "8x0e+8x1o")
    assert_normalized(layer, n_input=500, n_weight=40, atol=0.5)
    with pytest.raises(AssertionError, match="is off by"):
        assert_normalized(lambda x: 3 * x, [o3.Irreps("2x0e")], [o3.Irreps("2x0e")], n_input=500)


def test_random_irreps_are_what_was_asked():
    for irreps in random_irreps(20, lmax=2, mul_max=3, len_max=3, clean=True, allow_empty=False):
        assert 0 < irreps.num_irreps <= 9
        assert irreps.lmax <= 2


def test_a_product_can_be_drawn():
    import matplotlib as mpl

    mpl.use("Agg")
    product = o3.FullyConnectedTensorProduct("2x0e+2x1o", "1x1o+1x2e", "2x1o+2x1e")
    figure, axes = product.visualize()
    assert len(axes.lines) == 3 * len(product.instructions)
    figure.clear()


def test_experimental_products_are_right_for_unsorted_inputs():
    new = o3.FullTensorProductv2("1e+0e", "0e")
    assert str(new.irreps_out) == "1x0e+1x1e"
    assert new(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0])).tolist() == [4.0, 1.0, 2.0, 3.0]


def test_features_that_reach_nothing_are_not_looked_at():
    assert o3.Linear("16x0e", "2x1o")(torch.randn(6, 0)).shape == (6, 6)
    assert o3.Linear("16x0e", "2x1o", f_in=3, f_out=4)(torch.randn(6, 3, 16)).shape == (6, 4, 6)
