"""The definition of every program, in plain torch: any device, any dtype. The oracle of the fast backends.

Per path the operands are contracted pairwise, channel-free ones first (they fold into the coefficients), so that full tensor
products with shared weights become matrix products; sums over rows are one ``index_add_`` per path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Path, Program, Slot, Term

_COMPONENTS = "abcdefgh"  # one letter per slot; channel letters are renamed to the end of the alphabet
_ITEM = "z"


def execute(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """The outputs of ``program``, each (rows, dim) of its slot.

    ``tensors`` are the inputs, each (rows, dim) of its slot; ``maps`` and ``rows`` follow ``program.form.indices``.
    """
    indices = {name: (m.index, count) for name, m, count in zip(program.form.indices, maps, rows, strict=True)}
    items = count_items(program, tensors, maps)
    gathered: dict[tuple[int, str], Tensor] = {}

    def operand(number: int, slot: Slot) -> Tensor:
        if slot.index in (ITEM, SHARED):
            return tensors[number]
        if (number, slot.index) not in gathered:
            gathered[number, slot.index] = tensors[number].index_select(0, indices[slot.index][0])
        return gathered[number, slot.index]

    results = []
    for terms, slot in zip(program.outputs, program.output_slots, strict=True):
        count = items if slot.index == ITEM else 1 if slot.index == SHARED else indices[slot.index][1]
        result = tensors[0].new_zeros(count, slot.dim)
        for term in terms if items else ():
            for path in program.form.paths:
                value = _contract(program, term, path, items, operand)
                at, segment = slot.offsets[path.segments[term.slot]], slot.segments[path.segments[term.slot]]
                target = result[:, at : at + segment.dim]
                if slot.index in (ITEM, SHARED):
                    target += value
                else:
                    target.index_add_(0, indices[slot.index][0], value)
        results.append(result)
    return tuple(results)


def count_items(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap]) -> int:
    """The number of items: the length of the maps or of the per-item inputs; 1 where everything is shared."""
    if maps:
        return maps[0].index.shape[0]
    return next((t.shape[0] for t, slot in zip(tensors, program.input_slots, strict=True) if slot.index == ITEM), 1)


def _contract(program: Program, term: Term, path: Path, items: int, operand) -> Tensor:
    """The path's contribution to the term's output: (items or 1, segment dim)."""
    slots = program.form.slots
    channels = {letter: chr(ord("y") - n) for n, letter in enumerate(dict.fromkeys("".join(path.subscripts)))}
    pending = []
    for number, (slot, segment, letters, tensor) in enumerate(
        zip(slots, path.segments, path.subscripts, term.tensors, strict=True)
    ):
        labels = _COMPONENTS[number] + "".join(channels[letter] for letter in letters)
        if tensor == OUTPUT:
            shared, wanted, shape = (
                slot.index == SHARED,
                labels,
                (slot.segments[segment].components, *slot.segments[segment].channels),
            )
            continue
        block = slot.segments[segment]
        at = slot.offsets[segment]
        value = operand(tensor, slot)[:, at : at + block.dim].reshape(-1, block.components, *block.channels)
        if slot.index == SHARED:
            pending.append((labels, value[0]))
        else:
            pending.append((_ITEM + labels, value))
    if not any(_ITEM in labels for labels, _ in pending):
        pending.append((_ITEM, pending[0][1].new_ones(items)))
    wanted = wanted if shared else _ITEM + wanted
    # Channel-free operands fold into the coefficients; then the small ones; weights with several channel letters last (a
    # matrix product).
    pending.sort(key=lambda entry: (len(entry[0].replace(_ITEM, "")), entry[0]))
    result = torch.as_tensor(_dense(path, slots), dtype=pending[0][1].dtype, device=pending[0][1].device) * term.factor
    labels = _COMPONENTS[: len(slots)]
    for number, (other, value) in enumerate(pending):
        later = set(wanted).union(*(entry[0] for entry in pending[number + 1 :]))
        kept = "".join(sorted(set(labels + other) & later, key=lambda letter: (letter != _ITEM, letter)))
        result = torch.einsum(f"{labels},{other}->{kept}", result, value)
        labels = kept
    missing = [letter for letter in wanted if letter not in labels]  # channels of the output that no input has
    result = torch.einsum(f"{labels}->{''.join(letter for letter in wanted if letter in labels)}", result)
    for letter in missing:
        result = result.unsqueeze(wanted.index(letter))
    return result.expand(*((() if shared else (items,)) + shape)).reshape(-1, math.prod(shape))


def _dense(path: Path, slots: tuple[Slot, ...]) -> numpy.ndarray:
    dense = numpy.zeros([slot.segments[segment].components for slot, segment in zip(slots, path.segments, strict=True)])
    for index, value in path.coefficients:
        dense[index] = value
    return dense
