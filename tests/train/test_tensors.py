"""The loss of tensors: irreps, masks, and independence of the axes."""

import pytest
import torch

from tesseral.o3 import CartesianTensor, Irreps
from tesseral.train.tensors import masked_error, typed_loss


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
