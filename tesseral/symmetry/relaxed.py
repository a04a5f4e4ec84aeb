r"""Relaxed layers: equivariant layers whose path weights may become tensors, and then say what breaks the symmetry.

A relaxed layer owns a feature of its own, the *relaxation* :math:`\theta = \oplus\,\theta^{(l,p)}`. It is one in 0e and zero in
all else at the start, where the layer is exactly equivariant. Training moves it only where the data demand: by Curie's principle
the gradient at the start vanishes outside the invariants of the common symmetry of inputs and outputs. What has been learned is
read by :func:`tesseral.symmetry.strengths` and :func:`tesseral.symmetry.in_group`.

Source: Wang, Hofgard, Gao, Walters, Smidt, "Discovering symmetry breaking in physical systems with relaxed group convolution",
ICML 2024, and the relaxed E(3) networks of the same group.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tesseral.nn import Convolution
from tesseral.o3 import Irrep, Irreps
from tesseral.ops.tensor_product import TensorProductPlan, right, tensor_product_plan


def all_irreps(lmax: int) -> Irreps:
    """Every irrep of O(3) up to degree ``lmax``, once: what a relaxation offers when nothing is known of the breaking.

    >>> all_irreps(1)
    1x0e+1x0o+1x1o+1x1e
    """
    return Irreps(list(Irrep.iterator(lmax)))


class Relaxation(nn.Module):
    r"""The matrix :math:`M(\theta)` by which a relaxation joins two features: products of ``irreps_in`` and θ.

    ``theta`` (irreps.dim,) starts as one in the first 0e and zero elsewhere; M is then the identity between equal blocks. Weights
    of the products with other irreps are drawn normal, divided by the square root of their number. Raises ``ValueError`` for a
    relaxation without 0e.

    >>> relaxation = Relaxation("0e+1o", "0e+1o", "0e+1o+2e")
    >>> torch.allclose(relaxation(), torch.eye(4))
    True
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        irreps: object,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.irreps = Irreps(irreps_in), Irreps(irreps_out), Irreps(irreps)
        if self.irreps.count("0e") == 0:
            raise ValueError(f"a relaxation starts from its invariant part: {self.irreps} has no 0e, add it")
        zero = self.irreps.index("0e")
        paths = [
            (i, j, k, "uvw", True)
            for i, (_, a) in enumerate(self.irreps_in)
            for j, (_, b) in enumerate(self.irreps)
            for k, (_, c) in enumerate(self.irreps_out)
            if c in a * b
        ]
        self.plan = _product(self.irreps_in, self.irreps, self.irreps_out, paths)
        start = torch.zeros(self.irreps.dim, dtype=dtype, device=device)
        start[self.irreps.slices()[zero].start] = 1
        self.theta = nn.Parameter(start)
        self.weight = nn.Parameter(torch.cat([_draw(p, self, zero) for p in paths]).to(dtype=dtype, device=device))

    def forward(self) -> Float[Tensor, "dim_in dim_out"]:
        return right(self.theta, self.weight, self.plan)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} x ({self.irreps}) -> {self.irreps_out}, ir_mul"


class RelaxedLinear(nn.Module):
    r"""A linear layer whose weights may be tensors: :math:`y = x \otimes_W \theta`; layout ``ir_mul``.

    It starts as the identity between equal irreps (the first channels, where multiplicities differ), so it belongs after or
    before a :class:`~tesseral.nn.Linear`. Raises ``ValueError`` for a relaxation without 0e.

    >>> layer = RelaxedLinear("0e+1o", "1o", "0e+1o+1e")  # a charge in fields E (1o) and B (1e)
    >>> layer(torch.tensor([1.0, 1.0, 2.0, 3.0]))
    tensor([1., 2., 3.], grad_fn=...)
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        relaxation: object,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.relaxation = Relaxation(irreps_in, irreps_out, relaxation, dtype=dtype, device=device)
        self.irreps_in, self.irreps_out = self.relaxation.irreps_in, self.relaxation.irreps_out

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        return x @ self.relaxation()


class RelaxedConvolution(nn.Module):
    r"""A convolution whose filters may lose their symmetry:

    .. math:: out_i = \sum_j x_j \otimes_{w_{ij}} \big(Y(\hat r_{ij})\,M(\theta)\big).

    Called as :class:`~tesseral.nn.Convolution`, with which it agrees exactly at the start. The filters have the irreps
    ``irreps_filter`` (default: all irreps up to the highest degree of ``irreps_sh``, once), so ``weight_numel``, the number of
    weights per edge, counts the paths through the parity that harmonics lack as well. Raises ``ValueError`` for a relaxation
    without 0e or filters of a multiplicity other than 1.

    >>> layer = RelaxedConvolution("4x0e", "0e+1o", "0e+1o", "0e+2e", irreps_filter="0e+1o")
    >>> plain = Convolution("4x0e", "0e+1o", "0e+1o")
    >>> x, y, w = torch.randn(3, 4), torch.randn(4, 4), torch.randn(4, layer.weight_numel)
    >>> edges = torch.tensor([[0, 1, 2, 0], [1, 0, 0, 2]])
    >>> torch.allclose(layer(x, y, w, edges), plain(x, y, w, edges), atol=1e-6)
    True
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_sh: object,
        irreps_out: object,
        relaxation: object,
        *,
        irreps_filter: object | None = None,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        harmonics = Irreps(irreps_sh)
        filters = all_irreps(harmonics.lmax) if irreps_filter is None else Irreps(irreps_filter)
        self.relaxation = Relaxation(harmonics, filters, relaxation, dtype=dtype, device=device)
        self.convolution = Convolution(irreps_in, filters, irreps_out, backend)
        self.irreps_in, self.irreps_sh, self.irreps_out = self.convolution.irreps_in, harmonics, self.convolution.irreps_out
        self.weight_numel = self.convolution.weight_numel

    def forward(
        self,
        x: Float[Tensor, "nodes features"],
        y: Float[Tensor, "edges harmonics"],
        w: Float[Tensor, "edges weights"],
        edge_index: Int64[Tensor, "2 edges"],
        source_order: Int64[Tensor, " edges"] | None = None,
        destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    ) -> Float[Tensor, "nodes messages"]:
        return self.convolution(x, y @ self.relaxation(), w, edge_index, source_order, destination_pointers)


def _product(first: Irreps, second: Irreps, last: Irreps, paths: Sequence[tuple]) -> TensorProductPlan:
    return tensor_product_plan(first, second, last, paths, path_normalization="none")


def _draw(path: tuple, layer: Relaxation, zero: int) -> Tensor:
    """Weights of a path: the identity through the first 0e of the relaxation, normal of unit sum of variances elsewhere."""
    i, j, k, *_ = path
    u, v, w = layer.irreps_in[i].mul, layer.irreps[j].mul, layer.irreps_out[k].mul
    if j == zero:
        weight = torch.zeros(u, v, w, dtype=torch.float64)
        same = [n for n, (_, ir) in enumerate(layer.irreps_in) if ir == layer.irreps_in[i].ir].index(i)
        if same == [n for n, (_, ir) in enumerate(layer.irreps_out) if ir == layer.irreps_out[k].ir].index(k):
            weight[:, 0, :] = torch.eye(u, w, dtype=torch.float64)
        return weight.flatten()
    fan_in = sum(mul for mul, a in layer.irreps_in if layer.irreps_out[k].ir in a * layer.irreps[j].ir)
    return torch.randn(u * v * w, dtype=torch.float64) / math.sqrt(fan_in)
