"""Rotation conversions: e3nn's numbers, every way there and back, and gradients at the points where others give NaN."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tesseral import o3
from tesseral.o3 import rotations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from e3nn import o3 as e3nn

PI = math.pi
# angles that include every degenerate point: the identity, rotations by pi, the poles, and their close neighbourhoods
angle = st.one_of(
    st.sampled_from([0.0, PI, -PI, PI / 2, -PI / 2, 2 * PI, 1e-9, 1e-200, PI - 1e-9, PI + 1e-12, 1e-160]),
    st.floats(-2 * PI, 2 * PI, allow_nan=False),
)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_same_rotation(R: Tensor, S: Tensor, atol: float = 1e-14) -> None:
    torch.testing.assert_close(R, S, rtol=0, atol=atol)


def special_rotations() -> Tensor:
    """All products of quarter turns about the axes (the 24 of a cube), half turns about diagonals, and tiny neighbours of all."""
    turns = [turn(tensor(k * PI / 2))[0].round() for turn in (o3.matrix_x, o3.matrix_y, o3.matrix_z) for k in range(4)]
    products = torch.stack([a @ b @ c for a in turns for b in turns for c in turns]).unique(dim=0)
    assert len(products) == 24
    halves = o3.axis_angle_to_matrix(torch.randn(10, 3, dtype=torch.float64), tensor(*[PI] * 10))
    exact = torch.cat([products, halves])
    nudges = [o3.rotation_vector_to_matrix(scale * torch.randn(3, dtype=torch.float64)) for scale in (1e-3, 1e-7, 1e-12, 1e-160)]
    return torch.cat([exact, *[exact @ nudge for nudge in nudges]])


# ---- agreement with e3nn

A = (torch.Generator().manual_seed(1), torch.float64)
ALPHA, BETA, GAMMA = rotations.rand_angles(50, generator=A[0], dtype=A[1])
R = rotations.rand_matrix(50, generator=A[0], dtype=A[1])
Q = rotations.rand_quaternion(50, generator=A[0], dtype=A[1])
AXIS, ANGLE = rotations.rand_axis_angle(50, generator=A[0], dtype=A[1])
XYZ = torch.randn(50, 3, generator=A[0], dtype=A[1])

CONVERSIONS = {
    "angles_to_axis_angle": (ALPHA, BETA, GAMMA),
    "angles_to_matrix": (ALPHA, BETA, GAMMA),
    "angles_to_quaternion": (ALPHA, BETA, GAMMA),
    "angles_to_xyz": (ALPHA, BETA),
    "axis_angle_to_angles": (AXIS, ANGLE),
    "axis_angle_to_matrix": (3 * AXIS, ANGLE),
    "axis_angle_to_quaternion": (3 * AXIS, ANGLE),
    "compose_angles": (ALPHA, BETA, GAMMA, GAMMA, BETA, ALPHA),
    "compose_axis_angle": (AXIS, ANGLE, AXIS.flip(0), ANGLE.flip(0)),
    "compose_quaternion": (Q, Q.flip(0)),
    "inverse_angles": (ALPHA, BETA, GAMMA),
    "inverse_quaternion": (Q,),
    "matrix_to_angles": (R,),
    "matrix_to_axis_angle": (R,),
    "matrix_to_quaternion": (R,),
    "matrix_x": (ALPHA,),
    "matrix_y": (ALPHA,),
    "matrix_z": (ALPHA,),
    "quaternion_to_angles": (Q,),
    "quaternion_to_axis_angle": (Q,),
    "quaternion_to_matrix": (Q,),
    "xyz_to_angles": (XYZ,),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_same_as_e3nn(name: str) -> None:
    arguments = CONVERSIONS[name]
    ours, theirs = getattr(o3, name)(*arguments), getattr(e3nn, name)(*arguments)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)  # theirs loses digits in the arccosine
    batched = getattr(o3, name)(*[a.reshape(5, 10, *a.shape[1:]) for a in arguments])
    single = getattr(o3, name)(*[a[7] for a in arguments])
    for all_, many, one in zip(*[x if isinstance(x, tuple) else (x,) for x in (ours, batched, single)]):
        assert torch.equal(many.flatten(0, 1), all_)
        torch.testing.assert_close(one, all_[7], rtol=0, atol=1e-15)
    empty = getattr(o3, name)(*[a[:0] for a in arguments])
    assert all(len(x) == 0 for x in (empty if isinstance(empty, tuple) else (empty,)))


@pytest.mark.parametrize("name", CONVERSIONS)
def test_keeps_the_dtype(name: str) -> None:
    arguments = CONVERSIONS[name]
    double = getattr(o3, name)(*arguments)
    single = getattr(o3, name)(*[a.float() for a in arguments])
    for x, y in zip(*[x if isinstance(x, tuple) else (x,) for x in (single, double)]):
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), y, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["rand_angles", "rand_matrix", "rand_quaternion", "rand_axis_angle"])
def test_same_random_rotations_as_e3nn(name: str) -> None:
    torch.manual_seed(7)
    ours = getattr(o3, name)(4, 3, dtype=torch.float64, requires_grad=True)
    after = torch.rand(1)
    torch.manual_seed(7)
    torch.testing.assert_close(ours, getattr(e3nn, name)(4, 3, dtype=torch.float64, requires_grad=True), rtol=0, atol=1e-12)
    assert torch.equal(torch.rand(1), after)
    assert all(x.requires_grad and x.is_leaf for x in (ours if isinstance(ours, tuple) else (ours,)))


def test_identities() -> None:
    assert torch.equal(o3.identity_quaternion(2, 3), e3nn.identity_quaternion(2, 3))
    assert torch.equal(torch.stack(o3.identity_angles(2, 3)), torch.stack(e3nn.identity_angles(2, 3)))
    assert torch.equal(o3.quaternion_to_matrix(o3.identity_quaternion(dtype=torch.float64)), torch.eye(3, dtype=torch.float64))
    assert torch.equal(o3.angles_to_matrix(*o3.identity_angles()), torch.eye(3))
    assert o3.identity_quaternion(2, requires_grad=True).requires_grad


def test_random_rotations_are_uniform() -> None:
    # the mean of each product of two entries is that of the uniform distribution: delta delta / 3
    R = o3.rand_matrix(200_000, dtype=torch.float64).flatten(-2)
    torch.testing.assert_close(R.mT @ R / len(R), torch.eye(9, dtype=torch.float64) / 3, rtol=0, atol=5e-3)


# ---- there and back, also at the degenerate points


@given(angle, angle, angle)
def test_every_form_is_the_same_rotation(a: float, b: float, c: float) -> None:
    alpha, beta, gamma = tensor(a, b, c)
    R = o3.angles_to_matrix(alpha, beta, gamma)
    assert_same_rotation(R, o3.matrix_y(alpha) @ o3.matrix_x(beta) @ o3.matrix_y(gamma))
    assert_same_rotation(R, o3.quaternion_to_matrix(o3.angles_to_quaternion(alpha, beta, gamma)))
    assert_same_rotation(R, o3.quaternion_to_matrix(o3.matrix_to_quaternion(R)))
    assert_same_rotation(R, o3.angles_to_matrix(*o3.matrix_to_angles(R)))
    assert_same_rotation(R, o3.axis_angle_to_matrix(*o3.matrix_to_axis_angle(R)))
    assert_same_rotation(R, o3.axis_angle_to_matrix(*o3.angles_to_axis_angle(alpha, beta, gamma)))
    assert_same_rotation(R, o3.rotation_vector_to_matrix(o3.matrix_to_rotation_vector(R)))
    q = o3.matrix_to_quaternion(R)
    assert q[0] >= 0
    torch.testing.assert_close(q.norm(), tensor(1.0)[0])
    axis, turn = o3.matrix_to_axis_angle(R)
    assert 0 <= turn <= PI
    torch.testing.assert_close(axis.norm(), tensor(1.0)[0])
    assert 0 <= o3.matrix_to_angles(R)[1] <= PI


def test_special_rotations_there_and_back() -> None:
    R = special_rotations()
    assert_same_rotation(o3.quaternion_to_matrix(o3.matrix_to_quaternion(R)), R)
    assert_same_rotation(o3.axis_angle_to_matrix(*o3.matrix_to_axis_angle(R)), R)
    assert_same_rotation(o3.angles_to_matrix(*o3.matrix_to_angles(R)), R)
    assert_same_rotation(o3.rotation_vector_to_matrix(o3.matrix_to_rotation_vector(R)), R)


@given(angle, st.tuples(angle, angle), st.sampled_from([1e-300, 1e-20, 1.0, 1e200]))
def test_axis_angle_there_and_back(turn: float, direction: tuple[float, float], length: float) -> None:
    axis = o3.angles_to_xyz(*tensor(*direction))
    q = o3.axis_angle_to_quaternion(length * axis, tensor(turn)[0])
    torch.testing.assert_close(q[0], tensor(math.cos(turn / 2))[0], rtol=0, atol=1e-15)
    again, angle = o3.quaternion_to_axis_angle(length * q)
    assert_same_rotation(o3.axis_angle_to_matrix(again, angle), o3.axis_angle_to_matrix(axis, tensor(turn)[0]), atol=4e-15)
    torch.testing.assert_close(o3.quaternion_to_matrix(length * q), o3.quaternion_to_matrix(q), rtol=0, atol=1e-15)


def test_tiny_angles_keep_their_digits() -> None:
    vector = tensor(3e-9, -1e-12, 2e-17)
    torch.testing.assert_close(o3.matrix_to_rotation_vector(o3.rotation_vector_to_matrix(vector)), vector, rtol=1e-14, atol=0)
    axis, angle = o3.matrix_to_axis_angle(o3.matrix_x(tensor(1e-10)[0]))
    torch.testing.assert_close((axis, angle), (tensor(1.0, 0.0, 0.0), tensor(1e-10)[0]), rtol=1e-14, atol=0)


def test_rotation_vector_is_the_exponential() -> None:
    vector = torch.cat([torch.randn(20, 3, dtype=torch.float64) * scale for scale in (1e-4, 0.05, 0.2, 1, 3)])
    torch.testing.assert_close(
        o3.rotation_vector_to_matrix(vector), torch.linalg.matrix_exp(generators(vector)), rtol=0, atol=2e-14
    )


def generators(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


@given(angle, angle, angle, angle, angle, angle)
@settings(max_examples=30)
def test_products_and_inverses(a: float, b: float, c: float, d: float, e: float, f: float) -> None:
    first, second = tuple(tensor(a, b, c)), tuple(tensor(d, e, f))
    R, S = o3.angles_to_matrix(*first), o3.angles_to_matrix(*second)
    assert_same_rotation(o3.angles_to_matrix(*o3.compose_angles(*first, *second)), R @ S)
    assert_same_rotation(o3.angles_to_matrix(*o3.inverse_angles(*first)), R.mT)
    p, q = o3.angles_to_quaternion(*first), o3.angles_to_quaternion(*second)
    assert_same_rotation(o3.quaternion_to_matrix(o3.compose_quaternion(p, q)), R @ S)
    assert_same_rotation(o3.quaternion_to_matrix(o3.inverse_quaternion(p)), R.mT)
    composed = o3.compose_axis_angle(*o3.matrix_to_axis_angle(R), *o3.matrix_to_axis_angle(S))
    assert_same_rotation(o3.axis_angle_to_matrix(*composed), R @ S)


@given(angle, angle)
def test_points_on_the_sphere(a: float, b: float) -> None:
    alpha, beta = tensor(a, b)
    xyz = o3.angles_to_xyz(alpha, beta)
    torch.testing.assert_close(xyz, o3.angles_to_matrix(alpha, beta, alpha)[:, 1], rtol=0, atol=1e-15)
    for length in (1e-300, 1.0, 1e300):
        torch.testing.assert_close(o3.angles_to_xyz(*o3.xyz_to_angles(length * xyz)), xyz, rtol=0, atol=1e-15)


def test_zero_vectors() -> None:
    zero = tensor(0.0, 0.0, 0.0)
    assert torch.equal(torch.stack(o3.xyz_to_angles(zero)), torch.stack(e3nn.xyz_to_angles(zero)))
    assert torch.equal(o3.axis_angle_to_matrix(zero, tensor(1.0)[0]), torch.eye(3, dtype=torch.float64))
    assert torch.equal(o3.quaternion_to_matrix(tensor(0.0, 0.0, 0.0, 0.0)), torch.eye(3, dtype=torch.float64))
    axis, angle = o3.quaternion_to_axis_angle(tensor(1.0, 0.0, 0.0, 0.0))
    assert (axis.tolist(), angle.item()) == ([0.0, 1.0, 0.0], 0.0)


# ---- gradients

FROM_MATRIX = ["matrix_to_quaternion", "matrix_to_axis_angle", "matrix_to_angles", "matrix_to_rotation_vector"]


def flat(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """One tensor of everything that a conversion returns."""
    if isinstance(output, Tensor):
        return output
    batch = min(part.dim() for part in output)
    return torch.cat([part.reshape(*part.shape[:batch], -1) for part in output], -1)


def along_rotations(name: str, R: Tensor) -> Tensor:
    """The derivative of a function of a matrix along rotations of it: the only directions that have a meaning."""

    def turned(vector: Tensor) -> Tensor:
        return flat(getattr(rotations, name)(R @ o3.rotation_vector_to_matrix(vector), check=False))

    return torch.func.jacrev(turned)(torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("name", FROM_MATRIX)
def test_gradients_from_matrices_are_finite_everywhere(name: str) -> None:
    for R in (special_rotations(), special_rotations().float()):
        R.requires_grad_()
        out = flat(getattr(o3, name)(R))
        (gradient,) = torch.autograd.grad(out.sum(), R, create_graph=True)
        assert gradient.isfinite().all()
        (second,) = torch.autograd.grad(gradient.sum(), R)
        assert second.isfinite().all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("quaternion_to_matrix", (torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1e-30, 0, 0, 0]]),)),
        (
            "quaternion_to_axis_angle",
            (torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [1, 1e-30, 0, 0], [0, 0, 0, 0]]),),
        ),
        ("quaternion_to_angles", (torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1e-30, 0, 0]]),)),
        ("quaternion_to_rotation_vector", (torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [1, 1e-30, 0, 0]]),)),
        ("axis_angle_to_quaternion", (torch.tensor([[0.0, 0, 0], [1, 0, 0], [1e-30, 0, 0]]), torch.tensor([1.0, 0.0, PI]))),
        ("axis_angle_to_matrix", (torch.tensor([[0.0, 0, 0], [1, 0, 0], [1e-30, 0, 0]]), torch.tensor([1.0, 0.0, PI]))),
        ("axis_angle_to_angles", (torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 0]]), torch.tensor([1.0, 0.5, PI]))),
        ("angles_to_axis_angle", (torch.zeros(3), torch.tensor([0.0, PI, 1e-30]), torch.zeros(3))),
        ("rotation_vector_to_matrix", (torch.tensor([[0.0, 0, 0], [1e-30, 0, 0], [PI, 0, 0]]),)),
        ("xyz_to_angles", (torch.tensor([[0.0, 1, 0], [0, -1, 0], [0, 0, 0], [1e-30, 1, 0], [0, 0, -1], [1e-30, 1e-30, 0]]),)),
    ],
)
def test_other_gradients_are_finite_everywhere(name: str, arguments: tuple[Tensor, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        inputs = [a.to(dtype).requires_grad_() for a in arguments]
        out = flat(getattr(o3, name)(*inputs))
        assert out.isfinite().all()
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), inputs))


def test_gradient_of_the_quaternion_is_right_at_every_rotation() -> None:
    # q(R exp(v)) = q(R) (0, v/2) to first order; at w = 0 with either sign of q
    half = torch.cat([torch.zeros(3, 1), torch.eye(3) / 2], -1).double()
    for R in special_rotations():
        q = o3.matrix_to_quaternion(R)
        expected = o3.compose_quaternion(q.expand(3, 4), half).mT
        torch.testing.assert_close(along_rotations("matrix_to_quaternion", R), expected, rtol=0, atol=1e-12)


def test_gradient_of_the_logarithm_is_right_near_the_identity() -> None:
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(along_rotations("matrix_to_rotation_vector", eye), eye, rtol=0, atol=1e-15)
    vector = torch.cat([torch.randn(5, 3, dtype=torch.float64) * scale for scale in (1e-12, 1e-3, 0.19, 0.21, 0.5)])

    def there_and_back(vector: Tensor) -> Tensor:
        return o3.matrix_to_rotation_vector(o3.rotation_vector_to_matrix(vector), check=False)

    jacobian = torch.vmap(torch.func.jacrev(there_and_back))(vector)
    torch.testing.assert_close(jacobian, eye.expand_as(jacobian), rtol=0, atol=1e-12)
    second = torch.vmap(torch.func.hessian(there_and_back))(vector)
    torch.testing.assert_close(second, torch.zeros_like(second), rtol=0, atol=1e-8)


def test_second_derivative_of_the_exponential_at_the_identity() -> None:
    def matrix(v: Tensor) -> Tensor:
        return o3.rotation_vector_to_matrix(v)

    K = generators(torch.eye(3, dtype=torch.float64))
    zero = torch.zeros(3, dtype=torch.float64)
    first = torch.einsum("kij->ijk", K)
    second = torch.einsum("kil,mlj->ijkm", K, K)
    torch.testing.assert_close(torch.func.jacrev(matrix)(zero), first, rtol=0, atol=1e-15)
    torch.testing.assert_close(torch.func.hessian(matrix)(zero), (second + second.mT) / 2, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", CONVERSIONS)
def test_gradcheck(name: str) -> None:
    inputs = [a[:3].clone().requires_grad_() for a in CONVERSIONS[name]]
    keywords = {"check": False} if name in FROM_MATRIX else {}

    def function(*arguments: Tensor) -> Tensor:
        return flat(getattr(o3, name)(*arguments, **keywords))

    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    if name not in ("matrix_x", "matrix_y", "matrix_z"):
        torch.testing.assert_close(torch.vmap(function)(*inputs), function(*inputs))


# ---- the check


@pytest.mark.parametrize(
    "name", ["matrix_to_quaternion", "matrix_to_angles", "matrix_to_axis_angle", "matrix_to_rotation_vector"]
)
def test_not_a_rotation(name: str) -> None:
    function = getattr(o3, name)
    with pytest.raises(ValueError, match="orthogonal"):
        function(2 * torch.eye(3))
    with pytest.raises(ValueError, match="orthogonal"):
        function(torch.full((3, 3), torch.nan))
    with pytest.raises(ValueError, match="reflection"):
        function(-torch.eye(3))
    function(-torch.eye(3), check=False)


def test_tolerance_depends_on_the_dtype() -> None:
    R = torch.eye(3, dtype=torch.float64)
    R[0, 0] += 1e-5
    o3.check_orthogonal(R.float())
    o3.check_orthogonal(-R.float())
    with pytest.raises(ValueError, match="orthogonal"):
        o3.check_orthogonal(R)
    o3.check_orthogonal(o3.rand_matrix(100).double())
    o3.check_orthogonal(o3.rand_matrix(100).bfloat16())
    with pytest.raises(ValueError, match="reflection"):
        o3.check_orthogonal(torch.stack([torch.eye(3), -torch.eye(3)]), proper=True)
    torch.vmap(lambda R: o3.check_orthogonal(R) or R)(2 * R[None])  # mapped: nothing to read


def test_determinant() -> None:
    M = torch.randn(10, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(rotations.determinant(M), torch.linalg.det(M))


# ---- graphs


@pytest.mark.compile
def test_everything_compiles() -> None:
    def everything(R: Tensor, q: Tensor, axis: Tensor, angle: Tensor, beta: Tensor, gamma: Tensor) -> list[Tensor]:
        inputs = {"R": (R,), "q": (q,), "a": (axis, angle), "t": (angle, beta, gamma)}
        names = {"matrix": "R", "quaternion": "q", "axis_angle": "a", "angles": "t"}
        outputs = []
        for source, key in names.items():
            for target in names:
                if source != target:
                    outputs.append(flat(getattr(rotations, f"{source}_to_{target}")(*inputs[key])))
        v = rotations.matrix_to_rotation_vector(R)
        outputs += [v, rotations.rotation_vector_to_matrix(v), flat(rotations.xyz_to_angles(axis))]
        return outputs

    arguments = (R, Q, AXIS, ANGLE, BETA, GAMMA)
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), everything(*arguments), rtol=0, atol=1e-14)

    class Everything(torch.nn.Module):
        def forward(self, *arguments: Tensor) -> list[Tensor]:
            return everything(*arguments)

    dynamic = ({0: torch.export.Dim.DYNAMIC},) * 6
    exported = torch.export.export(Everything(), arguments, dynamic_shapes=(dynamic,)).module()
    fewer = [a[:9] for a in arguments]
    torch.testing.assert_close(exported(*fewer), everything(*fewer), rtol=0, atol=1e-14)
