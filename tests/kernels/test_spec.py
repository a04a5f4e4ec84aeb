"""Programs: canonical, hashed by content, closed under differentiation."""

from __future__ import annotations

import functools
import pickle

import pytest
import torch

from tesseral.kernels import reference
from tesseral.kernels.spec import OUTPUT, Form, Program, Segment, Slot, Term, path
from tests.kernels import programs


def test_order_of_paths_and_coefficients_does_not_matter():
    form = programs.convolution("odd").form
    shuffled = Form(
        form.slots, tuple(path(p.segments, p.subscripts, list(reversed(p.coefficients))) for p in reversed(form.paths))
    )
    assert shuffled == form
    assert shuffled.digest == form.digest


def test_a_changed_coefficient_changes_the_digest():
    form = programs.convolution("odd").form
    index, value = form.paths[0].coefficients[0]
    other = path(form.paths[0].segments, form.paths[0].subscripts, [(index, value * 1.0000001), *form.paths[0].coefficients[1:]])
    assert Form(form.slots, (other, *form.paths[1:])) != form


@pytest.mark.parametrize("make", [programs.elementwise, programs.matrix_product, programs.symmetric_contraction])
def test_key_round_trip(make):
    program = make().gradient().program
    from tesseral.kernels import spec

    key = program.key
    spec._programs.pop(program.digest)
    again = Program.from_key(key)
    assert again == program
    assert again is not program
    assert again.outputs == program.outputs
    assert pickle.loads(pickle.dumps(program)) == program


def test_damaged_key_is_refused():
    key = programs.full_product().key
    with pytest.raises(ValueError, match="damaged"):
        Program.from_key("0" * 64 + key[64:])
    with pytest.raises(ValueError, match="damaged"):
        Program.from_key("1" * 64 + ":abc")


def _value(program: Program, maps, rows, cotangents, *tensors):
    outputs = reference.execute(program, tensors, maps, rows)
    return sum((o * c).sum() for o, c in zip(outputs, cotangents, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: programs.convolution("odd"),
        programs.matrix_product,
        lambda: programs.matrix_product(shared=False),
        programs.full_product,
        programs.elementwise,
        programs.symmetric_contraction,
        programs.shared_weights,
    ],
)
def test_gradient_and_tangent_are_those_of_autograd(make):
    """The reference is plain torch, so autograd differentiates it independently: three orders deep."""
    program = make()
    for _ in range(2):
        tensors, maps, rows = programs.inputs(program, items=5, rows=4)
        outputs = reference.execute(program, tensors, maps, rows)
        cotangents = [torch.randn_like(o) for o in outputs]
        expected = torch.autograd.functional.vjp(functools.partial(_value, program, maps, rows, cotangents), tuple(tensors))[1]
        derivative = program.gradient()
        available = [*tensors, *cotangents]
        found = reference.execute(derivative.program, [available[n] for n in derivative.inputs], maps, rows)
        for target, value in zip(derivative.targets, found, strict=True):
            torch.testing.assert_close(value, expected[target], rtol=1e-10, atol=1e-10)
        tangents = [torch.randn_like(t) for t in tensors]
        forward = program.tangent()
        available = [*tensors, *tangents]
        found = reference.execute(forward.program, [available[n] for n in forward.inputs], maps, rows)
        left = sum((o * c).sum() for o, c in zip(found, cotangents, strict=True))
        right = sum((e * t).sum() for e, t in zip(expected, tangents, strict=True))
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
        program = derivative.program


def test_masks_keep_only_what_is_asked_for():
    program = programs.convolution("odd")
    derivative = program.gradient(wanted=(False, True, False))
    assert derivative.targets == (1,)
    assert derivative.inputs == (0, 2, 3)  # features, weights and the cotangent; not the harmonics themselves
    double = derivative.program.gradient(wanted=(True, False, True))
    assert double.targets == (0, 2)
    assert program.gradient(wanted=(True, True, True), given=(False,)) is None


def test_symmetry_is_found_and_computed_once():
    program = programs.symmetric_contraction(order=3)
    assert program.form.symmetric_slots == ((0, 1, 2),)
    ((term,),) = program.gradient(wanted=(True, False)).program.outputs
    assert term.factor == 3.0
    assert programs.elementwise().form.symmetric_slots == ()  # the cross product changes sign


def test_errors_name_what_is_wrong():
    slot = Slot("item", (Segment(3, (4,)),))
    with pytest.raises(ValueError, match="names segment 1"):
        Form((slot, slot), (path((0, 1), ("u", "u"), [((0, 0), 1.0)]),))
    with pytest.raises(ValueError, match="outside"):
        Form((slot, slot), (path((0, 0), ("u", "u"), [((0, 3), 1.0)]),))
    with pytest.raises(ValueError, match="both 4 and 5"):
        Form((slot, Slot("item", (Segment(3, (5,)),))), (path((0, 0), ("u", "u"), [((0, 0), 1.0)]),))
    form = Form((slot, slot), (path((0, 0), ("u", "u"), [((0, 0), 1.0)]),))
    with pytest.raises(ValueError, match="OUTPUT"):
        Program(form, ((Term((0, 1)),),))
    with pytest.raises(ValueError, match="without gaps"):
        Program(form, ((Term((1, OUTPUT)),),))
