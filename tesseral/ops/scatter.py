"""Reductions of rows by an index, deterministic for any order of the index: sums, means and maxima over neighbours or atoms."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def scatter(
    values: Float[Tensor, "items *shape"],
    index: Int[Tensor, " items"],
    rows: int,
    reduce: str = "sum",
) -> Float[Tensor, "rows *shape"]:
    r"""Reduce the items that share an index: :math:`y_r = \sum_{e:\, i_e = r} x_e`, or their mean, or their maximum.

    Rows that no item names are zero. The gradient of a maximum is shared equally by the items that attain it. The order of
    summation is fixed, so results repeat bit by bit at the same number of threads, on GPUs too.
    Raises ``ValueError`` for an unknown reduction, and ``IndexError`` for an index outside the rows.

    >>> scatter(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), 4)
    tensor([2., 0., 5., 0.])
    >>> scatter(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), 4, reduce="mean")
    tensor([2.0000, 0.0000, 2.5000, 0.0000])
    """
    if reduce == "sum":
        return _sum(values, index, rows)
    if reduce == "mean":
        count = _sum(torch.ones_like(index, dtype=values.dtype), index, rows).clamp(min=1)
        return _sum(values, index, rows) / _align(count, values)
    if reduce == "max":
        largest = _largest(values, index, rows)
        attains = (values == largest[index]).to(values.dtype)
        share = attains / _sum(attains, index, rows).clamp(min=1)[index]
        return _sum(values * share, index, rows)
    raise ValueError(f"unknown reduction {reduce!r}: expected 'sum', 'mean' or 'max'")


def scatter_softmax(
    logits: Float[Tensor, "items *shape"],
    index: Int[Tensor, " items"],
    rows: int,
    weights: Float[Tensor, "items *shape"] | None = None,
) -> Float[Tensor, "items *shape"]:
    r"""Softmax among the items that share an index: :math:`\alpha_e = w_e e^{x_e} / \sum_{f:\, i_f = i_e} w_f e^{x_f}`.

    ``weights`` that vanish at the cutoff make attention over neighbours a smooth function of the positions; the attention of an
    item whose neighbours all have weight zero is zero.

    >>> scatter_softmax(torch.tensor([0.0, 5.0, 0.0]), torch.tensor([0, 1, 0]), 2)
    tensor([0.5000, 1.0000, 0.5000])
    """
    exponentials = torch.exp(logits - _largest(logits, index, rows)[index])
    if weights is not None:
        exponentials = exponentials * weights
    total = _sum(exponentials, index, rows)[index]
    empty = total <= 0
    return exponentials / torch.where(empty, torch.ones_like(total), total)


def _sum(values: Tensor, index: Tensor, rows: int) -> Tensor:
    zeros = values.new_zeros((rows, *values.shape[1:]))
    if values.device.type == "cuda":  # index_add there adds in any order; accumulating index_put sorts first
        return zeros.index_put((index,), values, accumulate=True)
    return zeros.index_add(0, index, values)


def _largest(values: Tensor, index: Tensor, rows: int) -> Tensor:
    """Maximum of each row, without a gradient; 0 in rows that no item names."""
    values = values.detach()
    where = _align(index, values).expand_as(values)
    return values.new_zeros((rows, *values.shape[1:])).scatter_reduce(0, where, values, "amax", include_self=False)


def _align(row: Tensor, values: Tensor) -> Tensor:
    return row.reshape(row.shape[0], *[1] * (values.ndim - 1))
