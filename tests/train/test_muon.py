"""Muon: orthogonal steps for the matrices of layers, Adam's for everything else."""

import copy

import pytest
import torch

from tesseral.nn import MLP, Linear, SpeciesEmbedding, SpeciesLinear
from tesseral.train.muon import Muon, orthogonal


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = SpeciesEmbedding((1, 8), 4)
        self.linear = Linear("8x0e+6x1o+8x0e", "4x0e+5x1o")
        self.network = MLP([8, 16, 6])
        self.connection = SpeciesLinear("8x0e+6x1o", "4x0e+5x1o", 4)

    def forward(self):
        generator = torch.Generator().manual_seed(2)
        return sum((p * torch.randn(p.shape, generator=generator)).sum() for p in self.parameters())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def steps_of(model, **settings):
    before = copy.deepcopy(model)
    optimizer = Muon(model, lr=0.1, **settings)
    model().backward()
    optimizer.step()
    return before, optimizer


def test_steps_of_matrices_are_orthogonal(model):
    before, _ = steps_of(model)
    for new, old in zip(model.linear.matrices(), before.linear.matrices(), strict=True):
        change = (old - new) / (0.1 * 0.2 * max(new.shape) ** 0.5)
        values = torch.linalg.svdvals(change)
        assert values[: min(4, len(values))].sub(1).abs().max() < 0.4


def test_every_number_of_a_layer_moves(model):
    before, _ = steps_of(model)
    for (name, new), (_, old) in zip(model.named_parameters(), before.named_parameters(), strict=True):
        assert (new != old).double().mean() > 0.95, name


def test_columns_beside_matrices_move_too():
    torch.manual_seed(0)
    layer = Linear("8x0e+6x1o", "4x0e+1x1o")
    layer.weight.grad = torch.randn_like(layer.weight)
    before = layer.weight.detach().clone()
    Muon(layer, lr=0.1).step()
    assert (layer.weight != before).all()


def test_updates_are_as_large_as_adams(model):
    before, _ = steps_of(model)
    change = (model.connection.weight - before.connection.weight).square().mean().sqrt()
    assert 0.1 * 0.2 * 0.5 < change < 0.1 * 0.2 * 1.5


def test_embeddings_take_adams_steps(model):
    before, _ = steps_of(model)
    change = before.embedding.weight - model.embedding.weight
    gradient = model.embedding.weight.grad
    assert torch.allclose(change[gradient != 0], 0.1 * gradient[gradient != 0].sign(), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 40, 7), (2, 7, 40), (1, 9, 9)])
def test_orthogonal_has_the_singular_vectors(shape):
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=torch.float64)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    turned = u.mT @ orthogonal([x])[0] @ v.mT
    values = torch.diagonal(turned, dim1=1, dim2=2)
    assert (turned - torch.diag_embed(values)).abs().max() < 1e-12
    assert (s / torch.linalg.matrix_norm(x)[:, None] > 0.003).all()
    assert ((values > 0.8) & (values < 1.2)).all()


def test_orthogonal_from_the_least_value_on_that_it_promises():
    s = torch.logspace(-6, 0, 61, dtype=torch.float64)
    s = torch.stack([s[:-1], (1 - s[:-1] ** 2).sqrt()], dim=1)  # of Frobenius norm one
    values = orthogonal([torch.diag_embed(s)])[0].diagonal(dim1=1, dim2=2)
    promised = s >= 0.003
    assert values[promised].sub(1).abs().max() < 0.2
    assert values[~promised].min() > 0
    assert values[~promised].max() < 1.2


def test_stacks_that_share_a_side_do_not_mix():
    torch.manual_seed(1)
    stacks = [torch.randn(shape, dtype=torch.float64) for shape in ((2, 9, 4), (3, 4, 4), (1, 4, 30))]
    for together, x in zip(orthogonal(stacks), stacks, strict=True):
        assert torch.allclose(together, torch.cat([orthogonal([one[None]])[0] for one in x]), atol=1e-12)


def test_zero_gradient_leaves_the_weights():
    assert not orthogonal([torch.zeros(2, 5, 3)])[0].any()
    assert orthogonal([]) == []


def test_state_survives_a_checkpoint(model):
    other = copy.deepcopy(model)
    _, first = steps_of(model)
    second = Muon(other, lr=0.1)
    other.load_state_dict(model.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for optimizer, one in ((first, model), (second, other)):
        optimizer.zero_grad()
        one().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_decay_spares_the_exempt():
    torch.manual_seed(0)
    model = MLP([4, 4, 2], bias=True)
    with torch.no_grad():
        model.biases[0].fill_(1.0)
    optimizer = Muon(model, lr=0.1, weight_decay=0.5, exempt=("biases",))
    assert [len(group["params"]) for group in optimizer.param_groups if group["weight_decay"]] == [2, 2]


def test_decay_does_not_depend_on_the_gradient():
    model = MLP([4, 4, 2], bias=True)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    Muon(model, lr=0.1, weight_decay=0.5).step()
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.allclose(new, 0.95 * old)
