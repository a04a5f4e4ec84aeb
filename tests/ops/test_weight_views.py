"""Views of weights: where e3nn has them, and where its offsets are wrong."""

import e3nn.o3
import pytest
import torch

from tesseral.nn import FullyConnectedTensorProduct, Linear, TensorProduct

PATHS = [(0, 0, 0, "uvw", True), (0, 0, 0, "uuw", False), (1, 1, 0, "uvw", True), (1, 1, 1, "uvu", True)]
ARGUMENTS = ("2x0e+3x1o", "2x0e+1x1o", "1x0e+3x1e", PATHS)


def test_views_are_those_of_e3nn_and_skip_paths_without_weights():
    ours, theirs = TensorProduct(*ARGUMENTS), e3nn.o3.TensorProduct(*ARGUMENTS)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
    expected = {ins: view for ins, _, view in theirs.weight_views(yield_instruction=True)}
    found = dict(ours.weight_views())
    assert found.keys() == expected.keys() == {0, 2, 3}
    for n, view in found.items():
        torch.testing.assert_close(view, expected[n])
        torch.testing.assert_close(ours.weight_view(n), expected[n])  # e3nn's own counts weights of path 1
    with pytest.raises(ValueError, match="path 1 has no weights"):
        ours.weight_view(1)


def test_writing_to_a_view_writes_the_weight():
    layer = FullyConnectedTensorProduct("2x0e", "1x0e", "3x0e")
    with torch.no_grad():
        layer.weight_view(0).zero_()
    assert not layer.weight.any()


def test_views_of_given_weights_have_their_leading_axes():
    layer = FullyConnectedTensorProduct("2x0e+1o", "1x0e", "3x0e+1o", shared_weights=False)
    given = torch.randn(7, layer.weight_numel)
    assert [tuple(view.shape) for _, view in layer.weight_views(given)] == [(7, 2, 1, 3), (7, 1, 1, 1)]
    with pytest.raises(ValueError, match="no weights of its own"):
        layer.weight_view(0)


def test_linear_with_biases():
    layer = Linear("4x0e+2x1o+1x0e", "3x0e+2x1o", biases=True)
    theirs = e3nn.o3.Linear("4x0e+2x1o+1x0e", "3x0e+2x1o")
    with torch.no_grad():
        theirs.weight.copy_(layer.weight)
    for (_, ours), expected in zip(layer.weight_views(), theirs.weight_views(), strict=True):
        torch.testing.assert_close(ours, expected)
    assert layer.weight_view(0).shape == (4, 3)


@pytest.mark.parametrize("own", [True, False])
def test_products_are_drawn(own):
    layer = FullyConnectedTensorProduct("2x0e+1o", "1x0e+1o", "3x0e+1o", shared_weights=own)
    axes = layer.visualize()
    assert len(axes.lines) == len(layer.instructions)
    axes.figure.savefig("/dev/null", format="png")


def test_matrix_of_the_right_factor_of_a_full_connection():
    layer = FullyConnectedTensorProduct("2x0e+1o", "1x0e+1o", "3x0e+1o", dtype=torch.float64)
    x, y = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close((x[:, None] @ layer.right(y))[:, 0], layer(x, y))
