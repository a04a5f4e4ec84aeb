"""Every layer against e3nn 0.6.0: the same seed gives the same weights, state dict, numbers and gradients."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from e3nn import io, math, nn, o3

from tesseral.interfaces.e3nn import io as our_io
from tesseral.interfaces.e3nn import math as our_math
from tesseral.interfaces.e3nn import nn as our_nn
from tesseral.interfaces.e3nn import o3 as our_o3
from tesseral.interfaces.e3nn.o3._tensor_product._scalars import _kinds

THEIRS = SimpleNamespace(o3=o3, nn=nn, math=math, io=io)
OURS = SimpleNamespace(o3=our_o3, nn=our_nn, math=our_math, io=our_io)
MIXED = "4x0e+2x0o+3x1o+2x1e+2x2e"


@pytest.fixture(autouse=True)
def _double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def product(a, b, c, mode, weighted, **options):
    return lambda e: e.o3.TensorProduct(a, b, c, [(0, 0, 0, mode, weighted)], **options)


MODES = [
    ("4x1o", "3x2e", "5x1o", "uvw", True),
    ("4x1o", "3x2e", "4x1o", "uvu", True),
    ("4x0e", "3x2e", "4x2e", "uvu", True),
    ("4x0e", "3x2e", "4x2e", "uvu", False),
    ("4x1o", "3x2e", "3x1o", "uvv", True),
    ("4x0e", "3x2e", "3x2e", "uvv", False),
    ("4x1o", "4x2e", "5x3o", "uuw", True),
    ("4x0e", "4x2e", "1x2e", "uuw", False),
    ("4x1o", "4x1o", "4x1e", "uuu", True),
    ("4x1o", "4x2e", "4x2o", "uuu", False),
    ("4x1o", "3x2e", "12x1o", "uvuv", True),
    ("4x1o", "4x1o", "6x1e", "uvu<v", False),
    ("4x1o", "4x1o", "5x2e", "u<vw", True),
]
LAYERS = {
    **{f"{m[3]} {m[0]} {'weighted' if m[4] else 'bare'}": product(*m) for m in MODES},
    "norm normalization": product("4x1o", "3x2e", "4x1o", "uvu", True, irrep_normalization="norm", path_normalization="path"),
    "all tensors": product("4x1o", "3x0e", "4x1o", "uvu", True, _specialized_code=False),
    "right": product("4x1o", "4x1o", "4x1e", "uuu", True, compile_right=True),
    "fully connected": lambda e: e.o3.FullyConnectedTensorProduct(MIXED, "0e+1o+2e", MIXED),
    "fully connected, scalars": lambda e: e.o3.FullyConnectedTensorProduct(MIXED, "3x0e+2x0o", MIXED + "+5x1o"),
    "full": lambda e: e.o3.FullTensorProduct(MIXED, "0e+1o+2e", filter_ir_out=["1o", "2e"]),
    "elementwise": lambda e: e.o3.ElementwiseTensorProduct("5x1o+5x1e", "10x1e"),
    "square": lambda e: e.o3.TensorSquare(MIXED, irrep_normalization="norm"),
    "square into": lambda e: e.o3.TensorSquare(MIXED, "3x0e+2x1o"),
    "linear": lambda e: e.o3.Linear(MIXED, "3x1o+7x0e+2x3o+1x0e", biases=[False, True, False, False]),
    "linear paths": lambda e: e.o3.Linear(MIXED, "3x1o+7x0e+2x3o", path_normalization="path", instructions=[(0, 1), (2, 0)]),
    "norm": lambda e: e.o3.Norm(MIXED),
    "harmonics": lambda e: e.o3.SphericalHarmonics("2x1o+3x2e", False, "component"),
    "harmonics of pseudovectors": lambda e: e.o3.SphericalHarmonics(e.o3.Irreps("1e+3e"), True, "norm"),
    "to sphere": lambda e: e.o3.ToS2Grid(4, (12, 14)),
    "activation": lambda e: e.nn.Activation("3x0e+2x0o+2x1o", [torch.nn.functional.silu, torch.tanh, None]),
    "gate": lambda e: e.nn.Gate("16x0o+3x0e", [torch.tanh, torch.abs], "32x0o", [torch.tanh], "16x1e+16x1o"),
    "gate of several blocks": lambda e: e.nn.Gate(
        "5x0e+3x0o", [torch.nn.functional.silu, torch.tanh], "4x0o+6x0e", [torch.tanh, torch.nn.functional.silu], "3x2e+3x1o+4x1e"
    ),
    "gate without gates": lambda e: e.nn.Gate("16x0e", [torch.tanh], "", [], ""),
    "perceptron": lambda e: e.nn.FullyConnectedNet([8, 16, 4], torch.nn.functional.silu, 2, 3, out_act=True),
    "extract": lambda e: e.nn.ExtractIr("1e+0e+0e", "0e"),
    "identity": lambda e: e.nn.Identity("1e+0e+0e", "1e+2x0e"),
    "norm activation": lambda e: e.nn.NormActivation(e.o3.Irreps(MIXED), torch.tanh, bias=True),
    "batch norm": lambda e: e.nn.BatchNorm(MIXED),
    "batch norm, maximum": lambda e: e.nn.BatchNorm(MIXED, reduce="max", normalization="norm"),
    "instance norm": lambda e: e.nn.BatchNorm(MIXED, instance=True),
    "dropout": lambda e: e.nn.Dropout(MIXED, 0.3),
    "sphere activation": lambda e: e.nn.S2Activation("0o+1e+2o", torch.tanh, 10, lmax_out=3),
    "rotation activation": lambda e: e.nn.SO3Activation(1, 2, torch.tanh, 3),
}


def inputs_of(layer, batch=6):
    if isinstance(layer, nn.FullyConnectedNet):
        return [torch.randn(batch, layer.hs[0])]
    if isinstance(layer, o3.ToS2Grid):
        return [torch.randn(batch, (layer.lmax + 1) ** 2)]
    if isinstance(layer, nn.SO3Activation):
        return [torch.randn(batch, 10)]
    if isinstance(layer, (o3.TensorSquare, o3.Norm)) or not hasattr(layer, "irreps_in1"):
        irreps = layer.irreps_in if hasattr(layer, "irreps_in") else layer.irreps
        return [torch.randn(batch, irreps.dim)]
    return [torch.randn(batch, layer.irreps_in1.dim), torch.randn(batch, layer.irreps_in2.dim)]


@pytest.mark.parametrize("name", LAYERS)
def test_same_weights_numbers_and_gradients(name):
    torch.manual_seed(0)
    theirs = LAYERS[name](THEIRS)
    torch.manual_seed(0)
    ours = LAYERS[name](OURS)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=1e-12)
    xs = [x.requires_grad_() for x in inputs_of(theirs)]
    results = []
    for layer in (theirs, ours):
        torch.manual_seed(1)
        y = layer(*xs)
        leaves = [*xs, *layer.parameters()]
        results.append((y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), leaves)))
    for ours_value, value in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours_value, value, rtol=1e-10, atol=1e-10)
    for key, value in theirs.state_dict().items():  # also what training statistics it collected
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=0, atol=1e-12)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)


@pytest.mark.parametrize("shared", [True, False])
def test_weights_from_outside(shared):
    mode = ("4x1o+2x0e", "3x2e", "4x1o+2x2e")
    paths = [(0, 0, 0, "uvu", True), (1, 0, 1, "uvu", False)]
    layers = [e.o3.TensorProduct(*mode, paths, internal_weights=False, shared_weights=shared) for e in (THEIRS, OURS)]
    weight = torch.randn(12) if shared else torch.randn(5, 12)
    x, y = torch.randn(5, 14), torch.randn(5, 15)
    torch.testing.assert_close(layers[1](x, y, weight), layers[0](x, y, weight))
    pieces = [weight.reshape(*weight.shape[:-1], 4, 3)]
    torch.testing.assert_close(layers[1](x, y, pieces), layers[0](x, y, weight))
    assert layers[1].weight_view_for_instruction(0, weight).shape == (*weight.shape[:-1], 4, 3)
    with pytest.raises(ValueError, match="has no weights"):
        layers[1].weight_view_for_instruction(1, weight)
    with pytest.raises(RuntimeError, match="Weights must be provided"):
        layers[1](x, y)


def test_linear_with_outside_weights_and_channels():
    x = torch.randn(5, 4, 10)
    layers = [e.o3.Linear("4x0e+2x1o", "3x1o+2x0e", f_in=4, f_out=3, internal_weights=False) for e in (THEIRS, OURS)]
    weight = torch.randn(4, 3, layers[0].weight_numel)
    torch.testing.assert_close(layers[1](x, weight), layers[0](x, weight))
    layers = [e.o3.Linear("4x0e+2x1o", "3x1o+2x0e", shared_weights=False) for e in (THEIRS, OURS)]
    weight = torch.randn(5, layers[0].weight_numel)
    torch.testing.assert_close(layers[1](x[:, 0], weight), layers[0](x[:, 0], weight))
    assert layers[1].weight_index_slices == layers[0].weight_index_slices
    for ours, theirs in zip(layers[1].instructions, layers[0].instructions, strict=True):
        assert ours[:3] == theirs[:3]
        assert ours.path_weight == pytest.approx(theirs.path_weight, rel=1e-15)


def test_right_of_a_product():
    layers = []
    for e in (THEIRS, OURS):
        torch.manual_seed(0)
        layers.append(e.o3.FullyConnectedTensorProduct("2x1o+1x0e", "1x1o+1x2e", "3x1e+2x1o", compile_right=True))
    y = torch.randn(5, 8)
    torch.testing.assert_close(layers[1].right(y), layers[0].right(y))


@pytest.mark.parametrize("act", [torch.nn.functional.silu, torch.tanh, torch.sigmoid, torch.relu, torch.abs, torch.sin])
def test_activation_constants_to_the_bit(act):
    assert our_math.normalize2mom(act).cst == math.normalize2mom(act).cst


@pytest.mark.parametrize("formula", ["ij=ji", "ijk=jik=ikj", "ijkl=jikl=klij"])
def test_cartesian_tensors(formula):
    theirs, ours = io.CartesianTensor(formula), our_io.CartesianTensor(formula)
    assert str(ours) == str(theirs)
    t = torch.randn(4, *(3,) * len(theirs.indices))
    torch.testing.assert_close(ours.from_cartesian(t), theirs.from_cartesian(t))
    torch.testing.assert_close(ours.to_cartesian(ours.from_cartesian(t)), theirs.to_cartesian(theirs.from_cartesian(t)))
    reduced = theirs.reduced_tensor_products(t)
    ours.reduced_tensor_products(t).load_state_dict(reduced.state_dict(), strict=True)
    vectors = [torch.randn(4, 3) for _ in theirs.indices]
    torch.testing.assert_close(ours.from_vectors(*vectors), theirs.from_vectors(*vectors))


def test_signals_on_the_sphere():
    theirs, ours = io.SphericalTensor(3, 1, -1), our_io.SphericalTensor(3, 1, -1)
    x = torch.randn(16)
    torch.testing.assert_close(ours.norms(x), theirs.norms(x))
    points = torch.randn(5, 3)
    torch.testing.assert_close(ours.signal_xyz(x, points), theirs.signal_xyz(x, points))
    torch.testing.assert_close(ours.sum_of_diracs(points, points[:, 0]), theirs.sum_of_diracs(points, points[:, 0]))
    torch.testing.assert_close(ours.with_peaks_at(points[:2]), theirs.with_peaks_at(points[:2]))
    for a, b in zip(ours.signal_on_grid(x, 10), theirs.signal_on_grid(x, 10), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("basis", ["gaussian", "cosine", "smooth_finite", "fourier", "bessel"])
@pytest.mark.parametrize("cutoff", [True, False])
def test_radial_bases(basis, cutoff):
    x = torch.linspace(0.01, 2, 40)
    expected = math.soft_one_hot_linspace(x, 0.0, 1.5, 5, basis, cutoff)
    torch.testing.assert_close(our_math.soft_one_hot_linspace(x, 0.0, 1.5, 5, basis, cutoff), expected)


def test_functions_of_rotations_and_permutations():
    for l in range(4):
        angles = torch.rand(3, 5)
        torch.testing.assert_close(our_o3.wigner_D(l, *angles), o3.wigner_D(l, *angles))
        torch.testing.assert_close(our_o3.so3_generators(l), o3.so3_generators(l))
        torch.testing.assert_close(our_o3.change_basis_real_to_complex(l), o3.change_basis_real_to_complex(l))
        torch.testing.assert_close(our_o3.wigner_3j(l, 2, 2), o3.wigner_3j(l, 2, 2))
    p = math.perm.from_int(17, 4)
    assert our_math.perm.from_int(17, 4) == p
    torch.testing.assert_close(our_math.perm.standard_representation(p), math.perm.standard_representation(p))
    ours, theirs = (m.reduce_permutation(*m.germinate_formulas("ijk=-jik"), i=3, k=2)[0] for m in (our_math, math))
    torch.testing.assert_close(ours.flatten(1).T @ ours.flatten(1), theirs.flatten(1).T @ theirs.flatten(1))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("second", ["25x0e", "3x0e", "20x0e+4x0o", "9x0e+8x0e"])
def test_products_with_the_types_of_atoms(second, learned):
    """Many scalars, few kinds of rows: by other ways, with the same numbers, forces and derivatives of forces."""
    ends = ("14x0e+13x1o+12x2e", second, "13x1o+16x0e+12x1o+2x1e+9x2e")
    theirs, ours = o3.FullyConnectedTensorProduct(*ends), our_o3.FullyConnectedTensorProduct(*ends)
    ours.load_state_dict(theirs.state_dict())
    kinds = torch.randn(4, theirs.irreps_in2.dim)
    x, y = torch.randn(30, theirs.irreps_in1.dim, requires_grad=True), kinds[torch.randint(4, (30,))]
    assert (_kinds(x, y, ours.weight) is not None) == (y.shape[1] > 16)
    y = y.requires_grad_(learned)
    found = []
    for layer in (ours, theirs):
        z = layer(x, y)
        (force,) = torch.autograd.grad(z.pow(3).sum(), x, create_graph=True)
        leaves = (x, layer.weight, y) if learned else (x, layer.weight)
        found.append((z, force, *torch.autograd.grad(force.square().sum() + z.sum(), leaves)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert _kinds(x, torch.randn(30, 25), ours.weight) is None
    assert _kinds(x, y.clone().requires_grad_(), ours.weight) is None


def test_nothing_times_something_is_zero():
    tp = our_o3.FullyConnectedTensorProduct("0e+1e", "", "0e+1e")
    assert tp(torch.randn(1, 2, 4), torch.randn(2, 1, 0)).equal(torch.zeros(2, 2, 4))
    with pytest.raises(AssertionError, match="is not in"):
        our_o3.TensorProduct("1o", "1o", "1o", [(0, 0, 0, "uvw", True)])


def test_forces_and_their_derivatives_through_a_gate():
    """By compiled code, as in training on forces; and by definition where that does not serve."""
    make = LAYERS["gate of several blocks"]
    theirs, ours = make(THEIRS), make(OURS)
    assert ours._table is not None
    x = torch.randn(4, 3, theirs.irreps_in.dim, requires_grad=True)
    found = []
    for layer in (ours, theirs):
        (force,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(force.square().sum(), x, create_graph=True)
        found.append((force, second, *torch.autograd.grad(second.sum(), x)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(torch.func.vmap(ours)(x), theirs(x))
    copied = pickle.loads(pickle.dumps(ours))
    torch.testing.assert_close(copied(x), theirs(x))


def test_forces_and_their_derivatives_through_a_product_on_edges():
    """Channels that fill vectors and that do not, degrees with and without shuffles; each gradient alone and together."""
    irreps = o3.Irreps("4x0e+19x1o+5x1e+33x2e+2x4e")
    ends = (irreps, o3.Irreps("0e+1o+2e"))
    paths = [(i, j, ir) for i in range(len(irreps)) for j in range(3) for ir in irreps[i].ir * ends[1][j].ir if ir.l < 5]
    middle = o3.Irreps([(irreps[i].mul, ir) for i, _, ir in paths])
    found = []
    inputs = [torch.randn(5, n, requires_grad=True) for n in (irreps.dim, 9, sum(irreps[i].mul for i, _, _ in paths))]
    for e in (THEIRS, OURS):
        layer = e.o3.TensorProduct(*map(str, (*ends, middle)), [(i, j, k, "uvu", True) for k, (i, j, _) in enumerate(paths)],
                                   shared_weights=False, internal_weights=False)  # fmt: skip
        if e is OURS:
            assert layer._by_rows is not None
        z = layer(*inputs)
        forces = torch.autograd.grad(z.pow(3).sum(), inputs[:2], create_graph=True)
        found.append((z, *forces, *torch.autograd.grad(sum(f.square().sum() for f in forces) + z.sum(), inputs)))
        (force,) = torch.autograd.grad(layer(*inputs).pow(3).sum(), inputs[1], create_graph=True)
        found[-1] += torch.autograd.grad(force.square().sum(), inputs[2:])
    for b, a in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * float(b.detach().abs().max()))
    for rows in (0, 1):  # of ours
        assert torch.equal(layer(*(t[:rows] for t in inputs)), z[:rows])
