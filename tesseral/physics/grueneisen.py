"""How phonons answer to compression: mode Grüneisen parameters from third derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import build_graph
from tesseral.graph.neighbors import Structure
from tesseral.physics.elasticity import elasticity
from tesseral.physics.force_constants import TERAHERTZ, ForceConstants, force_constant_derivative, force_constants
from tesseral.physics.receptive_field import LocalModel, device_of


class Grueneisen:
    r"""Mode Grüneisen parameters :math:`\gamma_\nu(k) = -\frac{\partial \ln\omega_\nu}{\partial\ln V}` of a crystal at rest.

    From the exact derivative of the force constants along an isotropic strain in which the atoms follow to their new minima:
    :math:`\gamma = -\,e^\dagger \frac{dD}{d\ln V} e\,/\,2\omega^2`, diagonal within degenerate modes. ``model`` and
    ``structure`` as for :func:`~tesseral.physics.force_constants.force_constants`. NaN where a frequency vanishes.
    Source: Barron, Collins, White, Adv. Phys. 29, 609 (1980).
    """

    force_constants: ForceConstants
    derivative: ForceConstants

    def __init__(self, model: LocalModel, structure: Structure, progress: Callable[[int, int], None] | None = None) -> None:
        graph = build_graph(structure, float(model.cutoff))
        graph = graph.to(device_of(model, graph.device))
        strain = torch.eye(3, dtype=torch.float64, device=graph.device) / 3  # of unit ln V
        following = elasticity(model, graph).internal_strain[:, :, :3].sum(2) / 3
        rows = 3 * graph.num_nodes

        def report(start: int) -> Callable[[int, int], None] | None:
            return None if progress is None else lambda done, _: progress(start + done, 2 * rows)

        self.force_constants = force_constants(model, graph, progress=report(0))
        self.derivative = force_constant_derivative(model, graph, strain, following, progress=report(rows))

    def __call__(self, k: Float[Tensor, "points 3"]) -> tuple[Float[Tensor, "points modes"], Float[Tensor, "points modes"]]:
        """Frequencies in THz, and the parameters of the modes in the same order, at wave vectors in reciprocal cell units."""
        frequencies, vectors = self.force_constants.modes(k)
        change = self.derivative.dynamical_matrix(k)
        change = vectors.mH @ (0.5 * (change + change.mH)) @ vectors
        squares = (frequencies / TERAHERTZ) ** 2 * frequencies.sign()
        slopes = torch.zeros_like(squares)
        for point in range(len(squares)):
            start = 0
            for end in range(1, squares.shape[1] + 1):
                if end < squares.shape[1] and abs(frequencies[point, end] - frequencies[point, end - 1]) < 1e-4:
                    continue
                block = change[point, start:end, start:end]
                slopes[point, start:end] = torch.linalg.eigvalsh(block)
                start = end
        return frequencies, torch.where(frequencies.abs() > 1e-3, -slopes / (2 * squares), torch.nan)
