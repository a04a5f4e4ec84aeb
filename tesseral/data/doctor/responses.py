r"""Do the responses to an electric field mean something, and obey their sum rules?

Born charges :math:`Z_{i,ab} = \partial\mu_b/\partial r_{ia}` add up to the charge. When a molecule turns by :math:`\omega`, its
dipole turns along, :math:`\sum_{ia} (\omega\times r_i)_a Z_{i,ab} = (\omega\times\mu)_b`, which is antisymmetric in
:math:`\omega` and b: a test of the order of the axes that needs no dipole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
from jaxtyping import Float

from tesseral.data.doctor.complaint import Check, Complaint, DoctorSettings, Tally
from tesseral.data.frame import Frame

SUM_RULE = 0.05
"""So much of the largest charge may be missing to the sum rule before it is worth a word."""


@final
class FieldResponses(Check):
    """Dipoles belong to molecules; Born charges obey the acoustic sum rule and have the displaced axis first."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.periodic, self.sums = Tally(), Tally()
        self.broken = np.zeros(2)  # by the Born charges as they are, and transposed

    def see(self, frame: Frame) -> None:
        if "dipole" in frame.labels and frame.pbc.any():
            self.periodic.add(frame)
        charges = frame.labels.get("born_charges")
        if charges is None or charges.shape != (len(frame), 3, 3) or not len(frame) or not np.isfinite(charges).all():
            return
        missing = np.abs(charges.sum(0) - (frame.charge or 0.0) * np.eye(3)).max()
        if missing > SUM_RULE * np.abs(charges).max():
            self.sums.add(frame, f"{missing:.2f} e")
        if not frame.pbc.any():
            self.broken += [asymmetry(frame.positions, values) for values in (charges, charges.transpose(0, 2, 1))]

    def conclude(self) -> Iterator[Complaint]:
        if self.periodic and "dipole" in self.settings.required:
            yield self.periodic.complaint(
                "error",
                "dipole-of-crystal",
                f"{self.periodic.where}: has a dipole under the key {self.key('dipole')!r}, but repeats (pbc), where a dipole "
                "has no meaning; set pbc to false for a molecule in a box, or leave dipoles out: data.keys.dipole=null, "
                "loss.dipole.weight=0",
                key=self.key("dipole"),
            )
        if self.sums:
            yield self.sums.complaint(
                "warning",
                "born-sum-rule",
                f"{self.sums.where}: the Born charges under the key {self.key('born_charges')!r} miss the charge of the "
                f"structure by {self.sums.detail}; are they converged, and is the charge under the key "
                f"{self.settings.keys.charge!r}?",
                key=self.key("born_charges"),
            )
        as_they_are, transposed = self.broken
        if transposed < 0.1 * as_they_are:
            other = "field displacement"
            yield Complaint(
                "error",
                "born-axes",
                f"the Born charges under the key {self.key('born_charges')!r} have the field and the displacement exchanged: "
                f"turned molecules do not turn their dipoles; set data.units.born_axes to {other!r}, or to its "
                "default where it is that",
                key=self.key("born_charges"),
            )


def asymmetry(positions: Float[np.ndarray, "nodes 3"], charges: Float[np.ndarray, "nodes 3 3"]) -> float:
    """How much a turning molecule changes its dipole other than by turning it, squared, (e·Å)².

    >>> charges = np.array([np.diag([1.0, 2.0, 3.0]), -np.diag([1.0, 2.0, 3.0])])  # of a molecule that stretches only
    >>> asymmetry(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), charges)
    2.0
    """
    turned = np.cross(np.eye(3)[:, None], positions[None])  # (axis of the turn, atoms, 3)
    change = np.einsum("wia,iab->wb", turned, charges)
    return float(((change + change.T) ** 2).sum())
