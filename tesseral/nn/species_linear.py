"""A linear map whose weights depend on the species of the node: NequIP's self-connection."""

import torch
from jaxtyping import Float, Int

from tesseral.o3 import Irreps
from tesseral.ops.linear import linear_by_group
from tesseral.ops.linear_plan import linear_plan


class SpeciesLinear(torch.nn.Module):
    r"""Linear map of node features with a matrix for each species, made from learned species attributes.

    .. math:: y^{(o)}_{n,mw} = \frac{1}{\sqrt{A \sum_i U_i}} \sum_{i \to o} \sum_{u a} x^{(i)}_{n,mu}\, a_{s(n) a}\, W_{a,uw}

    which is e3nn's ``FullyConnectedTensorProduct(irreps_in, "Ax0e", irreps_out)``, but the attributes (species, A) are
    contracted with the weights (A, those of a :class:`~tesseral.nn.Linear`) first: the cost for each node does not grow with A.
    Layout ``ir_mul``. Source: Batzner et al., Nat. Commun. 13, 2453 (2022), self-interaction.

    >>> layer = SpeciesLinear("4x0e+2x1o", "3x0e+5x1o", attributes=8)
    >>> layer(torch.randn(6, 10), torch.randint(3, (6,)), torch.randn(3, 8)).shape
    torch.Size([6, 18])
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        attributes: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.attributes = Irreps(irreps_in), Irreps(irreps_out), attributes
        self.plan = linear_plan(self.irreps_in, self.irreps_out, f_in=attributes)
        self.weight = torch.nn.Parameter(torch.randn(attributes, self.plan.weight_numel, dtype=dtype, device=device))

    def forward(
        self,
        x: Float[torch.Tensor, "nodes dim_in"],
        species: Int[torch.Tensor, " nodes"],
        attributes: Float[torch.Tensor, "species attributes"],
    ) -> Float[torch.Tensor, "nodes dim_out"]:
        """Map features (nodes, irreps_in.dim), with the index of each node's species and the attributes of each species."""
        return linear_by_group(x, species, attributes @ self.weight, self.plan)

    def matrices(self) -> list[torch.Tensor]:
        """The matrices (attributes, channels in, channels out) that the weights form: views."""
        return self.plan.matrices(self.weight)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, attributes={self.attributes}, layout=ir_mul"
