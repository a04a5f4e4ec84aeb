r"""What to compute: multilinear programs, closed under differentiation.

A :class:`Form` is one multilinear form of several *slots*,

.. math:: S(a_0, \dots, a_n) = \sum_{e} \sum_{p} \sum_{m, u} c^{(p)}_{m_0 \dots m_n}
          \prod_s a_s[\,i_s(e),\; \mathrm{segment}_s(p),\; m_s,\; u_s\,],

summed over items e (edges of a graph, or nodes, or samples), paths p, components m and channels u. Inputs and outputs of a
computation play the same role in it: an *output at slot s* is the derivative of S with respect to the entries of slot s.
Therefore

- a convolution is the form of (features, harmonics, weights, messages) with the output at the last slot,
- its gradient with respect to the features is the same form with the output at the first,
- every derivative of any order is again a list of terms of the same form: :meth:`Program.gradient`, :meth:`Program.tangent`.

A backend compiles :class:`Program` and needs nothing else: ``reference`` (torch, the definition), ``cpu`` (generated C++),
``triton``.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

ITEM = "item"
SHARED = "shared"
OUTPUT = -1


@dataclass(frozen=True)
class Segment:
    """A block of a row: ``components`` times channels, stored as (components, *channels), contiguous (the ``ir_mul`` layout).

    >>> Segment(3, (32,)).dim
    96
    """

    components: int
    channels: tuple[int, ...] = ()

    @property
    def dim(self) -> int:
        return self.components * math.prod(self.channels)


@dataclass(frozen=True)
class Slot:
    """The layout of a tensor of shape (rows, dim), and what its rows are.

    ``index`` is ``"item"`` (one row per item), ``"shared"`` (one row for all items), or the name of an integer map from items
    to rows (``"source"``, ``"destination"``, ``"species"``, ...): a gather where the slot is an input, a segment sum where it
    is the output.
    """

    index: str
    segments: tuple[Segment, ...]

    @cached_property
    def dim(self) -> int:
        return sum(segment.dim for segment in self.segments)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each segment begins in a row."""
        return tuple(itertools.accumulate((segment.dim for segment in self.segments), initial=0))[:-1]


@dataclass(frozen=True)
class Path:
    """One term of the form: a segment and channel subscripts per slot, and sparse coefficients over their components.

    ``subscripts`` holds one string per slot, one letter per channel axis of the segment: letters are summed over unless they
    are the output's, as in einsum; ``("u", "", "u", "u")`` is e3nn's *uvu* with multiplicity-1 harmonics, ``("u", "v", "uvw",
    "w")`` its *uvw*. ``coefficients`` lists ((component of slot 0, of slot 1, ...), value).
    """

    segments: tuple[int, ...]
    subscripts: tuple[str, ...]
    coefficients: tuple[tuple[tuple[int, ...], float], ...]


def path(segments: Sequence[int], subscripts: Sequence[str], coefficients) -> Path:
    """Path from a dense array of coefficients (one axis per slot) or from a list of ((components), value)."""
    if hasattr(coefficients, "shape"):
        entries = [(index, float(coefficients[index])) for index in itertools.product(*map(range, coefficients.shape))]
    else:
        entries = [(tuple(index), float(value)) for index, value in coefficients]
    return Path(tuple(segments), tuple(subscripts), tuple(sorted((i, v) for i, v in entries if v != 0.0)))


class _ByDigest:
    """Equality and hash by content, computed once."""

    @property
    def digest(self) -> str:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.digest == self.digest  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True, eq=False, repr=False)
class Form(_ByDigest):
    """A multilinear form in canonical order: coefficients sorted, equal paths merged, paths sorted by segments.

    >>> dot = Form((Slot("item", (Segment(3),)), Slot("item", (Segment(3),)), Slot("item", (Segment(1),))),
    ...            (path((0, 0, 0), ("", "", ""), [((m, m, 0), 1.0) for m in range(3)]),))
    >>> dot.symmetric_slots
    ((0, 1),)
    """

    slots: tuple[Slot, ...]
    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        for p in self.paths:
            _check(self.slots, p)
        object.__setattr__(self, "paths", _canonical(self.paths))

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """The names of the integer maps, in order of first appearance."""
        return tuple(dict.fromkeys(slot.index for slot in self.slots if slot.index not in (ITEM, SHARED)))

    @cached_property
    def content(self) -> list:
        slots = [[slot.index, [[s.components, list(s.channels)] for s in slot.segments]] for slot in self.slots]
        paths = [
            [list(p.segments), list(p.subscripts), [[*index, value.hex()] for index, value in p.coefficients]] for p in self.paths
        ]
        return [slots, paths]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.content, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def symmetric_slots(self) -> tuple[tuple[int, ...], ...]:
        """Groups of slots that may be exchanged without changing the form (found, not declared)."""
        groups: list[list[int]] = []
        for slot in range(len(self.slots)):
            for group in groups:
                if self.slots[group[0]] == self.slots[slot] and self._invariant(group[0], slot):
                    group.append(slot)
                    break
            else:
                groups.append([slot])
        return tuple(tuple(group) for group in groups if len(group) > 1)

    def _invariant(self, a: int, b: int) -> bool:
        def swap(items: tuple) -> tuple:
            swapped = list(items)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            return tuple(swapped)

        exchanged = _canonical(
            tuple(Path(swap(p.segments), swap(p.subscripts), tuple((swap(i), v) for i, v in p.coefficients)) for p in self.paths)
        )
        return len(exchanged) == len(self.paths) and all(map(_close, exchanged, self.paths))

    def __repr__(self) -> str:
        return "\n".join([self.summary, *(_describe(slot) for slot in self.slots)])

    @property
    def summary(self) -> str:
        count = sum(len(p.coefficients) for p in self.paths)
        return f"form {self.digest[:12]}: {len(self.slots)} slots, {len(self.paths)} paths, {count} coefficients"


def _describe(slot: Slot) -> str:
    blocks = "+".join("x".join(str(n) for n in (s.components, *s.channels)) for s in slot.segments[:8])
    return f"  {slot.index}[{blocks}{'+...' if len(slot.segments) > 8 else ''}]"


def _check(slots: tuple[Slot, ...], p: Path) -> None:
    if not len(p.segments) == len(p.subscripts) == len(slots):
        raise ValueError(
            f"a path names one segment and one subscript per slot: {len(slots)} slots, got {p.segments}, {p.subscripts}"
        )
    extents: dict[str, int] = {}
    for number, (slot, segment, letters) in enumerate(zip(slots, p.segments, p.subscripts, strict=True)):
        if not 0 <= segment < len(slot.segments):
            raise ValueError(f"slot {number} has {len(slot.segments)} segments, a path names segment {segment}")
        channels = slot.segments[segment].channels
        if len(letters) != len(channels) or len(set(letters)) != len(letters):
            raise ValueError(f"subscripts {letters!r} do not fit segment {segment} of slot {number} with channels {channels}")
        for letter, extent in zip(letters, channels, strict=True):
            if extents.setdefault(letter, extent) != extent:
                raise ValueError(
                    f"channel {letter!r} is both {extents[letter]} and {extent} long in path {p.segments} {p.subscripts}"
                )
    for index, _ in p.coefficients:
        if len(index) != len(slots) or any(
            not 0 <= m < slot.segments[s].components for m, slot, s in zip(index, slots, p.segments, strict=False)
        ):
            raise ValueError(f"coefficient at {index} lies outside the segments {p.segments}")


def _canonical(paths: Iterable[Path]) -> tuple[Path, ...]:
    merged: dict[tuple, dict[tuple[int, ...], float]] = {}
    for p in paths:
        values = merged.setdefault((p.segments, p.subscripts), {})
        for index, value in p.coefficients:
            values[index] = values.get(index, 0.0) + value
    result = (
        Path(segments, subscripts, tuple(sorted((i, v) for i, v in values.items() if v != 0.0)))
        for (segments, subscripts), values in sorted(merged.items(), key=lambda item: item[0])
    )
    return tuple(p for p in result if p.coefficients)


def _close(a: Path, b: Path) -> bool:
    return (a.segments, a.subscripts, len(a.coefficients)) == (b.segments, b.subscripts, len(b.coefficients)) and all(
        i == j and math.isclose(v, w, rel_tol=1e-12) for (i, v), (j, w) in zip(a.coefficients, b.coefficients, strict=True)
    )


@dataclass(frozen=True, order=True)
class Term:
    """``factor`` times the form with the number of an input at each slot, and ``OUTPUT`` at the slot that is computed."""

    tensors: tuple[int, ...]
    factor: float = 1.0

    @property
    def slot(self) -> int:
        """The output's slot."""
        return self.tensors.index(OUTPUT)


@dataclass(frozen=True)
class Derivative:
    """A derivative of a program: the ``program``, the tensors it takes and what its outputs are.

    ``inputs`` lists positions in (inputs of the differentiated program, then its cotangents or tangents), which are the inputs
    of ``program``. ``targets`` lists, for each output of ``program``, the input (gradient) or output (tangent) it belongs to;
    targets that are absent have derivative zero.
    """

    program: Program
    inputs: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Program(_ByDigest):
    """Several outputs of one form, computed together; each is a sum of terms.

    ``outputs`` holds one tuple of terms per output. Inputs are numbered 0 to ``num_inputs`` - 1 and each is bound to slots of
    one layout.

    >>> vector, scalar = Slot("item", (Segment(3),)), Slot("item", (Segment(1),))
    >>> dot = Form((vector, vector, scalar), (path((0, 0, 0), ("", "", ""), [((m, m, 0), 1.0) for m in range(3)]),))
    >>> square = Program(dot, ((Term((0, 0, OUTPUT)),),))
    >>> square.gradient().program
    program ...: out0 = 2 S(., 0, 1)
    """

    form: Form
    outputs: tuple[tuple[Term, ...], ...]

    def __post_init__(self) -> None:
        outputs = []
        for terms in self.outputs:
            for term in terms:
                if len(term.tensors) != len(self.form.slots) or term.tensors.count(OUTPUT) != 1:
                    raise ValueError(
                        f"a term binds {len(self.form.slots)} slots, exactly one of them to OUTPUT; got {term.tensors}"
                    )
            outputs.append(_merge(self.form, terms))
            if not terms or len({self.form.slots[term.slot] for term in terms}) != 1:
                raise ValueError(f"the terms of an output must compute slots of one layout; got {terms}")
        object.__setattr__(self, "outputs", tuple(outputs))
        if sorted(self._occurrences) != list(range(len(self._occurrences))):
            raise ValueError(f"inputs must be numbered from 0 without gaps; got {sorted(self._occurrences)}")
        for number, slots in self._occurrences.items():
            if len({self.form.slots[slot] for slot in slots}) != 1:
                raise ValueError(f"input {number} is bound to slots of different layouts: {sorted(slots)}")
        self.key  # noqa: B018  worked out here: a compiler that traces a call must find a plain string

    @cached_property
    def _occurrences(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for term in itertools.chain.from_iterable(self.outputs):
            for slot, tensor in enumerate(term.tensors):
                if tensor != OUTPUT:
                    found.setdefault(tensor, set()).add(slot)
        return found

    @property
    def num_inputs(self) -> int:
        return len(self._occurrences)

    @cached_property
    def input_slots(self) -> tuple[Slot, ...]:
        """The layout of each input."""
        return tuple(self.form.slots[min(self._occurrences[number])] for number in range(self.num_inputs))

    @cached_property
    def output_slots(self) -> tuple[Slot, ...]:
        """The layout of each output."""
        return tuple(self.form.slots[terms[0].slot] for terms in self.outputs)

    def gradient(self, wanted: Sequence[bool] | None = None, given: Sequence[bool] | None = None) -> Derivative | None:
        """The vector-Jacobian product: gradients of sum_o <cotangent_o, output_o> with respect to the ``wanted`` inputs.

        ``given`` marks the outputs that have a cotangent (the others count as zero). Both default to all. None when nothing is
        left.
        """
        wanted = (True,) * self.num_inputs if wanted is None else tuple(bool(w) for w in wanted)
        given = (True,) * len(self.outputs) if given is None else tuple(bool(g) for g in given)
        key = ("gradient", wanted, given)
        if key not in self._derivatives:
            self._derivatives[key] = self._gradient(wanted, given)
        return self._derivatives[key]

    def _gradient(self, wanted: tuple[bool, ...], given: tuple[bool, ...]) -> Derivative | None:
        found: dict[int, list[Term]] = {n: [] for n in range(self.num_inputs) if wanted[n]}
        for number, terms in enumerate(self.outputs):
            if not given[number]:
                continue
            for term in terms:
                for slot, tensor in enumerate(term.tensors):
                    if tensor != OUTPUT and wanted[tensor]:
                        bound = list(term.tensors)
                        bound[term.slot] = self.num_inputs + number
                        bound[slot] = OUTPUT
                        found[tensor].append(Term(tuple(bound), term.factor))
        return derivative(self.form, found)

    def tangent(self, given: Sequence[bool] | None = None) -> Derivative | None:
        """The Jacobian-vector product: tangents of the outputs from those of the ``given`` inputs (numbered after the inputs)."""
        given = (True,) * self.num_inputs if given is None else tuple(bool(g) for g in given)
        key = ("tangent", given)
        if key not in self._derivatives:
            found: dict[int, list[Term]] = {}
            for number, terms in enumerate(self.outputs):
                for term in terms:
                    for slot, tensor in enumerate(term.tensors):
                        if tensor != OUTPUT and given[tensor]:
                            bound = list(term.tensors)
                            bound[slot] = self.num_inputs + tensor
                            found.setdefault(number, []).append(Term(tuple(bound), term.factor))
            self._derivatives[key] = derivative(self.form, found)
        return self._derivatives[key]

    @cached_property
    def _derivatives(self) -> dict[tuple, Derivative | None]:
        return {}

    @cached_property
    def content(self) -> list:
        return [[[[*term.tensors], float(term.factor).hex()] for term in terms] for terms in self.outputs]

    @cached_property
    def digest(self) -> str:
        text = self.form.digest + json.dumps(self.content, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def key(self) -> str:
        """The whole program as text, its digest first: what a traced graph carries. Inverse of :meth:`from_key`."""
        payload = json.dumps([self.form.content, self.content], separators=(",", ":")).encode()
        _programs.setdefault(self.digest, self)
        return f"{self.digest}:{base64.b85encode(zlib.compress(payload, 9)).decode()}"

    @staticmethod
    def from_key(key: str) -> Program:
        """The program written in ``key``. Raises ``ValueError`` where the text is damaged."""
        digest = key[:64]
        if digest not in _programs:
            try:
                (slots, paths), outputs = json.loads(zlib.decompress(base64.b85decode(key[65:])))
            except (ValueError, zlib.error) as error:
                raise ValueError(f"the text of program {digest[:12]} is damaged: {error}") from error
            form = Form(
                tuple(Slot(index, tuple(Segment(c, tuple(channels)) for c, channels in segments)) for index, segments in slots),
                tuple(
                    Path(tuple(s), tuple(letters), tuple((tuple(c[:-1]), float.fromhex(c[-1])) for c in coefficients))
                    for s, letters, coefficients in paths
                ),
            )
            program = Program(form, tuple(tuple(Term(tuple(t), float.fromhex(f)) for t, f in terms) for terms in outputs))
            if program.digest != digest:
                raise ValueError(f"the text of program {digest[:12]} is damaged: it describes program {program.digest[:12]}")
            _programs[digest] = program
        return _programs[digest]

    def __repr__(self) -> str:
        lines = [f"out{number} = " + " + ".join(map(_write, terms)) for number, terms in enumerate(self.outputs)]
        return f"program {self.digest[:12]}: " + "; ".join(lines)


# Programs by digest: the meaning of a key never changes, so this is a cache, not state.
_programs: dict[str, Program] = {}


def _write(term: Term) -> str:
    factor = "" if term.factor == 1.0 else f"{term.factor:g} "
    return f"{factor}S({', '.join('.' if t == OUTPUT else str(t) for t in term.tensors)})"


def _merge(form: Form, terms: Iterable[Term]) -> tuple[Term, ...]:
    """Sort the tensors of exchangeable slots (the output first) and add up equal terms: the gradient of x·x is 2x, one term."""
    factors: dict[tuple[int, ...], float] = {}
    for term in terms:
        tensors = list(term.tensors)
        for group in form.symmetric_slots:
            for slot, tensor in zip(group, sorted(tensors[slot] for slot in group), strict=True):
                tensors[slot] = tensor
        factors[tuple(tensors)] = factors.get(tuple(tensors), 0.0) + term.factor
    return tuple(Term(tensors, factor) for tensors, factor in sorted(factors.items()))


def derivative(form: Form, found: dict[int, list[Term]]) -> Derivative | None:
    """The program of the targets' terms, whose tensors are then numbered without gaps; None where there are none."""
    targets = tuple(number for number, terms in found.items() if terms)
    if not targets:
        return None
    used = sorted({t for number in targets for term in found[number] for t in term.tensors if t != OUTPUT})
    renumber = {OUTPUT: OUTPUT} | {old: new for new, old in enumerate(used)}
    outputs = tuple(
        tuple(Term(tuple(renumber[t] for t in term.tensors), term.factor) for term in found[number]) for number in targets
    )
    return Derivative(Program(form, outputs), tuple(used), targets)
