"""The moving average against its recurrence, and its exchange with the weights."""

import pytest
import torch

from tesseral.train.averaging import ExponentialMovingAverage


def test_the_recurrence():
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average = ExponentialMovingAverage([weight], decay=0.9)
    expected = torch.zeros(3, dtype=torch.float64)
    for update in range(1, 200):
        weight.data = torch.randn(3, dtype=torch.float64)
        average.update()
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(average.average[0], expected)


def test_swapping_is_undone_exactly_even_after_an_error():
    weight = torch.nn.Parameter(torch.rand(5))
    before = weight.detach().clone()
    average = ExponentialMovingAverage([weight], decay=0.5)
    weight.data += 1 / 3
    own = weight.detach().clone()
    with average.swapped():
        assert torch.equal(weight, before)
    assert torch.equal(weight, own)
    with pytest.raises(RuntimeError, match="stop"), average.swapped():
        raise RuntimeError("stop")
    assert torch.equal(weight, own)


def test_no_decay_follows_the_weights():
    weight = torch.nn.Parameter(torch.rand(5))
    average = ExponentialMovingAverage([weight], decay=0.0)
    weight.data += 1
    average.update()
    assert torch.equal(average.average[0], weight)


def test_the_state_continues():
    weight = torch.nn.Parameter(torch.rand(5))
    first = ExponentialMovingAverage([weight], decay=0.9)
    weight.data += 1
    first.update()
    second = ExponentialMovingAverage([weight], decay=0.9)
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update()
    assert torch.equal(first.average[0], second.average[0])
    with pytest.raises(ValueError, match="1 parameters, the model has 2"):
        ExponentialMovingAverage([weight, torch.nn.Parameter(torch.rand(2))], 0.9).load_state_dict(first.state_dict())


def test_decays_that_make_no_sense():
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1"):
        ExponentialMovingAverage([], decay=1.0)
