"""The selftest passes honest models and catches, one by one, the faults that it is there to catch."""

import math

import ase
import ase.build
import pytest
import torch
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn.pair import ZBL
from tesseral.physics.selftest import Check, failures, selftest
from tests.physics.test_forces import oxide
from tests.physics.toys import LennardJones, ManyBody

MOLECULE = ase.build.molecule("CH3OH")
CRYSTAL = oxide() * (2, 1, 1)
CRYSTAL.rattle(0.1, seed=3)
BOTH = [MOLECULE, CRYSTAL]


def run(model, structures=BOTH, **options):
    return selftest(model, structures, **({"duration": 20.0} | options))


def names(checks):
    return {check.name.split(":")[0] for check in failures(checks)}


class E0Model(ManyBody):
    """A sound model that knows the energies of its atoms."""

    @property
    def atomic_energies(self):
        return {z: self.shift * z for z in self.species}


def test_a_sound_model_passes_everything():
    checks = run(E0Model(), other=ManyBody(dtype=torch.float32))
    assert not failures(checks), failures(checks)
    kinds = {name for check in checks for name in [check.name]}
    expected = (
        "empty structure|isolated atom|equivariance: energy|equivariance: forces|equivariance: stress|permutation: energy|"
        "permutation: forces|forces|stress|second derivatives|extensivity: energy|extensivity: forces|batching: energy|"
        "batching: forces|NVE drift|NVE error ∝ dt²|smooth cutoff: energy|smooth cutoff: forces|"
        "smooth cutoff: second derivatives|precision: energy|precision: forces"
    )
    assert kinds >= set(expected.split("|"))
    for structure in ("CH4O", "Al2O2 (periodic)"):
        assert {c.name for c in checks if c.structure == structure} >= {"equivariance: forces", "forces", "NVE drift"}


def test_a_float32_model_alone_passes_too():
    assert not failures(run(ManyBody(dtype=torch.float32)))


def test_one_kind_of_structure_serves_as_the_other():
    for structures in ([MOLECULE], [CRYSTAL]):
        kinds = {
            check.structure.endswith("(periodic)")
            for check in run(ManyBody(), structures, only=["derivatives"])
            if "forces" in check.name
        }
        assert kinds == {True, False}


class Fault(ManyBody):
    """A many-body model with something wrong in it."""

    def __init__(self, wrong, **options):
        super().__init__(**options)
        self.wrong = wrong

    def node_energies(self, graph: Graph) -> Tensor:
        return self.wrong(super().node_energies, graph)


class Scaled(torch.autograd.Function):
    """The identity, with a gradient that is 1 % too large."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1.01 * gradient


class OnceOnly(torch.autograd.Function):
    """The square, whose first derivative is right and whose second is wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * gradient


def per_graph(values, graph):
    return values.new_zeros(graph.num_graphs).index_add(0, graph.batch, values)[graph.batch]


def chirality(energies, graph):
    """A term that changes sign under inversion: a triple product of three moments."""
    v = graph.edge_vectors()
    r = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    w = (1 - (r / 4).clamp(max=1)) ** 3
    moments = [
        v.new_zeros(graph.num_nodes, 3).index_add(0, graph.destination, v * w * f * graph.species[graph.source, None])
        for f in (1, r, r**2)
    ]
    return energies(graph) + 1e-4 * torch.linalg.det(torch.stack(moments, 1))


# What is wrong, and the kind of check that must fail, on molecules and on crystals.
FAULTS = {
    "anisotropic": (
        lambda e, g: (
            e(g) + 1e-4 * g.edge_vectors().new_zeros(g.num_nodes).index_add(0, g.destination, g.edge_vectors()[:, 2] ** 2)
        ),
        "equivariance",
    ),
    "knows left from right": (chirality, "equivariance"),
    "sees where it is": (lambda e, g: e(g) + 1e-4 * g.positions.square().sum(1), "equivariance"),
    "counts atoms in order": (lambda e, g: e(g) * (1 + 1e-4 * torch.arange(g.num_nodes, dtype=torch.float64)), "permutation"),
    "forces too large": (lambda e, g: e(g.replace(positions=Scaled.apply(g.positions))), "derivatives"),
    "forces that are no gradient": (lambda e, g: e(g.replace(positions=Scaled.apply(g.positions))), "dynamics"),
    "wrong second derivative": (lambda e, g: e(g) + 0.1 * OnceOnly.apply(e(g)), "derivatives"),
    "averages over atoms": (lambda e, g: e(g) / per_graph(torch.ones_like(g.positions[:, 0]), g), "extensivity"),
    "looks at the total": (lambda e, g: e(g) + 1e-5 * per_graph(e(g), g), "extensivity"),
    "counts the batch": (lambda e, g: e(g) + 1e-6 * g.num_graphs, "extensivity"),
    "normalises over the batch": (lambda e, g: e(g) * (1 + 1e-4 * e(g).mean()), "extensivity"),
    "raises": (lambda e, g: (_ for _ in ()).throw(RuntimeError("no kernel")), "equivariance"),
    "not a number": (lambda e, g: e(g) + math.nan, "equivariance"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_caught(fault):
    wrong, kind = FAULTS[fault]
    assert not failures(run(ManyBody(), only=[kind]))
    failed = failures(run(Fault(wrong), only=[kind]))
    assert {check.structure for check in failed} == {"CH4O", "Al2O2 (periodic)"}


@pytest.mark.parametrize(
    ("wrong", "kind", "name"),
    [
        (lambda e, g: e(g.replace(cell=g.cell.detach())), "derivatives", "stress"),
        (lambda e, g: e(g) + 1e-3, "isolated atom", "isolated atom"),
        (lambda e, g: e(g) + 1e-6 * g.num_graphs, "extensivity", "batching"),
        (lambda e, g: e(g) + 0.1 * OnceOnly.apply(e(g)), "derivatives", "second derivatives"),
        (lambda e, g: e(g.replace(positions=Scaled.apply(g.positions))), "dynamics", "NVE error ∝ dt²"),
    ],
)
def test_faults_are_named(wrong, kind, name):
    checks = run(Fault(wrong), atomic_energies={z: -1.3 * z for z in (1, 6, 8, 13)}, only=[kind])
    assert name in names(checks)


class Drifting(torch.nn.Module):
    """Energy plus a force field that pumps energy in: a gradient that belongs to no energy at all."""

    cutoff, species, dtype = 4.0, (1, 6, 8), torch.float64

    def __init__(self):
        super().__init__()
        self.inner = ManyBody()

    def node_energies(self, graph):
        return self.inner.node_energies(graph.replace(positions=_Swirl.apply(graph.positions)))

    def forward(self, graph):
        return self.node_energies(graph).new_zeros(graph.num_graphs).index_add(0, graph.batch, self.node_energies(graph))


class _Swirl(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        centred = x - x.mean(0)
        return gradient - torch.stack([-centred[:, 1], centred[:, 0], torch.zeros_like(x[:, 0])], 1)


def test_energy_that_is_pumped_in_is_caught():
    assert {"NVE drift", "NVE error ∝ dt²"} <= names(run(Drifting(), [MOLECULE], only=["dynamics"]))


class Enveloped(LennardJones):
    """Lennard-Jones times (1 - r/rc)^power."""

    def __init__(self, power):
        super().__init__(sigma=1.5, epsilon=0.5, cutoff=3.0, species=(6,))
        self.power = power

    def pair(self, r, graph):
        x = r / self.sigma
        c6 = x**-6
        inside = torch.clamp(1 - r / self.cutoff, min=0) ** self.power if self.power else (r < self.cutoff).to(r.dtype)
        return 4 * self.epsilon * (c6**2 - c6) * inside


@pytest.mark.parametrize(
    "structures", [[ase.Atoms("C3", positions=[(0, 0, 0), (1.6, 0, 0), (0.7, 1.5, 0.3)])], [ase.build.bulk("C", "fcc", a=2.4)]]
)
@pytest.mark.parametrize(("power", "jump"), [(0, "energy"), (1, "forces"), (2, "second derivatives"), (3, None)])
def test_jumps_at_the_cutoff_are_named_by_their_order(power, jump, structures):
    structures = [atoms.repeat(2) if atoms.pbc.any() else atoms for atoms in structures]
    failed = {c.name for c in failures(run(Enveloped(power), structures, only=["smooth cutoff"]))}
    if jump is None:
        assert not failed
    else:
        assert f"smooth cutoff: {jump}" in failed
        order = ["energy", "forces", "second derivatives"]
        assert not any(f"smooth cutoff: {lower}" in failed for lower in order[: order.index(jump)])


def test_smoothness_is_tested_as_far_as_it_is_claimed():
    checks = run(Enveloped(2), [ase.Atoms("C2", positions=[(0, 0, 0), (1.6, 0, 0)])], smoothness=1, only=["smooth cutoff"])
    assert {check.name for check in checks} == {"smooth cutoff: energy", "smooth cutoff: forces"}
    assert not failures(checks)


def test_a_twin_with_other_weights_is_caught():
    assert "precision" in names(
        run(ManyBody(), [MOLECULE], other=ManyBody(dtype=torch.float32, shift=-1.301), only=["precision"])
    )


class Ghost(ManyBody):
    def __call__(self, graph):
        return super().__call__(graph) + 1.0


def test_energy_of_nothing_is_caught():
    assert {"empty structure", "extensivity"} <= names(run(Ghost(), [MOLECULE], only=["empty structure", "extensivity"]))


def test_a_check_that_cannot_be_measured_has_failed_with_the_reason():
    checks = run(Fault(FAULTS["raises"][0]), [MOLECULE], only=["permutation"])
    failed = [check for check in failures(checks) if "no kernel" in check.sentence]
    assert failed
    assert math.isnan(failed[0].value)


def test_progress_and_order():
    seen = []
    checks = run(ManyBody(), [MOLECULE], progress=seen.append, only=["extensivity", "empty structure"])
    assert [check.name for check in checks][:2] == ["empty structure", "extensivity: energy"]
    assert seen == checks
    assert all(isinstance(check, Check) and check.sentence for check in checks)


def test_pair_models_pass():
    assert not failures(run(ZBL(3.0, (6, 1)), [ase.build.molecule("CH4")]))


def test_structures_are_needed_and_left_alone():
    with pytest.raises(ValueError, match="at least one structure"):
        selftest(ManyBody(), [])
    with pytest.raises(ValueError, match=r"unknown checks.*taste.*equivariance"):
        selftest(ManyBody(), [MOLECULE], only=["taste"])
    atoms = MOLECULE.copy()
    run(ManyBody(), [atoms], only=["derivatives"])
    assert atoms == MOLECULE


def test_single_atoms():
    assert not failures(run(ManyBody(), [ase.Atoms("H"), ase.build.bulk("Al")]))
