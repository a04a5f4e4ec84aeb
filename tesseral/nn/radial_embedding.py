"""The radial embedding of edges: a basis of functions of their length, times a smooth cutoff."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.kernels import fused
from tesseral.nn.cutoff import PolynomialCutoff
from tesseral.nn.radial import BesselBasis
from tesseral.o3.wigner import full_precision
from tesseral.ops.fused import UnaryRule, apply
from tesseral.ops.spline import Knots, SplineWeights, interpolation


@dataclass(frozen=True)
class RadialFunctions:
    """Functions of the lengths of edges, ready for the networks of the layers.

    ``values`` (edges, num_basis) are those of the edges; or, with ``lengths`` (edges,) and ``knots``, those at the knots of
    splines that then stand for the networks.
    """

    values: Float[Tensor, "points num_basis"]
    lengths: Float[Tensor, " edges"] | None = None
    knots: Knots | None = None

    def through(self, network: Callable[[Tensor], Tensor]) -> Float[Tensor, "edges width"]:
        """What the network makes of each edge."""
        weights = self.weights(network)
        return weights.values() if isinstance(weights, SplineWeights) else weights

    def weights(self, network: Callable[[Tensor], Tensor]) -> Float[Tensor, "edges width"] | SplineWeights:
        """The same for a :class:`~tesseral.nn.Convolution`, which evaluates splines itself, one edge after the other."""
        if self.lengths is None or self.knots is None:
            return network(self.values)
        with full_precision(self.values.device.type):  # slopes of splines are differences of values: 8 bits are none
            values = network(self.values)
        # What is zero beyond the cutoff has a spline that is zero there, but ends with a step of fourth order in the interval;
        # without its last three coefficients it ends with two continuous derivatives.
        coefficients = torch.nn.functional.pad(interpolation(values)[:-3], (0, 0, 0, 3))
        return SplineWeights(self.lengths, coefficients, self.knots)


class RadialEmbedding(nn.Module):
    r"""Radial functions of vectors that vanish smoothly at the cutoff: :math:`R_n(v) = b_n(|v|)\, f(|v|)`.

    ``basis`` and ``cutoff`` are layers of :mod:`tesseral.nn.radial` and :mod:`tesseral.nn.cutoff`. Bessel functions of fixed
    frequencies with the polynomial cutoff, the choice of most models, run as compiled code with their first two derivatives.

    With a number of ``knots``, :meth:`functions` gives the values at as many intervals up to the cutoff, for splines: a network
    is then evaluated there, hundreds of times however many edges there are, and is never differentiated twice.

    >>> embedding = RadialEmbedding(BesselBasis(5.0, 8), PolynomialCutoff(5.0))
    >>> embedding(torch.tensor([[0.0, 3.0, 4.0]])).abs().max() < 1e-6
    tensor(True)
    """

    def __init__(self, basis: nn.Module, cutoff: nn.Module, knots: int = 0) -> None:
        super().__init__()
        if 0 < knots < 16:
            raise ValueError(f"radial_knots is {knots}: so few make forces jump; take 0 for no splines, or 128")
        self.basis, self.cutoff = basis, cutoff
        self.knots = Knots(knots, float(cutoff.cutoff)) if knots else None  # type: ignore[arg-type]
        self._functions = None
        if not (isinstance(basis, BesselBasis) and isinstance(cutoff, PolynomialCutoff)):
            return
        if not basis.trainable and basis.cutoff == cutoff.cutoff:
            self._functions = fused.Bessel(basis.num_basis, basis.cutoff, basis.scale, float(cutoff.p))

    def forward(self, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges num_basis"]:
        """Values for edge vectors in Å."""
        if self._functions is None:
            return self.definition(vectors)
        return apply(_rule(self, self._functions), vectors)

    def functions(self, vectors: Float[Tensor, "edges 3"]) -> RadialFunctions:
        """The embedding of edge vectors in Å, for :meth:`RadialFunctions.through`."""
        if self.knots is None:
            return RadialFunctions(self(vectors))
        # As many points beyond either end as the interpolation needs; the functions are even, and vanish beyond the cutoff.
        points = torch.arange(-2, self.knots.intervals + 3, dtype=vectors.dtype, device=vectors.device).abs() * self.knots.step
        at_knots = self(torch.nn.functional.pad(points[:, None], (0, 2)))
        return RadialFunctions(at_knots, torch.linalg.vector_norm(vectors, dim=1), self.knots)

    def definition(self, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges num_basis"]:
        """The embedding in torch operations, for any basis and cutoff."""
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        return self.basis(lengths) * self.cutoff(lengths)[:, None]


def _rule(embedding: RadialEmbedding, functions: fused.Bessel) -> UnaryRule:
    return UnaryRule(
        embedding.definition,
        lambda vectors: fused.bessel(vectors, functions),
        lambda g, vectors: fused.bessel_gradient(g, vectors, functions),
        lambda u, g, vectors: fused.bessel_second_gradient(u, g, vectors, functions),
    )
