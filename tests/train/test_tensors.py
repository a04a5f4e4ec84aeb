"""The loss of tensors: irreps, masks, and independence of the axes."""

import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph, collate
from tesseral.o3 import CartesianTensor, Irreps
from tesseral.train.admission import TrainingError
from tesseral.train.tensors import TensorTask, fit_charges, masked_error, target_statistics, typed_loss, typed_sums


def test_masks_and_irreps():
    irreps = {"alpha": "0e+2e", "mu": "1o"}
    predicted = {"alpha": torch.zeros(2, 6), "mu": torch.zeros(3, 3)}
    labels = {"alpha": torch.tensor([[2.0, 1, 1, 1, 1, 1], [torch.nan] * 6]), "mu": torch.ones(3, 3)}
    masks = {"alpha": torch.tensor([True, False]), "mu": torch.tensor([True, True, False])}
    loss = typed_loss(predicted, labels, masks, irreps, {"alpha": 1.0, "mu": 10.0, "absent": 1.0})
    assert loss.item() == pytest.approx((4.0 + 1.0) + 10.0)


def test_no_gradient_from_unknown_labels():
    predicted = torch.ones(2, 3, requires_grad=True)
    masked_error(predicted, torch.full((2, 3), torch.nan), torch.tensor([False, False])).sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().max() == 0


def test_axes_do_not_matter():
    symmetric = CartesianTensor("ij=ji", layout="ir_mul")
    a, b = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    a, b = a + a.mT, b + b.mT
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]

    def loss(x, y):
        mask = {"a": torch.ones(4, dtype=torch.bool)}
        return typed_loss(
            {"a": symmetric.from_cartesian(x)}, {"a": symmetric.from_cartesian(y)}, mask, {"a": "0e+2e"}, {"a": 1.0}
        )

    assert loss(rotation @ a @ rotation.T, rotation @ b @ rotation.T).item() == pytest.approx(loss(a, b).item(), rel=1e-12)


def test_wrong_dimension():
    one, mask = torch.zeros(2, 3), {"a": torch.ones(2, dtype=torch.bool)}
    with pytest.raises(ValueError, match="dimension 5"):
        typed_loss({"a": one}, {"a": one}, mask, {"a": Irreps("2e")}, {"a": 1.0})


class Constant:
    """Says the same dipole and polarizability of everything."""

    symmetric = CartesianTensor("ij=ji", layout="ir_mul")

    def __call__(self, graph):
        alpha = self.symmetric.from_cartesian(torch.eye(3, dtype=torch.float64).expand(graph.num_graphs, 3, 3))
        return {"dipole": torch.ones(graph.num_graphs, 3, dtype=torch.float64), "alpha": alpha}

    def cartesian(self, name, values):
        return self.symmetric.to_cartesian(values) if name == "alpha" else values

    def as_labelled(self, name, values):
        return values

    def from_cartesian(self, name, values):
        return self.symmetric.from_cartesian(values) if name == "alpha" else values


def labelled():
    """Three molecules: all with a dipole, one with a polarizability, the last with a weight."""
    graphs = []
    for number, name in enumerate(("H2O", "CH4", "NH3")):
        labels = {"dipole": torch.full((1, 3), float(number), dtype=torch.float64)}
        if number == 1:
            labels["alpha"] = 3 * torch.eye(3, dtype=torch.float64)[None]
        weight = torch.tensor([2.0 if number == 2 else 1.0], dtype=torch.float64)
        graphs.append(build_graph(molecule(name), 3.0, labels=labels).replace(weight=weight))
    return graphs


TASK = TensorTask({"dipole": "1o", "alpha": "0e+2e"}, {"dipole": 1.0, "alpha": 10.0})


def test_a_task_counts_known_labels_and_weighs_frames():
    model, batch = Constant(), collate(labelled())
    sums = TASK.loss_sums(TASK.predict(model, batch, create_graph=True), batch)
    # Dipoles are off by 1, 0 and 1 in each component; the trace part of alpha by 2 sqrt(3), its traceless part not at all.
    torch.testing.assert_close(sums.errors, torch.tensor([1.0 + 2 * 1.0, 12.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(sums.counts, torch.tensor([3.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(TASK.label_counts(batch, batch.device), sums.counts)
    assert TASK.combine(sums, sums.counts).item() == pytest.approx(1.0 + 120.0)
    errors = TASK.summarise(TASK.error_sums(TASK.predict(model, batch, create_graph=False), batch))
    assert errors["dipole_rmse"] == pytest.approx((2 / 3) ** 0.5)
    assert errors["alpha_mae"] == pytest.approx(2 * 3 / 9)


def test_norms_count_once_and_weigh_as_they_are():
    model, batch = Constant(), collate(labelled())
    task = TensorTask(TASK.irreps, TASK.weights, {"dipole": "norm", "alpha": "norm"})
    prediction = task.predict(model, batch, create_graph=True)
    sums = task.loss_sums(prediction, batch)
    torch.testing.assert_close(sums.errors, torch.tensor([3**0.5 * (1 + 2), 2 * 3**0.5, 0.0], dtype=torch.float64))
    assert task.combine(sums, sums.counts).item() == pytest.approx(3**0.5 + 10 * 2 * 3**0.5)


def test_slope_of_a_norm():
    """The unit vector of the error, of each channel by itself; nothing, not NaN, where there is none."""
    predicted = torch.tensor([[3.0, 0.0, 4.0, 0.0, 0.0, 0.0]], requires_grad=True)  # 2x1o, ir_mul: (3, 4, 0) and nothing
    sums = typed_sums(predicted, torch.zeros(1, 6), torch.tensor([True]), Irreps("2x1o"), kind="norm")
    assert sums.errors.item() == pytest.approx(5.0 / 2)
    (slope,) = torch.autograd.grad(sums.errors.sum(), predicted)
    torch.testing.assert_close(slope, torch.tensor([[0.3, 0.0, 0.4, 0.0, 0.0, 0.0]]))


def test_parts_of_a_batch_add_up():
    """What several processes exchange; one part has no polarizability at all."""
    model, graphs = Constant(), labelled()
    whole, parts = collate(graphs), [collate(graphs[:1]), collate(graphs[1:])]
    sums = [TASK.loss_sums(TASK.predict(model, part, create_graph=True), part) for part in parts]
    expected = TASK.loss_sums(TASK.predict(model, whole, create_graph=True), whole)
    torch.testing.assert_close(sums[0].errors + sums[1].errors, expected.errors)
    torch.testing.assert_close(sums[0].counts + sums[1].counts, expected.counts)


def test_a_target_that_nobody_has():
    with pytest.raises(TrainingError, match=r"'quadrupole' \(found: alpha, dipole\).*data.keys.extra"):
        TensorTask({"quadrupole": "2e"}, {"quadrupole": 1.0}).check(labelled())


def test_references_explain_what_composition_does():
    counts = torch.tensor([[1.0, 2], [2, 1], [1, 1], [3, 0]], dtype=torch.float64)
    labels = torch.zeros(4, 6, dtype=torch.float64)
    labels[:, 0] = counts @ torch.tensor([2.0, -1.0], dtype=torch.float64)
    labels[:, 1] = torch.tensor([0.1, -0.1, 0.1, -0.1])
    found = target_statistics(labels, counts, Irreps("0e+2e"))
    torch.testing.assert_close(found.references[:, 0], torch.tensor([2.0, -1.0], dtype=torch.float64))
    assert found.references[:, 1:].abs().max() == 0
    assert found.spread == pytest.approx(0.1 / 6**0.5)


@pytest.mark.parametrize("length", [False, True])
def test_charges_behind_dipoles(length):
    """Up to one sign for all of them, where only lengths are known; what no moment tells is zero."""
    torch.manual_seed(0)
    charges = torch.tensor([0.4, -0.7, 0.1], dtype=torch.float64)
    moments = torch.randn(200, 3, 3, dtype=torch.float64)
    dipoles = torch.einsum("rsx,s->rx", moments, charges) + 0.02 * torch.randn(200, 3, dtype=torch.float64)
    labels = dipoles.norm(dim=1, keepdim=True) if length else dipoles
    found = fit_charges(moments, labels)
    sign = torch.sign(found[0]) if length else 1.0
    torch.testing.assert_close(sign * found, charges, rtol=0, atol=0.01)
    moments[:, 2] = 0
    labels = torch.einsum("rsx,s->rx", moments, charges)
    found = fit_charges(moments, labels.norm(dim=1, keepdim=True) if length else labels)
    assert found[2] == 0
    assert not fit_charges(torch.zeros(4, 3, 3), torch.ones(4, 1 if length else 3)).any()
