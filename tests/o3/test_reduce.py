import copy
import itertools
import pickle
import time

import numpy as np
import pytest
import torch
from e3nn import io as e3nn_io
from e3nn import o3 as e3nn_o3

from tesseral.o3 import Irreps, rand_matrix, reduce
from tesseral.o3.reduce import CartesianTensor, reduce_tensor, symmetry_group

from .golden import golden

FORMULAS = ["i", "ij", "ij=ji", "ij=-ji", "ijk=-jik", "ijk=jik=ikj", "ijk=-jik=-ikj", "ijkl=jikl=klij", "ijkl=jikl=ikjl=ijlk"]

CASES = [
    ("i", {"i": "2x1o+0e"}),
    ("ij", {"i": "0e+1o", "j": "1e+2o"}),
    ("ij=ji", {"i": "2x0e+1o+2e"}),
    ("ij=-ji", {"i": "2x0e+2x1o"}),
    ("ijk=jik=ikj", {"i": "0e+1o+2e"}),
    ("ijk=-jik", {"j": "0e+1o", "k": "1e+0o"}),
    ("ijk=jki", {"i": "0e+1o+2e"}),
    ("ijkl=jikl=klij", {"i": "0e+1o"}),
    ("ijkl=-jikl=-ijlk", {"i": "1o", "k": "0o+1e"}),
]


@pytest.fixture
def double_default():
    """e3nn's reduction stores its basis in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def flat(change_of_basis):
    return np.asarray(change_of_basis).reshape(len(change_of_basis), -1)


def symmetric_dimension(formula, dims):
    """Number of independent elements by brute force: the trace of the projector to the symmetry."""
    _, group = symmetry_group(formula)
    trace = 0
    for p, sign in group:
        trace += sign * sum(tuple(x[i] for i in p) == x for x in itertools.product(*map(range, dims)))
    return trace // len(group)


@pytest.mark.parametrize(("convention", "version"), [("0.6", "0.6.0"), ("0.4", "0.4.4")])
def test_cartesian_bases_equal_both_versions_of_e3nn(convention, version):
    fixture = golden(version)
    for i, formula in enumerate(fixture["formulas"]):
        tensor = CartesianTensor(str(formula), convention=convention)
        assert str(tensor.irreps) == str(fixture[f"cartesian_{i}_irreps"])
        np.testing.assert_allclose(tensor.change_of_basis, fixture[f"cartesian_{i}"], rtol=0, atol=1e-14, err_msg=str(formula))


@pytest.mark.parametrize(("formula", "irreps"), CASES, ids=str)
def test_orthonormal_symmetric_complete_and_equivariant(formula, irreps):
    reduced = reduce_tensor(formula, **irreps)
    Q = reduced.change_of_basis
    assert Q.shape == (reduced.irreps_out.dim, *(space.dim for space in reduced.irreps_in))
    np.testing.assert_allclose(flat(Q) @ flat(Q).T, np.eye(len(Q)), atol=3e-15)
    _, group = symmetry_group(formula)
    for p, sign in group:
        np.testing.assert_allclose(Q, sign * Q.transpose(0, *(1 + axis for axis in p)), atol=1e-14)
    assert len(Q) == symmetric_dimension(formula, Q.shape[1:])
    assert reduced.irreps_out == reduced.irreps_out.regroup()

    for R in (rand_matrix(dtype=torch.float64), -rand_matrix(dtype=torch.float64)):
        rotated = Q
        for axis, space in enumerate(reduced.irreps_in):
            D = space.D_from_matrix(R).numpy()
            rotated = np.moveaxis(np.tensordot(D, rotated, (1, 1 + axis)), 0, 1 + axis)
        expected = np.tensordot(reduced.irreps_out.D_from_matrix(R).numpy().T, Q, 1)
        np.testing.assert_allclose(rotated, expected, atol=1e-12)


@pytest.mark.parametrize("filter_ir_mid", [None, ["0e", "1o", "2e"]], ids=["all", "filtered"])
@pytest.mark.parametrize(("formula", "irreps"), CASES[1:7], ids=str)
def test_same_basis_as_installed_e3nn(formula, irreps, filter_ir_mid, double_default):
    expected = e3nn_o3.ReducedTensorProducts(formula, filter_ir_mid=filter_ir_mid, **irreps)
    actual = reduce_tensor(formula, filter_ir_mid=filter_ir_mid, **irreps)
    assert str(actual.irreps_out) == str(expected.irreps_out)
    # the same span, the same basis of repeated irreps, the same signs
    np.testing.assert_allclose(actual.change_of_basis, expected.change_of_basis.numpy(), rtol=0, atol=1e-13)


def test_filters():
    assert reduce_tensor("ij", ["1e", "2e"], i="1o", j="1o").irreps_out == Irreps("1e+2e")
    assert reduce_tensor("ijk=jik=ikj", ["0e"], i="0e+1o").irreps_out == Irreps("2x0e")
    nothing = reduce_tensor("ij=ji", ["5o"], i="1o")
    assert nothing.irreps_out == Irreps("")
    assert nothing.change_of_basis.shape == (0, 3, 3)


def test_antisymmetric_in_too_many_indices_is_empty():
    assert reduce_tensor("ijkl=-jikl=-ikjl=-ijlk", i="1o").irreps_out.dim == 0
    assert CartesianTensor("ijkl=-jikl=-ikjl=-ijlk").from_cartesian(torch.randn(2, 3, 3, 3, 3)).shape == (2, 0)


def test_deterministic_and_cached():
    first = reduce_tensor("ijk=jki", i="0e+1o+2e")
    again = reduce_tensor("ijk=jki", i="1x0e+1x1o+1x2e")
    assert again.change_of_basis is first.change_of_basis
    (
        reduce._reduce.cache_clear(),
        reduce._reduce_block.cache_clear(),
        reduce._couplings.cache_clear(),
        reduce._first_components.cache_clear(),
    )
    fresh = reduce_tensor("ijk=jki", i="0e+1o+2e")
    assert fresh.change_of_basis is not first.change_of_basis
    np.testing.assert_array_equal(fresh.change_of_basis, first.change_of_basis)
    with pytest.raises(ValueError, match="read-only"):
        first.change_of_basis[0] = 1


@pytest.mark.parametrize(
    ("formula", "irreps", "message"),
    [
        ("ij=ik", {"i": "1o"}, "'ik' is not a permutation of 'ij'"),
        ("ii", {"i": "1o"}, "distinct letters"),
        ("", {}, "distinct letters"),
        ("-ij=ji", {"i": "1o"}, "must begin with distinct letters"),
        ("ijk=-jki", {"i": "1o"}, "T = -T"),
        ("ij", {"i": "1o"}, "index 'j' has no irreps"),
        ("ij=ji", {"i": "1o", "j": "1e"}, "same irreps"),
        ("ij=ji", {"i": "1o", "k": "1e"}, "'k', which is not an index"),
    ],
)
def test_bad_formulas(formula, irreps, message):
    with pytest.raises(ValueError, match=message):
        reduce_tensor(formula, **irreps)


@pytest.mark.compile  # the shape checker would be most of the time
def test_fast_when_cold():
    def seconds(function):
        (
            reduce._reduce.cache_clear(),
            reduce._reduce_block.cache_clear(),
            reduce._couplings.cache_clear(),
            reduce._first_components.cache_clear(),
        )
        start = time.process_time()
        function()
        return time.process_time() - start

    assert min(seconds(lambda: reduce_tensor("ijk=jik=ikj", i="0e+1o+2e+3o")) for _ in range(3)) < 0.5  # e3nn 0.6.0: 7.5 s
    assert min(seconds(lambda: CartesianTensor("ijkl=jikl=klij")) for _ in range(3)) < 0.05  # e3nn 0.6.0: 0.13 s


# ---- Cartesian tensors


@pytest.mark.parametrize("formula", FORMULAS)
def test_cartesian_round_trip_and_projection(formula):
    tensor = CartesianTensor(formula)
    rank = len(tensor.indices)
    features = torch.randn(4, 2, tensor.irreps.dim, dtype=torch.float64)
    cartesian = tensor.to_cartesian(features)
    assert cartesian.shape == (4, 2) + (3,) * rank
    torch.testing.assert_close(tensor.from_cartesian(cartesian), features, rtol=0, atol=1e-14)
    torch.testing.assert_close(cartesian.flatten(2).norm(dim=-1), features.norm(dim=-1))
    any_tensor = torch.randn(5, *(3,) * rank, dtype=torch.float64)
    _, group = symmetry_group(formula)
    symmetrised = sum(sign * any_tensor.permute(0, *(1 + axis for axis in p)) for p, sign in group) / len(group)
    torch.testing.assert_close(tensor.to_cartesian(tensor.from_cartesian(any_tensor)), symmetrised, rtol=0, atol=1e-14)


def test_known_components():
    symmetric, antisymmetric = CartesianTensor("ij=ji"), CartesianTensor("ij=-ji")
    t = torch.randn(3, 3, dtype=torch.float64)
    trace = symmetric.from_cartesian(t)[0]
    torch.testing.assert_close(trace, t.trace() / 3**0.5)
    x, y = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(antisymmetric.from_vectors(x, y), torch.linalg.cross(x, y) / 2**0.5)
    harmonics = e3nn_o3.spherical_harmonics(2, x, False, "norm")
    torch.testing.assert_close(symmetric.from_vectors(x, x)[1:], harmonics * (2 / 3) ** 0.5)


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("formula", ["ij", "ij=ji", "ijk=-jik", "ijkl=jikl=klij"])
def test_cartesian_equivariance(formula, layout):
    tensor = CartesianTensor(formula, layout=layout)
    rank = len(tensor.indices)
    t = torch.randn(6, *(3,) * rank, dtype=torch.float64)
    for R in (rand_matrix(dtype=torch.float64), -rand_matrix(dtype=torch.float64)):
        rotated = t
        for axis in range(1, rank + 1):
            rotated = torch.tensordot(rotated, R, ([axis], [1])).movedim(-1, axis)
        expected = tensor.from_cartesian(t) @ tensor.irreps.D_from_matrix(R, layout=layout).T
        error = (tensor.from_cartesian(rotated) - expected).abs().max().item()
        assert error < 1e-13, error


@pytest.mark.parametrize("formula", ["ij=ji", "ijkl=jikl=klij"])
def test_cartesian_equals_installed_e3nn(formula, double_default):
    ours, theirs = CartesianTensor(formula), e3nn_io.CartesianTensor(formula)
    rtp = theirs.reduced_tensor_products()
    rank = len(ours.indices)
    t = torch.randn(2, *(3,) * rank)
    torch.testing.assert_close(ours.from_cartesian(t), theirs.from_cartesian(t, rtp), rtol=0, atol=1e-13)
    features = torch.randn(2, ours.irreps.dim)
    torch.testing.assert_close(ours.to_cartesian(features), theirs.to_cartesian(features, rtp), rtol=0, atol=1e-13)
    vectors = torch.randn(rank, 2, 3)
    torch.testing.assert_close(ours.from_vectors(*vectors), theirs.from_vectors(*vectors, rtp=rtp), rtol=0, atol=1e-13)


def test_layouts_are_permutations_of_each_other():
    from tesseral.o3 import to_layout

    formula = "ijkl=jikl=klij"
    a, b = CartesianTensor(formula), CartesianTensor(formula, layout="ir_mul")
    t = torch.randn(2, 3, 3, 3, 3)
    torch.testing.assert_close(b.from_cartesian(t), to_layout(a.from_cartesian(t), a.irreps, "mul_ir", "ir_mul"))
    assert a != b
    assert not torch.equal(a.change_of_basis, b.change_of_basis)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_and_empty_batches(dtype):
    tensor = CartesianTensor("ij=ji")
    t = torch.randn(3, 3, 3, dtype=torch.float64)
    features = tensor.from_cartesian(t.to(dtype))
    assert features.dtype == tensor.to_cartesian(features).dtype == dtype
    torch.testing.assert_close(features.double(), tensor.from_cartesian(t), rtol=0, atol=30 * torch.finfo(dtype).eps)
    assert tensor.from_cartesian(torch.zeros(0, 3, 3, dtype=dtype)).shape == (0, 6)
    assert tensor.to_cartesian(torch.zeros(0, 6, dtype=dtype)).shape == (0, 3, 3)
    assert tensor.from_vectors(torch.zeros(0, 3, dtype=dtype), torch.zeros(3, dtype=dtype)).shape == (0, 6)


def test_built_under_another_default_device_and_dtype():
    reduce._reduce.cache_clear(), reduce._reduce_block.cache_clear()
    with torch.device("meta"):
        tensor = CartesianTensor("ij=ji")
    assert tensor.change_of_basis.device.type == "cpu"
    assert tensor.change_of_basis.dtype == torch.float64
    assert tensor.to_cartesian(tensor.from_cartesian(torch.zeros(2, 3, 3, device="meta"))).is_meta


def test_gradients_and_functional_transforms():
    tensor = CartesianTensor("ij=ji")
    t = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    x, y = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    features = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    for function, inputs in ((tensor.from_cartesian, t), (tensor.to_cartesian, features), (tensor.from_vectors, (x, y))):
        assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, inputs)
    torch.testing.assert_close(torch.vmap(tensor.from_cartesian)(t), tensor.from_cartesian(t))
    torch.testing.assert_close(torch.vmap(tensor.to_cartesian)(features), tensor.to_cartesian(features))


def test_pickle_copy_and_equality():
    tensor = CartesianTensor("ijkl=jikl=klij", layout="ir_mul", convention="0.4")
    for other in (pickle.loads(pickle.dumps(tensor)), copy.deepcopy(tensor)):
        assert other == tensor
        assert hash(other) == hash(tensor)
        assert torch.equal(other.change_of_basis, tensor.change_of_basis)
    assert tensor != CartesianTensor("ijkl=jikl=klij")
    assert repr(CartesianTensor("ij=ji")) == "CartesianTensor('ij=ji', 1x0e+1x2e, layout='mul_ir')"


def test_bad_shapes():
    tensor = CartesianTensor("ij=ji")
    with pytest.raises(ValueError, match=r"2 last axes of size 3, got shape \(3, 4\)"):
        tensor.from_cartesian(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"2 last axes of size 3, got shape \(3,\)"):
        tensor.from_cartesian(torch.zeros(3))
    with pytest.raises(ValueError, match="6 components"):
        tensor.to_cartesian(torch.zeros(5))
    with pytest.raises(ValueError, match="made of 2 vectors, got 1"):
        tensor.from_vectors(torch.zeros(3))
    with pytest.raises(ValueError, match="layout"):
        CartesianTensor("ij=ji", layout="ir_mul_")


class Symmetrise(torch.nn.Module):
    def __init__(self, formula):
        super().__init__()
        self.tensor = CartesianTensor(formula)

    def forward(self, t):
        return self.tensor.to_cartesian(self.tensor.from_cartesian(t))


@pytest.mark.compile
@pytest.mark.parametrize("formula", ["ij=ji", "ijkl=jikl=klij"])
def test_compiles_and_exports(formula):
    module = Symmetrise(formula)
    shape = (3,) * len(module.tensor.indices)
    t = torch.randn(4, *shape, requires_grad=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(t), module(t))
    torch.testing.assert_close(
        torch.autograd.grad(compiled(t).square().sum(), t), torch.autograd.grad(module(t).square().sum(), t)
    )
    program = torch.export.export(module, (t.detach(),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    other = torch.randn(7, *shape)
    torch.testing.assert_close(program.module()(other), module(other))


@pytest.mark.compile
def test_round_trip_is_a_hundred_times_faster_than_e3nn():
    t = torch.randn(3, 3)
    ours, theirs = CartesianTensor("ij=ji"), e3nn_io.CartesianTensor("ij=ji")

    def seconds(tensor, repetitions):
        times = []
        for _ in range(3):
            start = time.process_time()
            for _ in range(repetitions):
                tensor.to_cartesian(tensor.from_cartesian(t))
            times.append((time.process_time() - start) / repetitions)
        return min(times)

    assert seconds(theirs, 1) > 100 * seconds(ours, 100)
