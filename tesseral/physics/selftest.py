"""What every potential owes to physics, measured on one model: symmetry, true derivatives, smoothness, extensivity, conservation.

Each check is a number with a threshold and a sentence. A check that cannot be measured has failed, and its sentence says why.
The measurements are in :mod:`~tesseral.physics.selftest_checks`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ase
import torch
from torch import Tensor

from tesseral.physics import selftest_checks as checks
from tesseral.physics.selftest_checks import Found
from tesseral.physics.selftest_subjects import Lone, Nothing, Subject, dtype_of, molecules_and_crystals


@dataclasses.dataclass(frozen=True)
class Check:
    """One measurement on a structure, passed when ``value`` (in ``unit``) is at most ``threshold``.

    ``sentence`` says what was found.
    """

    name: str
    structure: str
    value: float
    threshold: float
    unit: str
    sentence: str

    @property
    def passed(self) -> bool:
        """False for a value above the threshold, and for NaN."""
        return self.value <= self.threshold


def selftest(
    model: Any,
    structures: Sequence[ase.Atoms],
    *,
    other: Any = None,
    atomic_energies: Mapping[int, float] | None = None,
    smoothness: int = 2,
    temperature: float = 300.0,
    timestep: float = 0.5,
    duration: float = 40.0,
    seed: int = 0,
    only: Collection[str] | None = None,
    progress: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Measure a model on structures like those it was made for: molecules, crystals, or (better) both.

    The first molecule also serves as a periodic structure when none is given, and the first crystal as a molecule. ``other`` is
    the same model in another precision (float64 for a float32 model): the two are compared, and derivatives are measured on the
    sharper one. ``atomic_energies`` (eV, those of the model when left out) are the energies of the isolated atoms. ``smoothness``
    is the highest derivative of the energy that is continuous where an atom crosses the cutoff. Dynamics runs on one molecule and
    one crystal of ``structures`` at ``temperature`` (K) for ``duration`` (fs), with ``timestep`` (fs) and half of it.
    ``only`` names the kinds to measure (of ``KINDS``; all when left out); ``progress`` is called with each check as it is done.
    Raises ``ValueError`` without structures, or for an unknown kind.

    >>> import ase.build
    >>> from tesseral.nn.pair import ZBL
    >>> checks = selftest(ZBL(3.0, (6,)), [ase.build.bulk("C", "diamond", a=2.9)], duration=2.0)
    >>> failures(checks), checks[0].sentence
    ([], 'a structure without atoms has the energy 0 eV')
    """
    if not structures:
        raise ValueError("the selftest needs at least one structure, such as a frame of the training data")
    unknown = set(only or ()) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown checks {sorted(unknown)}; choose from {', '.join(KINDS)}")
    exact = next((m for m in (model, other) if m is not None and dtype_of(m) == torch.float64), model)
    dynamics = {"temperature": temperature, "timestep": timestep, "duration": duration}
    moving = {bool(atoms.pbc.any()): index for index, atoms in reversed(list(enumerate(structures)))}
    subjects = []
    for index, atoms in enumerate(molecules_and_crystals(structures)):
        runs = index < len(structures) and moving[bool(atoms.pbc.any())] == index
        subjects.append(Subject(model, exact, other, atoms, seed, smoothness, dynamics if runs else None))
    known = dict(atomic_energies) if atomic_energies is not None else _atomic_energies(model)
    lone = [Lone(model, z, known[z]) for z in sorted({int(z) for atoms in structures for z in atoms.numbers}) if z in known]
    done = []
    for kind, check in KINDS.items():
        cases = [Nothing(model)] if check is checks.empty else lone if check is checks.isolated else subjects
        for case in cases if only is None or kind in only else ():
            for found in _guarded(kind, case.label, functools.partial(check, case)):
                done.append(found)
                if progress is not None:
                    progress(found)
    return done


def failures(measured: Iterable[Check]) -> list[Check]:
    """The checks that did not pass."""
    return [check for check in measured if not check.passed]


def _guarded(name: str, label: str, check: Callable[[], Found]) -> Iterator[Check]:
    try:
        for title, value, threshold, unit, sentence in check():
            yield Check(title, label, float(value), float(threshold), unit, sentence)
    except Exception as error:
        yield Check(
            name, label, math.nan, 0.0, "", f"could not be measured: {type(error).__name__}: {str(error).splitlines()[0]}"
        )


def _atomic_energies(model: Any) -> dict[int, float]:
    values = getattr(model, "atomic_energies", None)
    if isinstance(values, Mapping):
        return {int(z): float(e) for z, e in values.items()}
    if isinstance(values, Tensor) and len(values) == len(model.species):
        return dict(zip(map(int, model.species), values.tolist()))
    return {}


KINDS: dict[str, Callable[..., Found]] = {
    "empty structure": checks.empty,
    "isolated atom": checks.isolated,
    "equivariance": checks.equivariance,
    "permutation": checks.permutation,
    "derivatives": checks.derivatives,
    "smooth cutoff": checks.smooth_cutoff,
    "extensivity": checks.extensivity,
    "precision": checks.precision,
    "dynamics": checks.conservation,
}
