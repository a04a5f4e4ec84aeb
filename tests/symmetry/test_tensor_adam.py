"""The steps of the optimiser turn with the tensors, and its penalty makes zeros."""

import torch

from tesseral.groups import equivariance_error
from tesseral.o3 import Irreps
from tesseral.symmetry import TensorAdam

IRREPS = Irreps("2x0e+2x1o+2e")


def steps(gradients, optimizer=TensorAdam, **options):
    theta = torch.zeros(IRREPS.dim, dtype=torch.float64, requires_grad=True)
    chosen = optimizer([theta], IRREPS, lr=0.1, **options) if optimizer is TensorAdam else optimizer([theta], lr=0.1)
    for gradient in gradients:
        theta.grad = gradient.clone()
        chosen.step()
    return theta.detach()


def test_steps_are_equivariant_and_those_of_adam_are_not():
    assert float(equivariance_error(steps, str(IRREPS), str(IRREPS), shape=(4,))) < 1e-10
    assert float(equivariance_error(lambda g: steps(g, torch.optim.Adam), str(IRREPS), str(IRREPS), shape=(4,))) > 0.1


def test_first_step_has_the_size_of_the_learning_rate():
    gradient = torch.arange(1.0, 14.0, dtype=torch.float64)
    theta = steps([gradient])
    block = theta[IRREPS.slices()[2]]
    torch.testing.assert_close(block.square().mean().sqrt(), torch.tensor(0.1, dtype=torch.float64))


def test_penalty_makes_what_is_not_needed_zero():
    theta = torch.ones(IRREPS.dim, dtype=torch.float64, requires_grad=True)
    optimizer = TensorAdam([theta], IRREPS, lr=0.1, penalty=0.5)
    for _ in range(40):
        theta.grad = torch.zeros_like(theta)
        theta.grad[:2] = theta.detach()[:2] - 5.0  # only the scalars are wanted
        optimizer.step()
    assert (theta[2:] == 0).all()
    assert (theta[:2] > 1).all()
