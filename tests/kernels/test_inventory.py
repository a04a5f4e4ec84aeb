"""Which programs a model has, and what runs them."""

import pytest
import torch

from tesseral.kernels.inventory import describe, programs
from tesseral.models.mace import MACE, MACESettings
from tesseral.nn import Convolution, Linear


@pytest.fixture(scope="module")
def lines():
    model = MACE(MACESettings(species=(1, 6), num_neighbors=5.0, hidden="4x0e+4x1o", lmax=1, layers=1))
    return describe(model, "cpu", torch.float32)


@pytest.mark.parametrize("module", ["convolution", "product"])
def test_every_program_of_a_model_is_listed(lines, module):
    (line,) = [line for line in lines if line.startswith(f"layers.0.{module}: ")]
    assert line.endswith("; gradients: cpu, cpu")


def test_a_backend_that_cannot_run_it_says_so():
    (line,) = describe(Convolution("4x0e", "0e", "0e"), "cpu", torch.float16)
    assert "reference (not cpu: torch.float16 is not float32 or float64); gradients: reference, reference" in line


def test_what_has_no_program():
    assert programs(Linear("4x0e", "4x0e")) == []
