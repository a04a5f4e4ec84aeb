"""Networks on points with cosines as radial functions."""

from typing import Any

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models import _networks
from tesseral.interfaces.e3nn.nn.models.v2103.gate_points_message_passing import MessagePassing


class _March:
    basis = "cosine"

    @staticmethod
    def message_passing(first: Any, hidden: o3.Irreps, last: Any, layers: int, **rest: Any) -> MessagePassing:
        return MessagePassing(first, hidden, last, layers=layers, **rest)


class SimpleNetwork(_March, _networks.SimpleNetwork):
    """Features of points to features of points, or of the whole.

    >>> import torch
    >>> net = SimpleNetwork("3x0e+2x1o", "4x0e+1x1o", max_radius=2.0, num_neighbors=3.0, num_nodes=5.0, mul=2, layers=1)
    >>> net({"pos": torch.randn(5, 3), "x": net.irreps_in.randn(5, -1)}).shape
    torch.Size([1, 7])
    """


class NetworkForAGraphWithAttributes(_March, _networks.NetworkForAGraphWithAttributes):
    """The same with attributes of nodes and edges."""
