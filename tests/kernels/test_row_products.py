"""Maps with matrices of each row's own, against einsum: widths around those of vectors, many components, streaming."""

import pytest
import torch

from tesseral.kernels import cpu_build, fused, row_products
from tesseral.ops.linear_plan import linear_plan

pytestmark = pytest.mark.skipif(cpu_build.missing_compiler() is not None, reason="no C++ compiler")

PLANS = {
    "whole vectors": linear_plan("16x0e+32x1o+16x2e", "64x0e+16x1o+48x2e"),
    "parts of vectors": linear_plan("20x0e+1x1o+33x2e+7x0e", "33x0e+2x1o+19x2e+3x4e"),
    "many components": linear_plan("3x6e+5x7o", "4x6e+17x7o"),
    "nothing": linear_plan("2x0e", "3x1o"),
}


def expected(x, w, g, plan):
    """The map, its transpose applied to g, and the outer product, one path after another."""
    y, back, outer = x.new_zeros(len(x), plan.dim_out), x.new_zeros(len(x), plan.dim_in), torch.zeros_like(w)
    for p in plan.paths:
        (a, components, n), (b, _, m) = plan.blocks_in[p.i_in], plan.blocks_out[p.i_out]
        left, right = x[:, a : a + components * n].view(-1, components, n), g[:, b : b + components * m].view(-1, components, m)
        matrix = w[:, p.start : p.start + n * m].view(-1, n, m)
        y[:, b : b + components * m] += p.coefficient * torch.einsum("rcn,rnm->rcm", left, matrix).flatten(1)
        back[:, a : a + components * n] += p.coefficient * torch.einsum("rcm,rnm->rcn", right, matrix).flatten(1)
        outer[:, p.start : p.start + n * m] = p.coefficient * torch.einsum("rcn,rcm->rnm", left, right).flatten(1)
    return y, back, outer


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", PLANS)
def test_against_einsum(name, dtype, tolerance, threads, monkeypatch):
    monkeypatch.setattr(fused, "_SERIAL_WORK", 0)
    monkeypatch.setattr(row_products, "_STREAM_BYTES", 0)
    plan = PLANS[name]
    blocks, before = plan.compiled, torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for rows in (0, 1, 37):
            x, w, g = (torch.randn(rows, n, dtype=dtype) for n in (plan.dim_in, plan.weight_numel, plan.dim_out))
            found = (
                row_products.linear(x, w, blocks, False),
                row_products.linear(g, w, blocks.transposed(), True),
                row_products.outer(x, g, blocks),
            )
            torch.testing.assert_close(found, expected(x, w, g, plan), rtol=tolerance, atol=tolerance)
    finally:
        torch.set_num_threads(before)


def test_one_row_does_not_enter_another():
    """What lies behind a matrix is loaded with its last vectors, and must not be used."""
    plan = PLANS["parts of vectors"]
    x, w, g = (torch.randn(3, n) for n in (plan.dim_in, plan.weight_numel, plan.dim_out))
    w[1] = torch.nan
    for value in (row_products.linear(x, w, plan.compiled, False), row_products.linear(g, w, plan.compiled.transposed(), True)):
        assert bool(torch.isfinite(value[[0, 2]]).all())
