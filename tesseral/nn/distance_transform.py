r"""Transforms of the distance before the radial basis, in units of the covalent radii of the two atoms.

They take distances in Å and atomic numbers of the ends of the edges, all of shape ``(edges,)``, and return ``(edges,)``; they
spread the short distances, where energies vary fast, over more of the basis. Values and derivatives are finite for every r > 0.
"""

import numpy as np
import torch
from ase.data import covalent_radii
from jaxtyping import Float, Int
from torch import Tensor, nn


class AgnesiTransform(nn.Module):
    r"""The rational function :math:`\left(1 + \frac{a\, x^q}{1 + x^{q-p}}\right)^{-1}` of :math:`x = r/r_0`, from 1 to 0.

    :math:`r_0` is the mean of the two covalent radii.
    Source: Witt et al., J. Chem. Phys. 159, 164101 (2023), with the constants of the MACE-MP models.

    >>> AgnesiTransform()(torch.tensor([0.0, 1.52]), torch.tensor([6, 6]), torch.tensor([6, 6]))
    tensor([1.0000, 0.3457])
    """

    a: Tensor
    q: Tensor
    p: Tensor
    radii: Tensor

    def __init__(self, a: float = 1.0805, q: float = 0.9183, p: float = 4.5791) -> None:
        super().__init__()
        for name, value in (("a", a), ("q", q), ("p", p)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.register_buffer("radii", torch.from_numpy(np.array(covalent_radii, dtype=np.float64)))

    def forward(
        self, r: Float[Tensor, " edges"], source: Int[Tensor, " edges"], destination: Int[Tensor, " edges"]
    ) -> Float[Tensor, " edges"]:
        radii = self.radii.to(r.dtype)
        a, q, p = (value.to(r.dtype) for value in (self.a, self.q, self.p))
        x = r / (0.5 * (radii[source] + radii[destination]))
        # x^q / (1 + x^(q-p)) with p > q, multiplied out so that nothing overflows at short distances
        return (1 + a * x**p / (1 + x ** (p - q))).reciprocal()

    def extra_repr(self) -> str:
        return f"a={self.a.item():.4f}, q={self.q.item():.4f}, p={self.p.item():.4f}"


class SoftTransform(nn.Module):
    r"""The distance itself from 4/3 of the bond length on, held near 3/4 of it below: :math:`p_0 + (r - p_0)\, s(r)`.

    The bond length :math:`r_0` is the sum of the two covalent radii, :math:`p_0 = \tfrac34 r_0`, :math:`p_1 = \tfrac43 r_0`, and
    :math:`s = \tfrac12 \left(1 + \tanh \alpha \tfrac{r - (p_0 + p_1)/2}{p_1 - p_0}\right)`.
    Source: Batatia et al., arXiv:2401.00096, and the public code of version 0.3 for the constants.

    >>> SoftTransform()(torch.tensor([0.2, 4.0]), torch.tensor([6, 6]), torch.tensor([6, 6]))
    tensor([1.1400, 4.0000])
    """

    a: Tensor
    q: Tensor
    p: Tensor
    alpha: Tensor
    radii: Tensor

    def __init__(self, alpha: float = 4.0) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64))
        self.register_buffer("radii", torch.from_numpy(np.array(covalent_radii, dtype=np.float64)))

    def forward(
        self, r: Float[Tensor, " edges"], source: Int[Tensor, " edges"], destination: Int[Tensor, " edges"]
    ) -> Float[Tensor, " edges"]:
        radii = self.radii.to(r.dtype)
        bond = radii[source] + radii[destination]
        low, high = 0.75 * bond, 4 / 3 * bond
        step = 0.5 * (1 + torch.tanh(self.alpha.to(r.dtype) * (r - 0.5 * (low + high)) / (high - low)))
        return low + (r - low) * step

    def extra_repr(self) -> str:
        return f"alpha={self.alpha.item():.4f}"
