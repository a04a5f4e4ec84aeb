"""Every public layer under every transformation of PyTorch: the table in docs/layers.md, which
`python -m tests.test_layer_matrix` writes and the tests hold to be true."""

import copy
import importlib
import inspect
import io
import pathlib
import pickle
import pkgutil

import pytest
import torch
from torch import nn

import tesseral.nn as layers
from tesseral.o3 import gauss_legendre_grid
from tests.devices import OneDevice
from tests.nn.test_so2 import OnEdges

TABLE = pathlib.Path(__file__).parents[1] / "docs" / "layers.md"
FEATURES, HARMONICS = "3x0e+2x1o+1x2e", "1x0e+1x1o"
EDGES = torch.tensor([[0, 1, 2, 2, 0], [0, 0, 1, 1, 2]])
SPECIES = torch.tensor([0, 1, 1])


def flat(dim, *more):
    """Inputs: tensors (3, dim), then others as they are."""
    return lambda dtype, device: tuple(
        torch.randn(3, d, dtype=dtype, device=device) if isinstance(d, int) else d.to(device) for d in (dim, *more)
    )


def radii(dtype, device):
    return (torch.rand(3, dtype=dtype, device=device) * 4 + 0.3,)


def pairs(dtype, device):
    """Distances, and the elements at both ends."""
    return (*radii(dtype, device), torch.tensor([1, 6, 8], device=device), torch.tensor([6, 6, 1], device=device))


def normal(*shapes):
    return lambda dtype, device: tuple(torch.randn(shape, dtype=dtype, device=device) for shape in shapes)


def edges(dtype, device):
    conv = layers.Convolution(FEATURES, HARMONICS, FEATURES)
    shapes = (3, conv.irreps_in.dim), (5, conv.irreps_sh.dim), (5, conv.weight_numel)
    return (*(torch.randn(shape, dtype=dtype, device=device) for shape in shapes), EDGES.to(device))


def frames(dtype, device):
    """Features on three nodes, vectors and scales of three edges."""
    numel = layers.SO2Convolution("2x0e+2x1o", "2x0e+2x1o").scales_numel
    return tuple(torch.randn(3, d, dtype=dtype, device=device) for d in (8, 3, numel))


LAYERS = {
    "Activation": (lambda d: layers.Activation("4x0e+2x0o", [nn.functional.silu, torch.tanh]), flat(6)),
    "AgnesiTransform": (lambda d: layers.AgnesiTransform(), pairs),
    "BatchNorm": (lambda d: layers.BatchNorm(FEATURES, dtype=d).eval(), flat(14)),
    "BatchNorm, training": (lambda d: layers.BatchNorm(FEATURES, dtype=d), flat(14)),
    "BesselBasis": (lambda d: layers.BesselBasis(5.0, trainable=True, dtype=d), radii),
    "BumpCutoff": (lambda d: layers.BumpCutoff(5.0), radii),
    "Convolution": (lambda d: layers.Convolution(FEATURES, HARMONICS, FEATURES), edges),
    "CosineCutoff": (lambda d: layers.CosineCutoff(5.0), radii),
    "Dropout": (lambda d: layers.Dropout(FEATURES, 0.5), flat(14)),
    "ElementwiseTensorProduct": (lambda d: layers.ElementwiseTensorProduct("2x0e+2x1o", "4x1o"), flat(8, 12)),
    "ExponentialNormalBasis": (lambda d: layers.ExponentialNormalBasis(5.0, 8), radii),
    "Extract": (lambda d: layers.Extract("2x0e+2x1o", ["2x1o"], [[1]]), flat(8)),
    "ExtractIr": (lambda d: layers.ExtractIr("2x0e+2x1o", "1o"), flat(8)),
    "FullTensorProduct": (lambda d: layers.FullTensorProduct("2x0e+2x1o", "2x1o"), flat(8, 6)),
    "FullyConnectedNet": (lambda d: layers.FullyConnectedNet([4, 8, 2], nn.functional.silu, dtype=d), flat(4)),
    "FullyConnectedTensorProduct": (
        lambda d: layers.FullyConnectedTensorProduct(FEATURES, HARMONICS, "2x0e+2x1o", dtype=d),
        flat(14, 4),
    ),
    "Gate": (lambda d: layers.Gate("2x0e", [nn.functional.silu], "2x0e", [torch.sigmoid], "2x1o"), flat(10)),
    "GauntTensorProduct": (lambda d: layers.GauntTensorProduct(1, 1, 2, 2, dtype=d), flat(8, 8)),
    "GaussianBasis": (lambda d: layers.GaussianBasis(5.0, 8), radii),
    "LayerNorm": (lambda d: layers.LayerNorm(FEATURES, dtype=d), flat(14)),
    "Linear": (lambda d: layers.Linear(FEATURES, "2x0e+3x1o", biases=True, dtype=d), flat(14)),
    "MLP": (lambda d: layers.MLP([4, 8, 2], dtype=d), flat(4)),
    "Norm": (lambda d: layers.Norm(FEATURES), flat(14)),
    "NormActivation": (lambda d: layers.NormActivation(FEATURES, torch.tanh, bias=True, dtype=d), flat(14)),
    "Normalized": (lambda d: layers.Normalized(nn.functional.silu), flat(4)),
    "O2Linear": (lambda d: layers.O2Linear("4x0e+2x0o+2x1", "2x0e+2x1", dtype=d), flat(10)),
    "O2TensorProduct": (lambda d: layers.O2TensorProduct("2x0e+2x1", "2x1"), flat(6, 4)),
    "PolynomialCutoff": (lambda d: layers.PolynomialCutoff(5.0), radii),
    "RadialEmbedding": (
        lambda d: layers.RadialEmbedding(layers.BesselBasis(5.0), layers.PolynomialCutoff(5.0)),
        normal((3, 3)),
    ),
    "ReducedTensorProduct": (lambda d: layers.ReducedTensorProduct("ij=ji", i="1x0e+1x1o", dtype=d), flat(4, 4)),
    "S2Activation": (lambda d: layers.S2Activation("0e+1o", torch.tanh, gauss_legendre_grid(4, 7)), flat(4)),
    "SO2Convolution": (lambda d: OnEdges(layers.SO2Convolution("2x0e+2x1o", "2x0e+2x1o", dtype=d)), frames),
    "SO3Activation": (lambda d: layers.SO3Activation(1, 1, torch.tanh, gauss_legendre_grid(3, 5)), flat(10)),
    "SoftTransform": (lambda d: layers.SoftTransform(), pairs),
    "SoftOneHot": (lambda d: layers.SoftOneHot(5.0, 8), radii),
    "SpeciesEmbedding": (lambda d: layers.SpeciesEmbedding([0, 1], 4, dtype=d), lambda d, device: (SPECIES.to(device),)),
    "SpeciesLinear": (lambda d: layers.SpeciesLinear(FEATURES, "2x0e+2x1o", 4, dtype=d), flat(14, SPECIES, 4)),
    "SphericalHarmonics": (lambda d: layers.SphericalHarmonics("0e+1o+2e", True), flat(3)),
    "SphericalHarmonicsAlphaBeta": (lambda d: layers.SphericalHarmonicsAlphaBeta([0, 1, 2]), normal((3,), (3,))),
    "SymmetricContraction": (
        lambda d: layers.SymmetricContraction("2x0e+2x1o", "2x0e+2x1o", 2, 2, dtype=d),
        flat(8, SPECIES),
    ),
    "SymmetricTensorProduct": (lambda d: layers.SymmetricTensorProduct("2x0e+1x1o", "2x0e+1x1o", "even", dtype=d), flat(5, 5)),
    "TensorProduct": (
        lambda d: layers.TensorProduct(FEATURES, HARMONICS, "2x1o", [(1, 0, 0, "uvu", True)], dtype=d),
        flat(14, 4),
    ),
    "TensorSquare": (lambda d: layers.TensorSquare("2x0e+2x1o", "2x0e+1x2e", dtype=d), flat(8)),
}

# Holes, each with its reason; a test fails when one closes.
EXPLAINED: dict[tuple[str, str], str] = {
    ("SpeciesEmbedding", "vmap"): "its input is integer",
    ("SpeciesEmbedding", "hessian"): "its input is integer",
    ("BatchNorm, training", "vmap"): "it updates running averages, and there is one set of them for all entries of a vmap",
    ("BatchNorm, training", "hessian"): "it updates running averages, and there is one set of them for all entries of a vmap",
}


def leaves(value):
    return [value] if isinstance(value, torch.Tensor) else [leaf for item in value for leaf in leaves(item)]


def built(name, dtype=torch.float64):
    torch.manual_seed(0)
    layer = LAYERS[name][0](dtype)
    return layer, LAYERS[name][1](dtype, "cpu")


def same(actual, expected, tolerance=1e-9):
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        torch.testing.assert_close(a, e, rtol=tolerance, atol=tolerance)


def seeded(function, *inputs):
    torch.manual_seed(1)
    return function(*inputs)


def with_floats(layer, inputs):
    """The layer as a function of its floating inputs, and those."""
    which = [i for i, x in enumerate(inputs) if x.is_floating_point()]

    def function(*floats):
        full = list(inputs)
        for i, x in zip(which, floats, strict=True):
            full[i] = x
        return torch.cat([y.flatten() for y in leaves(layer(*full))])

    return function, [inputs[i] for i in which]


def check_compile(name):
    layer, inputs = built(name)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    if name == "Dropout":  # draws other numbers
        assert {round(float(r), 6) for r in (compiled(*inputs) / inputs[0]).flatten()} <= {0.0, 2.0}
        return
    same(compiled(*inputs), layer(*inputs))


def check_export(name):
    layer, inputs = built(name)
    program = torch.export.export(layer, inputs).module()
    same(seeded(program, *inputs), seeded(layer, *inputs))


def check_vmap(name):
    function, floats = with_floats(*built(name))
    assert floats, "no floating input"
    stacked = [torch.stack([x, 1.1 * x]) for x in floats]
    mapped = torch.func.vmap(function, randomness="same")(*stacked)
    if name == "Dropout":
        assert mapped.shape[0] == 2
        return
    same(mapped, torch.stack([function(*(x[i] for x in stacked)) for i in range(2)]))


def check_hessian(name):
    layer, inputs = built(name)
    # torch.func.hessian lets nobody draw random numbers
    function, floats = with_floats(layer.eval() if name == "Dropout" else layer, inputs)
    assert floats, "no floating input"
    weights = torch.linspace(0.5, 1.5, len(function(*floats)), dtype=torch.float64)
    dim = floats[0].numel()

    def energy(x):
        return (weights * function(x.view_as(floats[0]), *floats[1:]) ** 2).sum()

    H = torch.func.hessian(energy)(floats[0].flatten())
    assert H.shape == (dim, dim)
    assert H.isfinite().all()
    same(H, H.T)
    # against a difference of gradients: second derivatives may not be silently wrong
    step = 1e-5 * torch.cos(torch.arange(dim, dtype=torch.float64))
    x = floats[0].flatten()
    change = torch.func.grad(energy)(x + step) - torch.func.grad(energy)(x - step)
    same(change / 2e-5, H @ step / 1e-5, 1e-5 * max(1.0, float(H.detach().abs().max())))


def check_pickle(name):
    layer, inputs = built(name)
    buffer = io.BytesIO()
    pickle.dump(layer, buffer)
    buffer.seek(0)
    same(seeded(pickle.load(buffer), *inputs), seeded(layer, *inputs), 0)


def check_deepcopy(name):
    layer, inputs = built(name)
    same(seeded(copy.deepcopy(layer), *inputs), seeded(layer, *inputs), 0)


def check_meta(name):
    with torch.device("meta"):
        layer = LAYERS[name][0](torch.float64)
    assert all(p.is_meta for p in layer.parameters())
    moved = layer.to_empty(device="meta")
    with OneDevice():
        result = moved(*LAYERS[name][1](torch.float64, "meta"))
    real, inputs = built(name)
    for a, e in zip(leaves(result), leaves(real(*inputs)), strict=True):
        assert a.is_meta
        assert a.shape == e.shape


def check_autocast(name):
    layer, inputs = built(name, torch.float32)
    expected = seeded(layer, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        actual = seeded(layer, *inputs)
    for a, e in zip(leaves(actual), leaves(expected), strict=True):
        assert (a.float() - e).abs().max() <= 0.05 * e.abs().max(), "too far from float32"
    differentiable = [y.float().sum() for y in leaves(actual) if y.requires_grad]
    if differentiable:
        sum(differentiable).backward()


EAGER = {
    "vmap": check_vmap,
    "hessian": check_hessian,
    "pickle": check_pickle,
    "deepcopy": check_deepcopy,
    "meta device": check_meta,
    "bf16 autocast": check_autocast,
}
GRAPH = {"compile (fullgraph)": check_compile, "export": check_export}
CHECKS = GRAPH | EAGER


def public_layers():
    """Classes of `nn` that are modules; `RadialFunctions` is none: it says which functions a `RadialEmbedding` is made of."""
    names = [name for name in layers.__all__ if inspect.isclass(getattr(layers, name))]
    return [name for name in names if issubclass(getattr(layers, name), nn.Module)]


# Parts of single models, and energy models, which take a graph; all are tested where their models are.
OF_MODELS = {
    "Coulomb", "D3", "EdgeActivation", "EdgeAttention", "EdgeDegree", "NeighborhoodProduct", "NequIPLayer", "RadialNetwork",
    "ScreenedRepulsion", "SphereFeedForward", "Sum", "WeightedHarmonics", "ZBL",
}  # fmt: skip


def test_no_layer_is_forgotten():
    found = set()
    for module in pkgutil.iter_modules(layers.__path__, "tesseral.nn."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.name and name[0] != "_":
                found.add(name)
    new = found - set(layers.__all__) - OF_MODELS
    assert not new, f"layers that neither tesseral.nn exports nor OF_MODELS names: {sorted(new)}"
    assert found >= OF_MODELS, f"OF_MODELS names what is not there: {sorted(OF_MODELS - found)}"


def test_every_public_layer_has_a_row():
    missing = set(public_layers()) - set(LAYERS)
    assert not missing, f"add {sorted(missing)} to LAYERS, and run python -m tests.test_layer_matrix for docs/layers.md"
    rows = [line.split("|")[1].strip().strip("`") for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(LAYERS)


def run(name, column):
    if (name, column) in EXPLAINED:
        with pytest.raises(Exception):  # noqa: B017
            CHECKS[column](name)
    else:
        CHECKS[column](name)


@pytest.mark.parametrize("column", EAGER)
@pytest.mark.parametrize("name", LAYERS)
def test_eager(name, column):
    run(name, column)


@pytest.mark.compile
@pytest.mark.parametrize("column", GRAPH)
@pytest.mark.parametrize("name", LAYERS)
def test_graph(name, column):
    run(name, column)


def write() -> None:
    """Run every check and write the table; a hole without a reason is printed and written as such."""
    rows, notes = [], []
    for name in sorted(LAYERS, key=str.lower):
        cells = []
        for column, check in CHECKS.items():
            try:
                check(name)
                cells.append("yes")
            except Exception as error:
                reason = EXPLAINED.get((name, column), f"UNEXPLAINED: {type(error).__name__}")
                print(f"{name} {column}: {reason} {str(error)[:300]!r}", flush=True)
                notes = notes if reason in notes else [*notes, reason]
                cells.append(f"no ({notes.index(reason) + 1})")
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    head = f"| layer | {' | '.join(CHECKS)} |\n|---|{'---|' * len(CHECKS)}"
    footnotes = "\n".join(f"{i}. {reason}" for i, reason in enumerate(notes, 1))
    TABLE.write_text(INTRODUCTION + head + "\n" + "\n".join(rows) + "\n\n" + footnotes + "\n")


INTRODUCTION = """# Every layer under every transformation

What PyTorch does to functions, done to every public layer of `tesseral.nn` on a CPU. Each cell is a test of
`tests/test_layer_matrix.py`; `python -m tests.test_layer_matrix` writes this table.

Parts of single models (attention in edge frames, Allegro's products, NequIP's interaction) and energy models (ZBL, Coulomb, D3,
sums), which `tesseral.nn` does not export by name, are tested with their models instead.

- compile: `torch.compile(fullgraph=True)` gives the eager result; export: so does `torch.export`.
- vmap: `torch.func.vmap` gives what a loop gives; hessian: `torch.func.hessian` is symmetric and agrees with differences of
  gradients.
- pickle, deepcopy: the copy computes the same numbers.
- meta device: built and run on shapes alone; bf16 autocast: within 5 % of float32, with a backward pass.

"""

if __name__ == "__main__":
    write()
