"""Which part each slot of a program plays in code that runs along the channels.

A program is *channelwise* when its one channel letter runs along the vector units. Per path its slots take roles:

- ``left`` and ``right``: the slots with components and channels (features and messages of a convolution),
- ``fold``: the third slot with components, usually without channels (the harmonics),
- weights: slots with channels and one component.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tesseral.kernels.spec import ITEM, SHARED, Program


class Refused(Exception):
    """The program is outside the class this generator covers; the message says why."""


Pair = tuple[int, int]


def by_component(pairs: Mapping[Pair, Iterable[tuple[int, float]]]) -> list[tuple[int, float, list[tuple[Pair, float]]]]:
    """What each component of the fold is the sum of: (component, size of the coefficient, its pairs with signed coefficients).

    Pairs with coefficients of one size stand together, since their products are added before one multiplication.

    >>> by_component({(0, 1): [(2, 0.5)], (1, 0): [(2, -0.5)]})
    [(2, 0.5, [((0, 1), 0.5), ((1, 0), -0.5)])]
    """
    grouped: dict[tuple[int, float], list[tuple[Pair, float]]] = {}
    for pair, combination in sorted(pairs.items()):
        for j, c in combination:
            grouped.setdefault((j, abs(c)), []).append((pair, c))
    return [(j, size, entries) for (j, size), entries in sorted(grouped.items())]


@dataclass(frozen=True)
class Roles:
    left: int
    right: int | None
    fold: int | None
    weights: tuple[int, ...]
    fold_is_free: bool


def roles(program: Program) -> Roles:
    """The role of each slot. Raises :class:`Refused` for programs that are not channelwise."""
    form = program.form
    free: list[int] = []
    channel: list[int] = []
    widest: list[int] = []
    for number, slot in enumerate(form.slots):
        letters = {p.subscripts[number] for p in form.paths}
        if not letters <= {"", "u"} or len(letters) > 1:
            raise Refused("its channels are not one vector index (a matrix product, done by torch)")
        (channel if letters == {"u"} else free).append(number)
        widest.append(max((slot.segments[p.segments[number]].components for p in form.paths), default=0))
    if not form.paths:
        raise Refused("it has no paths")
    if len(free) > 1:
        raise Refused(f"{len(free)} of its slots have no channels; one is supported")
    if not channel:
        raise Refused("it has no channels")
    many = [n for n in channel if widest[n] > 1]
    fold = free[0] if free else None
    if len(many) > (2 if free else 3):
        raise Refused(f"{len(many)} of its slots have components and channels")
    if len(many) == 3:
        fold = min(many, key=lambda n: widest[n])
        many.remove(fold)
    for n in channel:  # a weight can stand in where there are fewer than two vectors
        if len(many) < 2 and n not in many and n != fold:
            many.append(n)
    many.sort(key=lambda n: (len({p.segments[n] for p in form.paths}), n))
    left, right = many[0], many[1] if len(many) > 1 else None
    return Roles(left, right, fold, tuple(n for n in channel if n not in (left, right, fold)), bool(free))


def axis_of(program: Program) -> str | None:
    """The map whose rows are visited one after the other; None where no output is summed over a map."""
    sizes: dict[str, int] = {}
    for slot in program.output_slots:
        if slot.index not in (ITEM, SHARED):
            sizes[slot.index] = sizes.get(slot.index, 0) + slot.dim
    if not sizes:
        return None
    # The other end of the edges often has the wider rows as inputs: visiting those in order costs private copies of the
    # smaller output.
    for slot in program.input_slots:
        if slot.index not in (ITEM, SHARED):
            sizes[slot.index] = sizes.get(slot.index, 0) + slot.dim
    return max(sizes, key=lambda name: sizes[name])
