"""What a matrix of elastic constants means: moduli of a polycrystal, stability, and the sound it carries."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.physics.elasticity import VOIGT


@dataclasses.dataclass(frozen=True)
class Moduli:
    """Moduli of a polycrystal in GPa (bulk, shear: the mean of Voigt's and Reuss's bounds), Poisson's ratio, and anisotropy."""

    bulk_voigt: float
    bulk_reuss: float
    shear_voigt: float
    shear_reuss: float

    @property
    def bulk(self) -> float:
        """Hill's bulk modulus in GPa."""
        return 0.5 * (self.bulk_voigt + self.bulk_reuss)

    @property
    def shear(self) -> float:
        """Hill's shear modulus in GPa."""
        return 0.5 * (self.shear_voigt + self.shear_reuss)

    @property
    def young(self) -> float:
        """Young's modulus in GPa."""
        return 9 * self.bulk * self.shear / (3 * self.bulk + self.shear)

    @property
    def poisson(self) -> float:
        """Poisson's ratio."""
        return (3 * self.bulk - 2 * self.shear) / (6 * self.bulk + 2 * self.shear)

    @property
    def anisotropy(self) -> float:
        """The universal index 5 G_V/G_R + B_V/B_R - 6, zero for an isotropic crystal."""
        return 5 * self.shear_voigt / self.shear_reuss + self.bulk_voigt / self.bulk_reuss - 6


def moduli(constants: Float[Tensor, "6 6"]) -> Moduli:
    """Moduli of a polycrystal from the elastic constants (GPa) of a crystal.

    Raises ``ValueError`` for a crystal that is not stable. Source: Hill, Proc. Phys. Soc. A 65, 349 (1952); the anisotropy is
    that of Ranganathan and Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008).

    >>> c = torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 1], dtype=torch.float64))
    >>> c[:3, :3] += 1.0  # isotropic would be C44 = (C11 - C12) / 2 = 0.5
    >>> round(moduli(c).bulk, 6), round(moduli(c).shear_voigt, 6), moduli(c).anisotropy > 0
    (1.333333, 0.8, True)
    """
    stiffness = softest(constants)
    if stiffness <= 0:
        raise ValueError(f"the crystal is not stable: a strain meets the stiffness {stiffness:.3g} GPa; moduli have no meaning")
    s = torch.linalg.inv(constants)
    trace, across, shear = (
        constants[:3, :3].trace(),
        constants[0, 1] + constants[0, 2] + constants[1, 2],
        constants[3:, 3:].trace(),
    )
    s_trace, s_across, s_shear = s[:3, :3].trace(), s[0, 1] + s[0, 2] + s[1, 2], s[3:, 3:].trace()
    return Moduli(
        bulk_voigt=float(trace + 2 * across) / 9,
        bulk_reuss=1 / float(s_trace + 2 * s_across),
        shear_voigt=float(trace - across + 3 * shear) / 15,
        shear_reuss=15 / float(4 * s_trace - 4 * s_across + 3 * s_shear),
    )


def softest(constants: Float[Tensor, "6 6"]) -> float:
    """The smallest eigenvalue of the elastic constants; positive for a stable crystal (Born's criterion).

    >>> softest(torch.diag(torch.tensor([1.0, 1, 1, -2, 1, 1])))
    -2.0
    """
    return float(torch.linalg.eigvalsh(constants)[0])


def sound_velocities(constants: Float[Tensor, "6 6"], density: float, direction: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    r"""The three speeds of sound along ``direction`` in km/s, ascending: roots of the eigenvalues of Christoffel's matrix
    :math:`C_{iklj} n_k n_l / \rho`, with ``density`` in g/cm³ and constants in GPa.

    >>> c = torch.diag(torch.tensor([4.0, 4, 4, 1, 1, 1], dtype=torch.float64))
    >>> sound_velocities(c, 1.0, torch.tensor([1.0, 0, 0], dtype=torch.float64)).tolist()
    [1.0, 1.0, 2.0]
    """
    tensor = full_tensor(constants)
    n = direction / torch.linalg.vector_norm(direction)
    values = torch.linalg.eigvalsh(torch.einsum("iklj,k,l->ij", tensor, n, n) / density)
    return values.clamp(min=0).sqrt()


def young_modulus(constants: Float[Tensor, "6 6"], directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    r"""Young's modulus of the crystal in GPa along unit vectors: :math:`1/E(n) = S_{ijkl}\, n_i n_j n_k n_l`.

    >>> c = torch.diag(torch.tensor([4.0, 2, 1, 1, 1, 1], dtype=torch.float64))
    >>> young_modulus(c, torch.eye(3, dtype=torch.float64)).tolist()
    [4.0, 2.0, 1.0]
    """
    stress = torch.stack([directions[:, a] * directions[:, b] for a, b in VOIGT], 1)  # of a pull of 1 along each direction
    return 1 / torch.einsum("pm,mn,pn->p", stress, torch.linalg.inv(constants), stress)


def full_tensor(constants: Float[Tensor, "6 6"]) -> Float[Tensor, "3 3 3 3"]:
    """The tensor C_ijkl of a Voigt matrix.

    >>> full_tensor(torch.eye(6))[0, 1, 1, 0].item()
    1.0
    """
    place = torch.zeros(3, 3, dtype=torch.int64)
    for number, (a, b) in enumerate(VOIGT):
        place[a, b] = place[b, a] = number
    return constants[place[:, :, None, None], place[None, None]]
