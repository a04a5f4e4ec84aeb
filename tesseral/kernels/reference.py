"""The definition of every program, in plain torch: any device, any dtype. The oracle of the fast backends.

Per path the operands are contracted pairwise, channel-free ones first (they fold into the coefficients), so that full tensor
products with shared weights become matrix products; sums over rows are one ``index_add_`` per path. Items are taken in pieces, so
that what is between (every product of channels, say) never fills the memory.
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
_PIECE = 1 << 18  # numbers between the operands and the result at a time: about what the second cache holds


def execute(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """The outputs of ``program``, each (rows, dim) of its slot.

    ``tensors`` are the inputs, each (rows, dim) of its slot; ``maps`` and ``rows`` follow ``program.form.indices``.
    """
    items = count_items(program, tensors, maps)
    counts = {ITEM: items, SHARED: 1, **dict(zip(program.form.indices, rows, strict=True))}
    results = tuple(tensors[0].new_zeros(counts[slot.index], slot.dim) for slot in program.output_slots)
    size = max(1, _PIECE // max((_between(program, path) for path in program.form.paths), default=1))
    for start in range(0, items, size):
        piece = slice(start, min(start + size, items))
        _add_piece(program, tensors, {n: m.index[piece] for n, m in zip(program.form.indices, maps, strict=True)}, piece, results)
    return results


def _add_piece(
    program: Program, tensors: Sequence[Tensor], indices: dict[str, Tensor], piece: slice, results: Sequence[Tensor]
) -> None:
    """Add what some of the items contribute to the outputs; ``indices`` are theirs."""
    gathered: dict[tuple[int, str], Tensor] = {}

    def operand(number: int, slot: Slot) -> Tensor:
        if slot.index == SHARED:
            return tensors[number]
        if (number, slot.index) not in gathered:
            whole = tensors[number]
            gathered[number, slot.index] = whole[piece] if slot.index == ITEM else whole.index_select(0, indices[slot.index])
        return gathered[number, slot.index]

    for terms, slot, result in zip(program.outputs, program.output_slots, results, strict=True):
        rows = result[piece] if slot.index == ITEM else result
        for term in terms:
            for path in program.form.paths:
                value = _contract(program, term, path, piece.stop - piece.start, operand)
                at, segment = slot.offsets[path.segments[term.slot]], slot.segments[path.segments[term.slot]]
                target = rows[:, at : at + segment.dim]
                if slot.index in (ITEM, SHARED):
                    target += value
                else:
                    target.index_add_(0, indices[slot.index], value)


def _between(program: Program, path: Path) -> int:
    """A bound for the numbers an item keeps while a path is contracted: its channels in all operands, and two components."""
    blocks = [slot.segments[segment] for slot, segment in zip(program.form.slots, path.segments, strict=True)]
    own = [n for n, slot in enumerate(program.form.slots) if slot.index != SHARED]
    channels = {letter: extent for n in own for letter, extent in zip(path.subscripts[n], blocks[n].channels, strict=True)}
    components = sorted((blocks[n].components for n in own), reverse=True)[:2]
    return math.prod(channels.values()) * math.prod(components)


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
