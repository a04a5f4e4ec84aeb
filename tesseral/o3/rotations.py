r"""Rotations as matrices, angles, quaternions, axis and angle, and rotation vectors; random ones, and the ways between.

Conventions are e3nn's. Angles are :math:`R(\alpha,\beta,\gamma)=R_y(\alpha)R_x(\beta)R_y(\gamma)`, in radians; quaternions are
:math:`(w,x,y,z)`, of any non-zero length; ``compose(g1, g2)`` applies g2 first. All conversions are batched, keep the dtype, and
work under ``torch.compile``, ``vmap`` and ``torch.func``. Their gradients are finite everywhere, and right wherever the map is
smooth: matrices and quaternions are everywhere (up to the sign of the quaternion, chosen so that w >= 0); angles are not at the
poles, beta = 0 and pi, nor an axis at the identity, nor both at the cut of their period. The way from a matrix is through
quaternions, by the best conditioned of four charts (Shepperd, J. Guid. Control 1, 223 (1978)), without an arccosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Device = torch.device | str | int | None
Angles = tuple[Float[Tensor, "..."], Float[Tensor, "..."], Float[Tensor, "..."]]
AxisAngle = tuple[Float[Tensor, "... 3"], Float[Tensor, "..."]]


# ---- pieces that keep gradients finite


def _scaled(x: Tensor, otherwise: Sequence[float]) -> Tensor:
    """``x`` over its largest component; ``otherwise``, with zero gradient, where it is zero.

    The scale is constant for derivatives, so this is for functions of the direction of ``x`` alone, whose derivatives of all
    orders stay right; neither huge nor tiny lengths overflow.
    """
    scale = x.detach().abs().amax(-1, keepdim=True)
    nonzero = scale > 0
    constant = torch.stack([torch.full_like(x[..., 0], value) for value in otherwise], -1)
    return torch.where(nonzero, x / torch.where(nonzero, scale, 1), constant)


def _unit(x: Tensor, otherwise: Sequence[float]) -> Tensor:
    """``x`` over its length; ``otherwise``, with zero gradient, where it is zero."""
    x = _scaled(x, otherwise)
    square = x.square().sum(-1, keepdim=True)
    return x / torch.where(square > 0, square, 1).sqrt()


def _length(*components: Tensor) -> Tensor:
    """The length of a vector, with zero gradient where that is too small for its gradient to be finite."""
    square = sum((component.square() for component in components), torch.zeros_like(components[0]))
    small = square < _smallest_square(square.dtype)
    return torch.where(small, 0, torch.where(small, 1, square).sqrt())


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of (x, y), and zero with zero gradient where that is too short for its gradient to be finite."""
    small = y.square() + x.square() < _smallest_square(y.dtype)
    return torch.atan2(torch.where(small, 0, y), torch.where(small, 1, x))


def _smallest_square(dtype: torch.dtype) -> float:
    """The smallest square of a length that we divide by: its inverse square, in a second derivative, does not overflow."""
    return torch.finfo(dtype).tiny ** 0.5


def _series(square: Tensor, coefficients: Sequence[float]) -> Tensor:
    """A polynomial in ``square`` by Horner's rule."""
    value = torch.full_like(square, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * square + coefficient
    return value


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(list(row), -1) for row in rows], -2)


def _nonnegative(q: Tensor) -> Tensor:
    """Of q and -q, which are the same rotation, the one with w >= 0."""
    return torch.where(q[..., :1] < 0, -q, q)


def check_orthogonal(R: Float[Tensor, "... 3 3"], proper: bool = False) -> None:
    r"""Raise ``ValueError`` unless each matrix is orthogonal, and a rotation if ``proper``.

    The largest entry of :math:`R^TR-1` may be the square root of the machine epsilon of the dtype, and at least 1e-6. Reads
    values, so it waits for a GPU; does nothing where there are no values to read: in compiled, exported, traced and vmapped code.

    >>> check_orthogonal(2 * torch.eye(3))
    Traceback (most recent call last):
    ValueError: expected orthogonal matrices, but an entry of R^T R - 1 is 3 (tolerance 0.00035 for this dtype)...
    """
    if R.shape[-2:] != (3, 3):
        raise ValueError(f"expected matrices of shape (..., 3, 3), got shape {tuple(R.shape)}")
    if torch.compiler.is_compiling() or R.numel() == 0:
        return
    tolerance = max(1e-6, torch.finfo(R.dtype).eps ** 0.5)
    R = R.detach().double() if R.device.type == "cpu" else R.detach().float()
    try:
        gram = (R[..., :, :, None] * R[..., :, None, :]).sum(-3)
        deviation = float((gram - torch.eye(3, dtype=R.dtype, device=R.device)).abs().max())
        lowest = float(determinant(R).min())
    except RuntimeError:  # traced or mapped: there are no values
        return
    if not deviation <= tolerance:
        raise ValueError(
            f"expected orthogonal matrices, but an entry of R^T R - 1 is {deviation:.2g} (tolerance {tolerance:.2g} for "
            f"this dtype); orthogonalise them, for example by a QR decomposition, or skip the check with check=False"
        )
    if proper and lowest < 0:
        raise ValueError(f"expected rotations, got a reflection (determinant {lowest:.3g}); multiply it by its determinant")


def determinant(R: Float[Tensor, "... 3 3"]) -> Float[Tensor, "..."]:
    """The determinant as a polynomial, the triple product of the rows.

    >>> determinant(-torch.eye(3))
    tensor(-1.)
    """
    a, b, c = R.unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum(-1)


# ---- random rotations and the identity


def rand_angles(
    *shape: int,
    requires_grad: bool = False,
    dtype: torch.dtype | None = None,
    device: Device = None,
    generator: torch.Generator | None = None,
) -> Angles:
    """Angles of rotations uniform in SO(3), each of shape ``shape``. The same seed gives the same rotations as in e3nn."""
    alpha, gamma = 2 * math.pi * torch.rand(2, *shape, dtype=dtype, device=device, generator=generator)
    beta = torch.rand(shape, dtype=dtype, device=device, generator=generator).mul(2).sub(1).acos()
    return alpha.requires_grad_(requires_grad), beta.requires_grad_(requires_grad), gamma.requires_grad_(requires_grad)


def rand_matrix(
    *shape: int,
    requires_grad: bool = False,
    dtype: torch.dtype | None = None,
    device: Device = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "... 3 3"]:
    """Matrices (*shape, 3, 3) of rotations uniform in SO(3).

    >>> rand_matrix(5).shape
    torch.Size([5, 3, 3])
    """
    R = angles_to_matrix(*rand_angles(*shape, dtype=dtype, device=device, generator=generator))
    return R.requires_grad_(requires_grad)


def rand_quaternion(
    *shape: int,
    requires_grad: bool = False,
    dtype: torch.dtype | None = None,
    device: Device = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "... 4"]:
    """Unit quaternions (*shape, 4) of rotations uniform in SO(3)."""
    q = angles_to_quaternion(*rand_angles(*shape, dtype=dtype, device=device, generator=generator))
    return q.requires_grad_(requires_grad)


def rand_axis_angle(
    *shape: int,
    requires_grad: bool = False,
    dtype: torch.dtype | None = None,
    device: Device = None,
    generator: torch.Generator | None = None,
) -> AxisAngle:
    """Unit axes (*shape, 3) and angles (*shape) in [0, pi] of rotations uniform in SO(3)."""
    axis, angle = angles_to_axis_angle(*rand_angles(*shape, dtype=dtype, device=device, generator=generator))
    return axis.requires_grad_(requires_grad), angle.requires_grad_(requires_grad)


def identity_angles(*shape: int, requires_grad: bool = False, dtype: torch.dtype | None = None, device: Device = None) -> Angles:
    """The angles (0, 0, 0) of the identity, each of shape ``shape``."""
    alpha, beta, gamma = (torch.zeros(shape, dtype=dtype, device=device, requires_grad=requires_grad) for _ in range(3))
    return alpha, beta, gamma


def identity_quaternion(
    *shape: int, requires_grad: bool = False, dtype: torch.dtype | None = None, device: Device = None
) -> Float[Tensor, "... 4"]:
    """The quaternions (1, 0, 0, 0) of the identity, (*shape, 4).

    >>> identity_quaternion()
    tensor([1., 0., 0., 0.])
    """
    q = torch.zeros(*shape, 4, dtype=dtype, device=device)
    q[..., 0] = 1
    return q.requires_grad_(requires_grad)


# ---- products and inverses


def compose_angles(a1: Tensor, b1: Tensor, c1: Tensor, a2: Tensor, b2: Tensor, c2: Tensor) -> Angles:
    """The angles of the rotation (a2, b2, c2) followed by (a1, b1, c1)."""
    return quaternion_to_angles(compose_quaternion(angles_to_quaternion(a1, b1, c1), angles_to_quaternion(a2, b2, c2)))


def inverse_angles(a: Float[Tensor, "..."], b: Float[Tensor, "..."], c: Float[Tensor, "..."]) -> Angles:
    """The angles (-c, -b, -a) of the inverse rotation."""
    return -c, -b, -a


def compose_quaternion(q1: Float[Tensor, "... 4"], q2: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """The quaternion product, the rotation ``q2`` followed by ``q1``.

    >>> compose_quaternion(torch.tensor([0.0, 1, 0, 0]), torch.tensor([0.0, 0, 1, 0]))
    tensor([0., 0., 0., 1.])
    """
    w1, x1, y1, z1 = q1.unbind(-1)
    w2, x2, y2, z2 = q2.unbind(-1)
    return torch.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ],
        -1,
    )


def inverse_quaternion(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """The conjugate (w, -x, -y, -z), for a unit quaternion the inverse."""
    return torch.cat([q[..., :1], -q[..., 1:]], -1)


def compose_axis_angle(
    axis1: Float[Tensor, "... 3"], angle1: Float[Tensor, "..."], axis2: Float[Tensor, "... 3"], angle2: Float[Tensor, "..."]
) -> AxisAngle:
    """The axis and the angle in [0, 2 pi] of the second rotation followed by the first."""
    return quaternion_to_axis_angle(
        compose_quaternion(axis_angle_to_quaternion(axis1, angle1), axis_angle_to_quaternion(axis2, angle2))
    )


# ---- to matrices


def matrix_x(angle: Float[Tensor, "..."]) -> Float[Tensor, "... 3 3"]:
    """The rotation about the x axis, from y to z."""
    c, s, o, z = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([[o, z, z], [z, c, -s], [z, s, c]])


def matrix_y(angle: Float[Tensor, "..."]) -> Float[Tensor, "... 3 3"]:
    """The rotation about the y axis, from z to x."""
    c, s, o, z = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([[c, z, s], [z, o, z], [-s, z, c]])


def matrix_z(angle: Float[Tensor, "..."]) -> Float[Tensor, "... 3 3"]:
    """The rotation about the z axis, from x to y."""
    c, s, o, z = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return _matrix([[c, -s, z], [s, c, z], [z, z, o]])


def angles_to_matrix(
    alpha: Float[Tensor, "..."], beta: Float[Tensor, "..."], gamma: Float[Tensor, "..."]
) -> Float[Tensor, "... 3 3"]:
    """The matrix R_y(alpha) R_x(beta) R_y(gamma); the angles broadcast.

    >>> angles_to_matrix(torch.tensor(torch.pi / 2), torch.tensor(0.0), torch.tensor(0.0)).round() @ torch.eye(3)[2]
    tensor([1., 0., 0.])
    """
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    ca, cb, cc = alpha.cos(), beta.cos(), gamma.cos()
    sa, sb, sc = alpha.sin(), beta.sin(), gamma.sin()
    return _matrix(
        [
            [ca * cc - sa * cb * sc, sa * sb, ca * sc + sa * cb * cc],
            [sb * sc, cb, -sb * cc],
            [-sa * cc - ca * cb * sc, ca * sb, ca * cb * cc - sa * sc],
        ]
    )


def quaternion_to_matrix(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3 3"]:
    """The matrix of the direction of ``q``, whose length does not matter; the identity for zero.

    >>> quaternion_to_matrix(torch.tensor([0.0, 0, 2, 0])).diagonal()
    tensor([-1.,  1., -1.])
    """
    q = _scaled(q, (1.0, 0.0, 0.0, 0.0))
    w, x, y, z = (q * (2 / q.square().sum(-1, keepdim=True)).sqrt()).unbind(-1)
    return _matrix(
        [
            [1 - y * y - z * z, x * y - w * z, x * z + w * y],
            [x * y + w * z, 1 - x * x - z * z, y * z - w * x],
            [x * z - w * y, y * z + w * x, 1 - x * x - y * y],
        ]
    )


def axis_angle_to_matrix(axis: Float[Tensor, "... 3"], angle: Float[Tensor, "..."]) -> Float[Tensor, "... 3 3"]:
    """The rotation by ``angle`` about ``axis`` of any length; no rotation for a zero axis. The two broadcast."""
    return quaternion_to_matrix(axis_angle_to_quaternion(axis, angle))


def rotation_vector_to_matrix(vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """The rotation about ``vector`` by its length: the matrix exponential, smooth everywhere.

    >>> rotation_vector_to_matrix(torch.zeros(3)).diagonal()
    tensor([1., 1., 1.])
    """
    return quaternion_to_matrix(rotation_vector_to_quaternion(vector))


# ---- to quaternions


def angles_to_quaternion(
    alpha: Float[Tensor, "..."], beta: Float[Tensor, "..."], gamma: Float[Tensor, "..."]
) -> Float[Tensor, "... 4"]:
    """The unit quaternion of R_y(alpha) R_x(beta) R_y(gamma); smooth, so of either sign; the angles broadcast."""
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    c, s = (beta / 2).cos(), (beta / 2).sin()
    plus, minus = (alpha + gamma) / 2, (alpha - gamma) / 2
    return torch.stack([c * plus.cos(), s * minus.cos(), c * plus.sin(), -s * minus.sin()], -1)


def matrix_to_quaternion(R: Float[Tensor, "... 3 3"], check: bool = True) -> Float[Tensor, "... 4"]:
    """The unit quaternion with w >= 0 of a rotation; accurate and with accurate gradients for every rotation.

    Raises ``ValueError`` for a matrix that is not a rotation, see :func:`check_orthogonal`, unless ``check=False``.

    >>> matrix_to_quaternion(torch.diag(torch.tensor([-1.0, 1.0, -1.0])))
    tensor([0., 0., 1., 0.])
    """
    if check:
        check_orthogonal(R, proper=True)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in R.unbind(-2))
    # 4 q q^T: each row is proportional to q, and the one with the largest diagonal is at least as long as 2
    products = _matrix(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
        ]
    )
    chart = products.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = products.gather(-2, chart[..., None, None].expand(*chart.shape, 1, 4)).squeeze(-2)
    return _nonnegative(_unit(q, (1.0, 0.0, 0.0, 0.0)))


def axis_angle_to_quaternion(axis: Float[Tensor, "... 3"], angle: Float[Tensor, "..."]) -> Float[Tensor, "... 4"]:
    """The unit quaternion of the rotation by ``angle`` about ``axis`` of any length; (1, 0, 0, 0) for a zero axis."""
    half = angle[..., None] / 2
    unit = _unit(axis, (0.0, 0.0, 0.0))
    unit, half = torch.broadcast_tensors(unit, half)
    real = torch.where((axis == 0).all(-1, keepdim=True), 1, half[..., :1].cos())
    return torch.cat([real, unit * half.sin()], -1)


def rotation_vector_to_quaternion(vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 4"]:
    """The unit quaternion of the rotation about ``vector`` by its length; smooth everywhere."""
    square = vector.square().sum(-1, keepdim=True) / 4  # of half the angle
    small = square < 1e-2
    half = torch.where(small, 1, square).sqrt()
    near = torch.where(small, square, 0)
    cosine = torch.where(small, _series(near, [(-1) ** k / math.factorial(2 * k) for k in range(8)]), half.cos())
    sinc = torch.where(small, _series(near, [(-1) ** k / math.factorial(2 * k + 1) for k in range(8)]), half.sin() / half)
    return torch.cat([cosine, vector * (sinc / 2)], -1)


# ---- to axis and angle, and to rotation vectors


def quaternion_to_axis_angle(q: Float[Tensor, "... 4"]) -> AxisAngle:
    """The unit axis and the angle in [0, 2 pi] of the direction of ``q``; the axis of the identity is (0, 1, 0).

    >>> axis, angle = quaternion_to_axis_angle(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    >>> axis, angle
    (tensor([0., 0., 1.]), tensor(3.1416))
    """
    q = _scaled(q, (1.0, 0.0, 0.0, 0.0))
    w, x, y, z = q.unbind(-1)
    return _unit(q[..., 1:], (0.0, 1.0, 0.0)), 2 * _atan2(_length(x, y, z), w)


def matrix_to_axis_angle(R: Float[Tensor, "... 3 3"], check: bool = True) -> AxisAngle:
    """The unit axis and the angle in [0, pi] of a rotation, accurate also near both. Raises as :func:`matrix_to_quaternion`."""
    return quaternion_to_axis_angle(matrix_to_quaternion(R, check))


def angles_to_axis_angle(alpha: Float[Tensor, "..."], beta: Float[Tensor, "..."], gamma: Float[Tensor, "..."]) -> AxisAngle:
    """The unit axis and the angle in [0, pi] of R_y(alpha) R_x(beta) R_y(gamma)."""
    return quaternion_to_axis_angle(_nonnegative(angles_to_quaternion(alpha, beta, gamma)))


def quaternion_to_rotation_vector(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3"]:
    """The axis times the angle in [0, pi] of the direction of ``q``; smooth but at rotations by pi.

    >>> quaternion_to_rotation_vector(torch.tensor([-1.0, 0.0, 0.0, 0.0]))
    tensor([0., 0., 0.])
    """
    q = _scaled(_nonnegative(q), (1.0, 0.0, 0.0, 0.0))
    w, v = q[..., :1], q[..., 1:]
    square = v.square().sum(-1, keepdim=True)
    small = square < 1e-2 * w.square()
    real = torch.where(small, w, 1)
    near = torch.where(small, square, 0) / real.square()
    far = torch.where(small, 1, square).sqrt()
    series = _series(near, [(-1) ** k / (2 * k + 1) for k in range(9)]) / real
    return 2 * v * torch.where(small, series, torch.atan2(far, w) / far)


def matrix_to_rotation_vector(R: Float[Tensor, "... 3 3"], check: bool = True) -> Float[Tensor, "... 3"]:
    """The axis times the angle in [0, pi] of a rotation: the matrix logarithm. Raises as :func:`matrix_to_quaternion`.

    >>> matrix_to_rotation_vector(matrix_z(torch.tensor(0.5)))
    tensor([0.0000, 0.0000, 0.5000])
    """
    return quaternion_to_rotation_vector(matrix_to_quaternion(R, check))


# ---- to angles


def matrix_to_angles(R: Float[Tensor, "... 3 3"], check: bool = True) -> Angles:
    """The angles (alpha, beta, gamma) with beta in [0, pi]; alpha is 0 at the poles. Raises as :func:`matrix_to_quaternion`."""
    if check:
        check_orthogonal(R, proper=True)
    alpha = _atan2(R[..., 0, 1], R[..., 2, 1])
    beta = _atan2(_length(R[..., 0, 1], R[..., 2, 1]), R[..., 1, 1])
    c, s = alpha.cos(), alpha.sin()
    gamma = _atan2(c * R[..., 0, 2] - s * R[..., 2, 2], c * R[..., 0, 0] - s * R[..., 2, 0])
    return alpha, beta, gamma


def quaternion_to_angles(q: Float[Tensor, "... 4"]) -> Angles:
    """The angles (alpha, beta, gamma) with beta in [0, pi] of the direction of ``q``; alpha is 0 at the poles."""
    return matrix_to_angles(quaternion_to_matrix(q), check=False)


def axis_angle_to_angles(axis: Float[Tensor, "... 3"], angle: Float[Tensor, "..."]) -> Angles:
    """The angles (alpha, beta, gamma) with beta in [0, pi] of the rotation by ``angle`` about ``axis``."""
    return matrix_to_angles(axis_angle_to_matrix(axis, angle), check=False)


# ---- points on the sphere


def angles_to_xyz(alpha: Float[Tensor, "..."], beta: Float[Tensor, "..."]) -> Float[Tensor, "... 3"]:
    """The point (sin b sin a, cos b, sin b cos a) on the unit sphere, to which R(a, b, ·) takes the y axis.

    >>> angles_to_xyz(torch.tensor(1.7), torch.tensor(0.0)).abs()
    tensor([0., 1., 0.])
    """
    alpha, beta = torch.broadcast_tensors(alpha, beta)
    return torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], -1)


def xyz_to_angles(xyz: Float[Tensor, "... 3"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The angles (alpha, beta) of the direction of a vector of any length, beta in [0, pi]; of zero, those of the z axis.

    >>> xyz_to_angles(torch.tensor([0.0, 0.0, 2.0]))
    (tensor(0.), tensor(1.5708))
    """
    x, y, z = _scaled(xyz, (0.0, 0.0, 1.0)).unbind(-1)
    return _atan2(x, z), _atan2(_length(x, z), y)
