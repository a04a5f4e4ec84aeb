"""Helpers for tests of equivariant code: random irreps, and assertions that say by how much they fail."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tesseral.groups.equivariance import EquivarianceError, equivariance_error
from tesseral.o3 import Irreps


def random_irreps(
    lmax: int = 4, max_blocks: int = 4, max_mul: int = 5, allow_empty: bool = False, generator: random.Random | None = None
) -> Irreps:
    """Random irreps of up to ``max_blocks`` blocks, of degree up to ``lmax``, unsorted, with repetitions.

    ``allow_empty`` allows no blocks, and multiplicities of zero.

    >>> irreps = random_irreps(lmax=2, generator=random.Random(0))
    >>> irreps.lmax <= 2, len(irreps) <= 4
    (True, True)
    """
    draw = generator or random.Random(int(torch.randint(2**31, ())))
    least = 0 if allow_empty else 1
    blocks = draw.randint(least, max_blocks)
    return Irreps([(draw.randint(least, max_mul), (draw.randint(0, lmax), draw.choice((-1, 1)))) for _ in range(blocks)])


def assert_equivariant(
    function: Callable[..., Any],
    rep_in: Any,
    rep_out: Any,
    group: Any = "O(3)",
    tolerance: float | None = None,
    inputs: Sequence[Any] | None = None,
) -> EquivarianceError:
    """Raise ``AssertionError`` where the error of :func:`~tesseral.groups.equivariance_error` is more than ``tolerance``.

    By default 1e-9 for inputs in double precision, 1e-3 in single. Returns the error.

    >>> float(assert_equivariant(lambda x: 2 * x, ["2x1o"], "2x1o")) < 1e-12
    True
    """
    error = equivariance_error(function, rep_in, rep_out, group, inputs=inputs)
    if tolerance is None:
        single = inputs is not None and any(isinstance(x, Tensor) and x.dtype == torch.float32 for x in inputs)
        tolerance = 1e-3 if single else 1e-9
    assert float(error) <= tolerance, f"not equivariant to {tolerance:.0e}: {error}"
    return error


def assert_normalized(
    function: Callable[..., Tensor],
    irreps_in: Sequence[object],
    irreps_out: object,
    normalization: str = "component",
    samples: int = 2000,
    tolerance: float = 0.15,
) -> Tensor:
    """Raise ``AssertionError`` where random features do not give features of unit scale, block by block of ``irreps_out``.

    Inputs have components of variance 1 (``"component"``) or irreps of norm 1 (``"norm"``); the mean square of a component, or
    of an irrep, of the output must be 1 to a relative ``tolerance``. Returns the mean squares of the blocks.

    >>> assert_normalized(lambda x: x, ["2x0e+3x1o"], "2x0e+3x1o").shape
    torch.Size([2])
    """
    out = Irreps(irreps_out)
    with torch.no_grad():
        result = function(*(Irreps(irreps).randn(samples, -1, normalization=normalization) for irreps in irreps_in))
    squares = torch.stack([result[:, place].square().mean() for place in out.slices() if place.start < place.stop])
    if normalization == "norm":
        squares = squares * squares.new_tensor([ir.dim for mul, ir in out if mul])
    worst = float((squares - 1).abs().max()) if len(squares) else 0.0
    assert worst <= tolerance, f"mean squares of {out} are {[round(float(s), 3) for s in squares]}, expected 1 to {tolerance}"
    return squares
