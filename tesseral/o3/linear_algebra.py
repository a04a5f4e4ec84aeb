"""Small linear algebra of change-of-basis matrices: orthonormal families, complements, block-diagonal sums."""

import torch
from jaxtyping import Float
from torch import Tensor


def direct_sum(*matrices: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The block-diagonal matrix of matrices ``(..., m_i, n_i)``, whose leading axes broadcast.

    Raises ``ValueError`` without a matrix.

    >>> direct_sum(torch.ones(1, 2), 2 * torch.ones(1, 1))
    tensor([[1., 1., 0.],
            [0., 0., 2.]])
    """
    if not matrices:
        raise ValueError("direct_sum needs at least one matrix")
    batch = torch.broadcast_shapes(*(m.shape[:-2] for m in matrices))
    width = sum(m.shape[-1] for m in matrices)
    rows, start = [], 0
    for m in matrices:
        m = m.expand(*batch, *m.shape[-2:])
        rows.append(torch.nn.functional.pad(m, (start, width - start - m.shape[-1])))
        start += m.shape[-1]
    return torch.cat(rows, -2)


def orthonormalize(
    vectors: Float[Tensor, "number dim"], eps: int | float = 1e-9
) -> tuple[Float[Tensor, "rank dim"], Float[Tensor, "rank number"]]:
    r"""Gram-Schmidt in the order of the rows: orthonormal y and the matrix A with :math:`y = A x`.

    Rows that depend on those before them (their residual is not longer than 2 ``eps``) are left out; entries below ``eps`` are
    set to zero, and the first other entry of each y is positive. Each row is projected twice, so y is orthonormal to rounding
    also where the rows are nearly dependent.

    >>> y, A = orthonormalize(torch.tensor([[2.0, 0.0], [4.0, 0.0], [1.0, -1.0]]))
    >>> y
    tensor([[1., 0.],
            [0., 1.]])
    >>> A @ torch.tensor([[2.0, 0.0], [4.0, 0.0], [1.0, -1.0]])
    tensor([[1., 0.],
            [0., 1.]])
    """
    number, dim = vectors.shape
    y, A = vectors.new_zeros(0, dim), vectors.new_zeros(0, number)
    for x, a in zip(vectors, torch.eye(number, dtype=vectors.dtype, device=vectors.device)):
        for _ in range(2):
            along = y @ x
            x, a = x - along @ y, a - along @ A
        length = x.norm()
        if length > 2 * eps:
            x, a = x / length, a / length
            x, a = torch.where(x.abs() < eps, 0.0, x), torch.where(a.abs() < eps, 0.0, a)
            sign = x[x.nonzero()[0, 0]].sign()
            y, A = torch.cat([y, sign * x[None]]), torch.cat([A, sign * a[None]])
    return y, A


def complete_basis(vectors: Float[Tensor, "number dim"], eps: int | float = 1e-9) -> Float[Tensor, "rest dim"]:
    """Orthonormal vectors that complete the span of ``vectors``, which need not be orthogonal, to the whole space.

    They come from the unit vectors, in order; the first entry of each that is not zero is positive.

    >>> complete_basis(torch.tensor([[0.0, 3.0, 0.0]]))
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    span, _ = orthonormalize(vectors, eps)
    unit = torch.eye(vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    basis, _ = orthonormalize(torch.cat([span, unit]), eps)
    return basis[len(span) :]
