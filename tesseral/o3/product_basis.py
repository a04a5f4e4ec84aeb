r"""Bases of the symmetric and antisymmetric powers of a representation: all that a product of n equal features can say once.

.. math:: \operatorname{Sym}^n V \cong \bigoplus_k V_k, \qquad \Lambda^n V \cong \bigoplus_k V_k

with the orthonormal change of basis of :func:`~tesseral.o3.reduce.reduce_tensor`.
"""

from collections.abc import Iterable

from tesseral.o3.clebsch_gordan import Convention
from tesseral.o3.irreps import Irrep, Irreps, IrrepsLike
from tesseral.o3.reduce import ReducedTensor, reduce_tensor

_LETTERS = "ijklmnopqrstuvw"


def product_basis(
    irreps: Iterable[IrrepsLike], filter_ir_out: Iterable[str | Irrep] | None = None, convention: Convention = "0.6"
) -> ReducedTensor:
    """The product of several representations as a sum of irreps, without symmetry.

    >>> product_basis(["1o", "1o"]).irreps_out
    1x0e+1x1e+1x2e
    """
    spaces = [Irreps(space) for space in irreps]
    letters = _letters(len(spaces))
    return reduce_tensor(letters, filter_ir_out, convention=convention, **dict(zip(letters, spaces)))


def symmetric_product_basis(
    irreps: IrrepsLike, order: int, filter_ir_out: Iterable[str | Irrep] | None = None, convention: Convention = "0.6"
) -> ReducedTensor:
    """The symmetric power of a representation; ``change_of_basis`` is ``(irreps_out.dim, dim, ..., dim)``.

    Raises ``ValueError`` for an order below 1.

    >>> symmetric_product_basis("1o", 3).irreps_out
    1x1o+1x3o
    """
    return _power(irreps, order, "", filter_ir_out, convention)


def antisymmetric_product_basis(
    irreps: IrrepsLike, order: int, filter_ir_out: Iterable[str | Irrep] | None = None, convention: Convention = "0.6"
) -> ReducedTensor:
    """The antisymmetric power of a representation; ``change_of_basis`` is ``(irreps_out.dim, dim, ..., dim)``.

    Raises ``ValueError`` for an order below 1.

    >>> antisymmetric_product_basis("1o", 2).irreps_out, antisymmetric_product_basis("1o", 3).irreps_out
    (1x1e, 1x0o)
    """
    return _power(irreps, order, "-", filter_ir_out, convention)


def _power(
    irreps: IrrepsLike, order: int, sign: str, filter_ir_out: Iterable[str | Irrep] | None, convention: Convention
) -> ReducedTensor:
    letters = _letters(order)
    terms = [letters]
    for i in range(order - 1):
        terms.append(f"{sign}{letters[:i]}{letters[i + 1]}{letters[i]}{letters[i + 2 :]}")
    return reduce_tensor("=".join(terms), filter_ir_out, convention=convention, i=Irreps(irreps))


def _letters(order: int) -> str:
    if not 1 <= order <= len(_LETTERS):
        raise ValueError(f"the number of factors must be from 1 to {len(_LETTERS)}, got {order}")
    return _LETTERS[:order]
