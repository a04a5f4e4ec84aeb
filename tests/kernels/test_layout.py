"""Blocks of rows transposed in one pass, against torch."""

import pytest
import torch

from tesseral.kernels import fused
from tesseral.kernels.layout import Transposition, transpose

BLOCKS = ((0, 4, 1), (4, 5, 3), (19, 3, 5), (34, 2, 7), (48, 7, 2), (62, 3, 3), (71, 6, 9), (125, 1, 2), (127, 9, 4))
DIM = 163
pytestmark = pytest.mark.skipif(not fused.available(torch.empty(1)), reason="no C++ compiler")


def by_torch(x, blocks):
    return torch.cat([x[:, o : o + a * b].reshape(-1, a, b).mT.reshape(-1, a * b) for o, a, b in blocks], dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 1, 5, 3000])  # the last is enough work for several threads
def test_against_torch(dtype, rows):
    x = torch.randn(rows, DIM, dtype=dtype)
    y = transpose(x, Transposition(BLOCKS, DIM))
    assert y.dtype == dtype
    assert y.equal(by_torch(x, BLOCKS))


def test_the_inverse_is_the_way_back():
    forth = Transposition(BLOCKS, DIM)
    x = torch.randn(5, DIM)
    assert transpose(transpose(x, forth), forth.inverse).equal(x)
    assert forth.inverse.inverse == forth


def test_rows_may_lie_apart():
    wide = torch.randn(5, DIM + 40)
    x = wide[:, 13 : 13 + DIM]
    assert transpose(x, Transposition(BLOCKS, DIM)).equal(by_torch(x, BLOCKS))


@pytest.mark.parametrize("number", [n for n, (_, a, b) in enumerate(BLOCKS) if min(a, b) > 1 and a != b])
def test_a_block_the_other_way_round_is_seen(number):
    offset, a, b = BLOCKS[number]
    wrong = Transposition((*BLOCKS[:number], (offset, b, a), *BLOCKS[number + 1 :]), DIM)
    x = torch.randn(3, DIM)
    assert not transpose(x, wrong).equal(by_torch(x, BLOCKS))
