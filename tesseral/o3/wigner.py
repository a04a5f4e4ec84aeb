r"""Wigner D matrices: how the real spherical harmonics of degree l turn under a rotation, :math:`Y^l(Rx) = D^l(R)\,Y^l(x)`.

There are no angles inside. :math:`D^1` is the rotation matrix itself, and :math:`D^l` is the stretched part of the product
:math:`D^{l-1}\otimes R`,

.. math:: D^l = C_l^T\,(D^{l-1}\otimes R)\,C_l,

with :math:`C_l` the isometry of Clebsch-Gordan coefficients from l to (l-1) x 1. So every entry is a homogeneous polynomial of
degree l in the entries of R: smooth everywhere, without gimbal lock, in any dtype. Because :math:`C_l` is an isometry, errors
only add up, to some 1e-14 at l = 12. The polynomial holds for reflections too, where it gives parity :math:`(-1)^l`.
"""

from __future__ import annotations

import functools
import math
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from jaxtyping import Complex, Complex128, Float, Float64
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from tesseral.o3.irreps import Irreps, IrrepsLike
from tesseral.o3.layout import check_layout
from tesseral.o3.rotations import Device, angles_to_matrix, check_orthogonal, determinant, quaternion_to_matrix

# ---- exact constants


@functools.cache
def real_to_complex_array(l: int) -> Complex128[np.ndarray, "d d"]:
    r"""The unitary matrix from real to complex spherical harmonics of degree ``l``, times :math:`(-i)^l`.

    The factor makes the Clebsch-Gordan coefficients of the real basis real. Rows are complex, columns real m = -l, ..., l.
    Cached and read-only.
    """
    q = np.zeros((2 * l + 1, 2 * l + 1), complex)
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l - m, [l + m, l - m]] = np.array([1, -1j]) / np.sqrt(2)
        q[l + m, [l + m, l - m]] = (-1) ** m * np.array([1, 1j]) / np.sqrt(2)
    q *= (1, -1j, -1, 1j)[l % 4]
    q.setflags(write=False)
    return q


@functools.cache
def su2_generators_array(j: int) -> Complex128[np.ndarray, "3 d d"]:
    """The anti-Hermitian generators of rotations about x, y, z (e3nn's axes) in the complex basis; cached and read-only."""
    m = np.arange(-j, j)
    raising = np.diag(-np.sqrt(j * (j + 1) - m * (m + 1)), -1)
    polar = np.diag(1j * np.arange(-j, j + 1))
    generators = np.stack([(raising - raising.T) / 2, polar, -0.5j * (raising + raising.T)])
    generators.setflags(write=False)
    return generators


@functools.cache
def so3_generators_array(l: int) -> Float64[np.ndarray, "3 d d"]:
    """The antisymmetric generators of rotations about x, y, z in the real basis, exact to rounding; cached and read-only."""
    q = real_to_complex_array(l)
    generators = np.ascontiguousarray((q.conj().T @ su2_generators_array(l) @ q).real)
    generators = (generators - generators.transpose(0, 2, 1)) / 2
    generators.setflags(write=False)
    return generators


def change_basis_real_to_complex(l: int, dtype: torch.dtype = torch.float64, device: Device = None) -> Complex[Tensor, "d d"]:
    """The matrix :func:`real_to_complex_array` as a tensor, complex of the precision of the real ``dtype``.

    >>> change_basis_real_to_complex(1).abs().square().sum()
    tensor(3., dtype=torch.float64)
    """
    return torch.tensor(real_to_complex_array(l), device=device).to(dtype.to_complex())


def su2_generators(j: int, dtype: torch.dtype = torch.float64, device: Device = None) -> Complex[Tensor, "3 d d"]:
    """The generators :func:`su2_generators_array` as a tensor, complex of the precision of the real ``dtype``."""
    return torch.tensor(su2_generators_array(j), device=device).to(dtype.to_complex())


def so3_generators(l: int, dtype: torch.dtype = torch.float64, device: Device = None) -> Float[Tensor, "3 d d"]:
    """The generators :func:`so3_generators_array` as a tensor: D is the exponential of their combination by a rotation vector.

    >>> so3_generators(1)[2]
    tensor([[ 0., -1.,  0.],
            [ 1.,  0.,  0.],
            [ 0.,  0.,  0.]], dtype=torch.float64)
    """
    return torch.tensor(so3_generators_array(l), device=device).to(dtype)


# ---- the matrices


def wigner_D(
    l: int, alpha: Float[Tensor, "..."], beta: Float[Tensor, "..."], gamma: Float[Tensor, "..."]
) -> Float[Tensor, "... d d"]:
    r""":math:`D^l` of the rotation :math:`R_y(\alpha)R_x(\beta)R_y(\gamma)`, (..., 2l+1, 2l+1); the angles broadcast.

    >>> wigner_D(2, *torch.zeros(3)).diagonal()
    tensor([1., 1., 1., 1., 1.])
    """
    return wigner_D_all(l, angles_to_matrix(alpha, beta, gamma), check=False)[l]


def wigner_D_from_quaternion(l: int, q: Float[Tensor, "... 4"]) -> Float[Tensor, "... d d"]:
    """D^l of the rotation ``q``, whose length does not matter, (..., 2l+1, 2l+1)."""
    return wigner_D_all(l, quaternion_to_matrix(q), check=False)[l]


def wigner_D_from_matrix(l: int, R: Float[Tensor, "... 3 3"], check: bool = True) -> Float[Tensor, "... d d"]:
    """D^l of an orthogonal ``R``, (..., 2l+1, 2l+1); for a reflection with the parity of the harmonics, (-1)^l.

    Raises ``ValueError`` if ``R`` is not orthogonal, see :func:`rotations.check_orthogonal`, unless ``check=False``.

    >>> R = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> torch.equal(wigner_D_from_matrix(1, R), R)
    True
    """
    return wigner_D_all(l, R, check)[l]


def wigner_D_all(lmax: int, R: Float[Tensor, "... 3 3"], check: bool = True) -> list[Float[Tensor, "... _ _"]]:
    """D^0, ..., D^lmax of an orthogonal ``R``, at the cost of the last; see :func:`wigner_D_from_matrix`.

    >>> [D.shape[-1] for D in wigner_D_all(3, torch.eye(3))]
    [1, 3, 5, 7]
    """
    if lmax < 0:
        raise ValueError(f"the degree of a Wigner D matrix must not be negative, got {lmax}")
    if check:
        check_orthogonal(R)
    batch, dtype = R.shape[:-2], R.dtype
    if dtype.itemsize < 4:
        return [D.to(dtype) for D in wigner_D_all(lmax, R.float(), check=False)]
    with full_precision(R.device.type):
        flat = R.reshape(-1, 3, 3)
        matrices = [torch.ones_like(flat[:, :1, :1]), flat][: lmax + 1]
        for l in range(2, lmax + 1):
            matrices.append(_next(l, matrices[-1], flat))
    return [D.reshape(*batch, 2 * l + 1, 2 * l + 1) for l, D in enumerate(matrices)]


def full_precision(device_type: str) -> AbstractContextManager:
    """Keep autocast from rounding the products."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _next(l: int, previous: Tensor, R: Tensor) -> Tensor:
    """D^l from D^{l-1} and R, each with one batch axis."""
    n, N = 2 * l - 1, 2 * l + 1
    coupling = _coupling(l, R.dtype, R.device)
    columns = (previous.reshape(-1, n) @ coupling.reshape(n, 3 * N)).reshape(-1, n, 3, N)
    rotated = (R @ columns.transpose(1, 2).reshape(-1, 3, n * N)).reshape(-1, 3 * n, N)
    return coupling.transpose(0, 1).reshape(3 * n, N).mT @ rotated


def representation_from_matrix(
    irreps: IrrepsLike, R: Float[Tensor, "... 3 3"], k: Tensor | None = None, layout: str = "mul_ir", check: bool = True
) -> Float[Tensor, "... dim dim"]:
    """The block-diagonal matrix of ``R`` times the k-th power of inversion; see :meth:`Irreps.D_from_matrix`."""
    irreps = Irreps(irreps)
    check_layout(layout)
    if check:
        check_orthogonal(R)
    dtype = R.dtype
    R = R.float() if dtype.itemsize < 4 else R
    distinct = _distinct(irreps)
    matrices = wigner_D_all(max([l for l, _ in distinct], default=0), R, check=False)
    det = determinant(R)[..., None, None]
    entries = [matrices[l] if p == (-1) ** l else matrices[l] * det for l, p in distinct]
    if k is not None:
        sign = torch.where(k % 2 == 1, -1, 1).to(R.dtype)[..., None, None]
        entries = [D if p == 1 else D * sign for D, (_, p) in zip(entries, distinct)]
    batch = torch.broadcast_shapes(R.shape[:-2], () if k is None else k.shape)
    blocks = dict(zip(distinct, entries))
    rows = []
    for (mul, ir), place in zip(irreps, irreps.slices()):
        if mul == 0:
            continue
        D = blocks[ir[0], ir[1]].expand(*batch, ir.dim, ir.dim)
        copies = torch.eye(mul, dtype=R.dtype, device=R.device)
        if layout == "mul_ir":
            block = copies[:, None, :, None] * D[..., None, :, None, :]
        else:
            block = copies[None, :, None, :] * D[..., :, None, :, None]
        block = block.flatten(-4, -3).flatten(-2)
        rows.append(torch.nn.functional.pad(block, (place.start, irreps.dim - place.stop)))
    return torch.cat(rows, -2).to(dtype) if rows else R.new_zeros(*batch, 0, 0, dtype=dtype)


def _distinct(irreps: Irreps) -> list[tuple[int, int]]:
    """The degrees and parities that occur, each once."""
    return list(dict.fromkeys([(ir[0], ir[1]) for mul, ir in irreps if mul > 0]))


# ---- the coupling of l-1 and 1 to l


def stretched_coupling(l: int) -> list[float]:
    r"""The isometry from degree l to (l-1) x 1, :math:`\sqrt{2l+1}` times the 3j symbol, flattened from (2l-1, 3, 2l+1).

    Source: Varshalovich et al., Quantum Theory of Angular Momentum (1988), table 8.2, for :math:`P_l^{|m|}e^{im\phi}`, with the
    products written in cosines (m > 0) and sines (m < 0) of the angle from z to x. A list, so that it can be built in a graph.
    """
    n, N = 2 * l - 1, 2 * l + 1
    flat = [0.0] * (n * 3 * N)
    total = l * (2 * l - 1)
    for m in range(l + 1):
        along = math.sqrt((l - m) * (l + m) / total)
        up = math.sqrt((l + m) * (l + m - 1) / total) / 2  # from m - 1
        down = -math.sqrt((l - m) * (l - m - 1) / total) / 2  # from m + 1
        # component of degree l, component of degree l - 1, component of the vector, weight
        if m == 0:
            terms = [(0, 0, 0, along), (0, 1, 1, math.sqrt(2) * down), (0, -1, -1, math.sqrt(2) * down)]
        else:
            single = math.sqrt(2) if m == 1 else 1.0
            terms = [
                (m, m, 0, along),
                (m, m - 1, 1, single * up),
                (m, 1 - m, -1, -up if m > 1 else 0.0),
                (m, m + 1, 1, down),
                (m, -m - 1, -1, down),
                (-m, -m, 0, along),
                (-m, m - 1, -1, single * up),
                (-m, 1 - m, 1, up if m > 1 else 0.0),
                (-m, -m - 1, 1, down),
                (-m, m + 1, -1, -down),
            ]
        for to, previous, vector, weight in terms:
            if -l < previous < l:
                flat[((previous + l - 1) * 3 + vector + 1) * N + to + l] += weight
    return flat


def _coupling(l: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # while a graph is traced, tensors are stand-ins that must not be kept
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():
        return torch.tensor(stretched_coupling(l), dtype=dtype, device=device).reshape(2 * l - 1, 3, 2 * l + 1)
    return _kept_coupling(l, dtype, device)


@functools.cache
def _kept_coupling(l: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # a tensor made in inference mode could not be used outside it
    with torch.inference_mode(False):
        return torch.tensor(stretched_coupling(l), dtype=dtype, device=device).reshape(2 * l - 1, 3, 2 * l + 1)
