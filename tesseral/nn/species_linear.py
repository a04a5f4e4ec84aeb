"""A linear map whose weights depend on the species of the node: NequIP's self-connection."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.o3 import Irreps

# Up to this many species, one product with a one-hot axis is cheaper than gathering a matrix for each node.
_ONE_HOT_LIMIT = 8


class SpeciesLinear(torch.nn.Module):
    r"""Linear map of node features with a matrix for each species, made from learned species attributes.

    .. math:: y^{(o)}_{n,mw} = \frac{1}{\sqrt{A \sum_i U_i}} \sum_{i \to o} \sum_{u a} x^{(i)}_{n,mu}\, a_{s(n) a}\, W_{uaw}

    which is e3nn's ``FullyConnectedTensorProduct(irreps_in, "Ax0e", irreps_out)``, but the attributes (species, A) are
    contracted with the weights first, so that the cost for each node does not grow with A. Layout ``ir_mul``.
    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), self-interaction.

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
        plan = []  # one row for each output block: (paths into it, components, channels); a path is (input slice, its channels)
        weights = []
        slices = self.irreps_in.slices()
        for mul_out, ir_out in self.irreps_out:
            paths = [(slices[i].start, slices[i].stop, mul) for i, (mul, ir) in enumerate(self.irreps_in) if ir == ir_out and mul]
            plan.append((tuple(paths), ir_out.dim, mul_out))
            weights.append(torch.randn(sum(mul for *_, mul in paths), attributes, mul_out, dtype=dtype, device=device))
        self._plan = tuple(plan)
        self.weights = torch.nn.ParameterList(weights)

    def forward(
        self,
        x: Float[Tensor, "nodes dim_in"],
        species: Int[Tensor, " nodes"],
        attributes: Float[Tensor, "species attributes"],
    ) -> Float[Tensor, "nodes dim_out"]:
        """Map features (nodes, irreps_in.dim), with the index of each node's species and the attributes of each species."""
        nodes, num_species = x.shape[0], attributes.shape[0]
        one_hot = None
        if num_species <= _ONE_HOT_LIMIT:
            one_hot = torch.nn.functional.one_hot(species, num_species).to(x.dtype)[:, None, :, None]
        blocks = []
        for (paths, components, channels), weight in zip(self._plan, self.weights):
            fan_in = weight.shape[0] * self.attributes
            if fan_in == 0 or channels == 0:
                blocks.append(x.new_zeros(nodes, components * channels))
                continue
            matrices = torch.tensordot(attributes, weight, ([1], [1])) / math.sqrt(fan_in)  # (species, in, out)
            parts = [x[:, start:stop].unflatten(1, (components, mul)) for start, stop, mul in paths]
            block = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
            if one_hot is not None:
                spread = (block[:, :, None, :] * one_hot).flatten(2)  # (nodes, components, species * in)
                y = spread @ matrices.flatten(0, 1)
            else:
                y = torch.bmm(block, matrices[species])
            blocks.append(y.flatten(1))
        return torch.cat(blocks, dim=1) if len(blocks) != 1 else blocks[0]

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, attributes={self.attributes}, layout=ir_mul"
