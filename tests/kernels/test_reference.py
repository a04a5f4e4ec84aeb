"""The reference against formulas written by hand, in any dtype."""

from __future__ import annotations

import pytest
import torch

from tesseral.kernels import reference
from tests.kernels import programs


def test_convolution_by_loops():
    program = programs.shared_weights()
    (x, y, w), maps, rows = programs.inputs(program, items=6, rows=4)
    expected = torch.zeros(4, 9, dtype=torch.float64)
    for source, destination in zip(maps[0].index, maps[1].index, strict=True):
        expected[destination] += w[0] * (y[0] @ x[source].view(3, 9))
    torch.testing.assert_close(reference.execute(program, (x, y, w), maps, rows)[0], expected)


@pytest.mark.parametrize("shared", [True, False])
def test_matrix_product(shared):
    program = programs.matrix_product(shared)
    (x, y, w), maps, rows = programs.inputs(program, items=5)
    a, b = x.view(5, 3, 4), y.view(5, 3, 2)
    dot = torch.einsum("zmu,zmv->zuv", a, b) / 3**0.5
    cross = torch.linalg.cross(a[..., None], b[:, :, None, :].expand(5, 3, 4, 2), dim=1)
    first, second = (w.view(-1, 2, 4, 2, 5)[:, n].expand(5, 4, 2, 5) for n in range(2))
    scalar = torch.einsum("zuv,zuvw->zw", dot, first)
    vector = torch.einsum("zmuv,zuvw->zmw", cross, second)
    expected = torch.cat([scalar, vector.reshape(5, 15)], dim=1)
    torch.testing.assert_close(reference.execute(program, (x, y, w), maps, rows)[0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_other_dtypes(dtype):
    program = programs.elementwise()
    tensors, maps, rows = programs.inputs(program, dtype=dtype)
    result = reference.execute(program, tensors, maps, rows)[0]
    exact = reference.execute(program, [t.double() for t in tensors], maps, rows)[0]
    assert result.dtype == dtype
    assert (result.double() - exact).abs().max() < 8 * torch.finfo(dtype).eps * exact.abs().max()


def test_no_items():
    for program in programs.derivatives(programs.shared_weights()):
        for value in reference.execute(program, *programs.inputs(program, items=0)):
            assert torch.all(value == 0)


@pytest.mark.parametrize("name", ["shared_weights", "matrix_product", "elementwise"])
def test_pieces_are_the_whole(name, monkeypatch):
    program = programs.matrix_product(False) if name == "matrix_product" else getattr(programs, name)()
    for each in [program, *programs.derivatives(program)]:
        tensors, maps, rows = programs.inputs(each, items=7)
        monkeypatch.setattr(reference, "_PIECE", 1 << 18)
        whole = reference.execute(each, tensors, maps, rows)
        monkeypatch.setattr(reference, "_PIECE", 2 * max(reference._between(each, path) for path in each.form.paths))
        for piecewise, value in zip(reference.execute(each, tensors, maps, rows), whole, strict=True):
            torch.testing.assert_close(piecewise, value)
