"""The radial embedding of edges: a basis of functions of their length, times a smooth cutoff."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.kernels import fused
from tesseral.nn.cutoff import PolynomialCutoff
from tesseral.nn.radial import BesselBasis
from tesseral.ops.fused import apply


class RadialEmbedding(nn.Module):
    r"""Radial functions of vectors that vanish smoothly at the cutoff: :math:`R_n(v) = b_n(|v|)\, f(|v|)`.

    ``basis`` and ``cutoff`` are layers of :mod:`tesseral.nn.radial` and :mod:`tesseral.nn.cutoff`. Bessel functions of fixed
    frequencies with the polynomial cutoff, the choice of most models, run as compiled code with their first two derivatives.

    >>> embedding = RadialEmbedding(BesselBasis(5.0, 8), PolynomialCutoff(5.0))
    >>> embedding(torch.tensor([[0.0, 3.0, 4.0]])).abs().max() < 1e-6
    tensor(True)
    """

    def __init__(self, basis: nn.Module, cutoff: nn.Module) -> None:
        super().__init__()
        self.basis, self.cutoff = basis, cutoff
        self._functions = None
        if not (isinstance(basis, BesselBasis) and isinstance(cutoff, PolynomialCutoff)):
            return
        if not basis.trainable and basis.cutoff == cutoff.cutoff:
            self._functions = fused.Bessel(basis.num_basis, basis.cutoff, basis.scale, float(cutoff.p))

    def forward(self, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges num_basis"]:
        """Values for edge vectors in Å."""
        if self._functions is None:
            return self.definition(vectors)
        return apply(_BesselRule(self, self._functions), vectors)

    def definition(self, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges num_basis"]:
        """The embedding in torch operations, for any basis and cutoff."""
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        return self.basis(lengths) * self.cutoff(lengths)[:, None]


class _BesselRule:
    """The embedding, its gradient and second gradient."""

    def __init__(self, embedding: RadialEmbedding, functions: fused.Bessel) -> None:
        self.embedding, self.functions = embedding, functions

    def definition(self, *tensors: Tensor) -> Tensor:
        return self.embedding.definition(*tensors)

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return fused.bessel(tensors[0], self.functions), ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        return [fused.bessel_gradient(g, tensors[0], self.functions)] if wanted[0] else [], ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (u,) = cotangents
        return None if u is None else list(fused.bessel_second_gradient(u, g, tensors[0], self.functions))
