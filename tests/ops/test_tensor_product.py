"""Every connection mode against e3nn with the same weights, in both layouts, with the coefficients of all normalisations."""

import itertools

import e3nn.o3
import pytest
import torch

from tesseral.kernels.dispatch import explain
from tesseral.o3 import Irreps, to_layout
from tesseral.ops.tensor_product import MODES, regrouping, right, tensor_product, tensor_product_plan
from tests.contracts import EAGER, GRAPH, Case, double_precision, name_of

# (first, second, output, instructions) of each mode: repeated irreps, unequal multiplicities, odd sums of degrees
PROBLEMS = {
    "uvw": ("3x1o+2x2e", "2x1o+1x2e", "4x1e+2x0e+3x2o", [(0, 0, 0, "uvw", True), (0, 0, 1, "uvw", True), (1, 0, 2, "uvw", True)]),
    "uvw, harmonics": (
        "3x1o+2x2e",
        "1x0e+1x1o+1x2e",
        "4x1e+2x1o+3x1o",
        [(0, 1, 0, "uvw", True), (0, 0, 1, "uvw", True), (1, 1, 1, "uvw", True, 0.4), (0, 2, 2, "uvw", True)],
    ),
    "uvu": ("3x1o+2x2e", "2x1o", "3x1e+2x2o", [(0, 0, 0, "uvu", True), (1, 0, 1, "uvu", True, 2.5)]),
    "uvv": ("3x1o+2x2e", "2x1o", "2x1e+2x2o", [(0, 0, 0, "uvv", True), (1, 0, 1, "uvv", False)]),
    "uuw": ("3x1o+2x2e", "3x1o+2x2e", "4x1e+1x4e", [(0, 0, 0, "uuw", True), (1, 1, 1, "uuw", False)]),
    "uuu": ("3x1o+2x2e", "3x1o+2x2e", "3x1e+2x3e", [(0, 0, 0, "uuu", True), (1, 1, 1, "uuu", False)]),
    "uvuv": ("3x1o+2x2e", "2x1o+3x2e", "6x1e+6x3e", [(0, 0, 0, "uvuv", True), (1, 1, 1, "uvuv", True), (0, 0, 0, "uvuv", False)]),
    "uvu<v": ("3x1o+4x2e", "3x1o+4x2e", "3x1e+6x3e", [(0, 0, 0, "uvu<v", True), (1, 1, 1, "uvu<v", False)]),
    "u<vw": ("3x1o+4x2e", "3x1o+4x2e", "2x1e+5x3e", [(0, 0, 0, "u<vw", True), (1, 1, 1, "u<vw", True), (1, 1, 1, "uuw", True)]),
    "unlike channels into one block": (
        "2x1o+3x1o",
        "3x1o+2x1o",
        "6x2e",
        [(0, 0, 0, "uvuv", True), (1, 1, 0, "uvuv", True), (0, 1, 0, "uvw", True)],
    ),
}


class Product(torch.nn.Module):
    """The plan with weights of its own, as a module can be pickled and compiled."""

    def __init__(self, problem, dtype, **options):
        super().__init__()
        self.instructions = problem[3]
        self.plan = tensor_product_plan(*problem, **options)
        self.weight = torch.nn.Parameter(torch.randn(self.plan.weight_numel, dtype=dtype)) if self.plan.shared_weights else None

    def forward(self, x, y, weight=None):
        return tensor_product(x, y, self.weight if weight is None else weight, self.plan)


def peer(module, x, y, *weight, **options):
    plan = module.plan
    with double_precision():
        theirs = e3nn.o3.TensorProduct(
            *(str(irreps) for irreps in (plan.irreps_in1, plan.irreps_in2, plan.irreps_out)),
            module.instructions,
            shared_weights=plan.shared_weights,
            internal_weights=False,
            **options,
        )
    inputs = [to_layout(t, irreps, plan.layout, "mul_ir") for t, irreps in ((x, plan.irreps_in1), (y, plan.irreps_in2))]
    z = theirs(*inputs, weight[0] if weight else module.weight)
    return to_layout(z, plan.irreps_out, "mul_ir", plan.layout)


CASES = [
    Case(name, lambda dtype, p=problem: Product(p, dtype), list(problem[:2]), problem[2], reference=peer)
    for name, problem in PROBLEMS.items()
]
CASES.append(
    Case(
        "weights of each item",
        lambda dtype: Product(PROBLEMS["uvu"], dtype, shared_weights=False),
        [*PROBLEMS["uvu"][:2], "10x0e"],
        PROBLEMS["uvu"][2],
        reference=peer,
    )
)
CASES.append(
    Case(
        "uvw, harmonics, weights of each item",
        lambda dtype: Product(PROBLEMS["uvw, harmonics"], dtype, shared_weights=False),
        [*PROBLEMS["uvw, harmonics"][:2], "31x0e"],
        PROBLEMS["uvw, harmonics"][2],
        reference=peer,
    )
)


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", [CASES[1], CASES[6], CASES[8], CASES[9], CASES[11]], ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize("layout", ["ir_mul", "mul_ir"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_both_layouts(name, layout):
    first, second, *_ = problem = PROBLEMS[name]
    module = Product(problem, torch.float64, layout=layout)
    x, y = (torch.randn(4, Irreps(irreps).dim, dtype=torch.float64) for irreps in (first, second))
    torch.testing.assert_close(module(x, y), peer(module, x, y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("irrep", "path"), itertools.product(["component", "norm", "none"], ["element", "path", "none"]))
def test_all_normalisations(irrep, path):
    problem = PROBLEMS["unlike channels into one block"]
    variances = ([2.0, 0.5], [1.5, 3.0], [0.7])
    module = Product(problem, torch.float64, irrep_normalization=irrep, path_normalization=path, variances=variances)
    x, y = torch.randn(2, 4, 15, dtype=torch.float64)
    expected = peer(
        module,
        x,
        y,
        irrep_normalization=irrep,
        path_normalization=path,
        **dict(zip(("in1_var", "in2_var", "out_var"), variances, strict=True)),
    )
    torch.testing.assert_close(module(x, y), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_matrix_of_the_right_factor(name):
    module = Product(PROBLEMS[name], torch.float64)
    x, y = (torch.randn(3, irreps.dim, dtype=torch.float64) for irreps in (module.plan.irreps_in1, module.plan.irreps_in2))
    matrix = right(y, module.weight, module.plan)
    torch.testing.assert_close(torch.einsum("zi,zij->zj", x, matrix), module(x, y))


def test_leading_axes_broadcast():
    plan = tensor_product_plan(*PROBLEMS["uvu"], shared_weights=False)
    x, y, w = torch.randn(2, 1, 19), torch.randn(1, 3, 6), torch.randn(3, 10)
    z = tensor_product(x, y, w, plan)
    assert z.shape == (2, 3, plan.irreps_out.dim)
    torch.testing.assert_close(z[1, 2], tensor_product(x[1, 0], y[0, 2], w[2], plan))


def test_both_sign_conventions():
    problem = ("1x1o", "1x2e", "1x2o", [(0, 0, 0, "uuu", False)])
    x, y = torch.randn(3), torch.randn(5)
    new, old = (tensor_product(x, y, None, tensor_product_plan(*problem, convention=c)) for c in ("0.6", "0.4"))
    torch.testing.assert_close(new, -old)


def test_a_plan_is_hashable_and_prints():
    plan, again = tensor_product_plan(*PROBLEMS["uvw"]), tensor_product_plan(*PROBLEMS["uvw"])
    assert hash(plan) == hash(again)
    assert plan == again
    assert repr(plan) == "3x1o+2x2e x 2x1o+1x2e -> 4x1e+2x0e+3x2o | 48 paths | 48 weights"


def test_empty_products():
    plan = tensor_product_plan("3x1o", "2x1o", "2x0e+0x1e", [(0, 0, 1, "uvw", True)])
    assert tensor_product(torch.randn(4, 9), torch.randn(4, 6), torch.zeros(0), plan).equal(torch.zeros(4, 2))


def test_regrouping_moves_channels():
    source, target = Irreps("2x1o+3x1o+1x0e"), Irreps("5x1o+1x0e")
    x = torch.randn(4, source.dim)
    expected = to_layout(to_layout(x, source, "ir_mul", "mul_ir"), target, "mul_ir", "ir_mul")
    assert torch.equal(x[:, list(regrouping(source, target))], expected)
    assert regrouping(source, source) is None
    with pytest.raises(ValueError, match="not the same irreps"):
        regrouping(source, Irreps("5x1e+1x0e"))


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ((0, 0, 0, "uvz", True), "unknown connection mode 'uvz'"),
        ((0, 0, 3, "uvw", True), "does not have"),
        ((0, 0, 1, "uvw", True), "2o is not in 1o x 1o"),
        ((0, 0, 0, "uvw", False), "mode uvw does not fit"),
        ((0, 0, 0, "uvu", True), "mode uvu does not fit 3x1o times 2x1o into 4x1e"),
        ((0, 0, 0, "uvw", True, -1.0), "must not be negative"),
    ],
)
def test_impossible_instructions_are_refused(instruction, message):
    with pytest.raises(ValueError, match=message):
        tensor_product_plan("3x1o", "2x1o", "4x1e+1x2o", [instruction])


def test_tensors_that_do_not_fit_are_refused():
    plan = tensor_product_plan(*PROBLEMS["uvu"])
    x, y, w = torch.randn(2, 19), torch.randn(2, 6), torch.randn(10)
    with pytest.raises(ValueError, match="must end in 19 and 6"):
        tensor_product(y, x, w, plan)
    for wrong in (None, torch.randn(9), torch.randn(2, 10)):
        with pytest.raises(ValueError, match=r"weights must have shape \(10,\)"):
            tensor_product(x, y, wrong, plan)


def test_all_modes_are_tested():
    assert set(MODES) <= {ins[3] for _, _, _, instructions in PROBLEMS.values() for ins in instructions}


def test_weights_mix_channels_after_a_channelwise_product():
    """uvw weights over harmonics are a matrix product of their own, whether all rows share them or not."""
    ins, sh, outs = "3x0e+2x1o", "1x0e+1x1o+1x2e", "4x1o+5x0e"
    instructions = [(0, 0, 1, "uvw", True), (0, 1, 0, "uvw", True, 0.3), (1, 1, 1, "uvw", True), (1, 2, 0, "uvw", True)]
    shared, separate = (tensor_product_plan(ins, sh, outs, instructions, shared_weights=value) for value in (True, False))
    x, y = torch.randn(6, shared.irreps_in1.dim, dtype=torch.float64), torch.randn(6, shared.irreps_in2.dim, dtype=torch.float64)
    w = torch.randn(shared.weight_numel, dtype=torch.float64)
    for plan in (shared, separate):
        assert plan.stages[0].mixing is not None
        assert "cpu" in explain(plan.stages[0].program)
    torch.testing.assert_close(tensor_product(x, y, w, shared), tensor_product(x, y, w.expand(6, -1), separate))
