"""A named backend runs or raises with the reason; `auto` chooses and can say why."""

from __future__ import annotations

import pytest
import torch

from tesseral.kernels import dispatch
from tests.kernels import programs

CPU = torch.device("cpu")


def test_auto_explains_itself():
    assert "cpu (fastest on cpu)" in dispatch.explain(programs.convolution("odd"))
    assert "reference (not cpu: its channels are not one vector index" in dispatch.explain(programs.matrix_product())
    assert "float16 is not float32 or float64" in dispatch.explain(programs.convolution("odd"), dtype=torch.float16)


def test_named_backends_raise_with_the_reason():
    program = programs.matrix_product()
    with pytest.raises(dispatch.BackendError, match="not one vector index"):
        dispatch.execute(program, *programs.inputs(program), "cpu")
    with pytest.raises(ValueError, match="'fast'"):
        dispatch.execute(program, *programs.inputs(program), "fast")


@pytest.mark.parametrize("make", [programs.matrix_product, programs.full_product, programs.symmetric_contraction])
def test_auto_runs_everything(make):
    program = make()
    arguments = programs.inputs(program)
    for a, b in zip(dispatch.execute(program, *arguments), dispatch.execute(program, *arguments, "reference"), strict=True):
        torch.testing.assert_close(a, b)


def test_tensors_that_do_not_fit_are_refused():
    program = programs.elementwise()
    tensors, maps, rows = programs.inputs(program)
    with pytest.raises(ValueError, match="takes 3 tensors"):
        dispatch.execute(program, tensors[:2], maps, rows)
    with pytest.raises(ValueError, match="int64"):
        dispatch.execute(program, tensors, [maps[0]._replace(index=maps[0].index.int())], rows)
    with pytest.raises(ValueError, match="expected"):
        dispatch.execute(program, [tensors[0][:-1], *tensors[1:]], maps, rows)
