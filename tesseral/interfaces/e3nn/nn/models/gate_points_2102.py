"""The network of February 2021: its radial networks see the scalar attributes of both ends, too."""

from tesseral.interfaces.e3nn.nn.models import _january
from tesseral.interfaces.e3nn.nn.models._january import Compose, smooth_cutoff
from tesseral.interfaces.e3nn.nn.models._points import radius_graph, scatter, tp_path_exists
from tesseral.interfaces.e3nn.util.jit import compile_mode

__all__ = ["Compose", "Convolution", "Network", "radius_graph", "scatter", "smooth_cutoff", "tp_path_exists"]


@compile_mode("script")
class Convolution(_january.Convolution):
    """Its convolution."""


class Network(_january.Network):
    """Energies or other features of points.

    >>> import torch
    >>> net = Network(None, "4x0e+4x1o", "1o", "2x0e+1o", "0e+1o", 1, 2.0, 4, 1, 8, 3.0, 5.0, reduce_output=False)
    >>> net({"pos": torch.randn(5, 3), "z": torch.ones(5, 5)}).shape
    torch.Size([5, 3])
    """

    convolution, edge_scalars = Convolution, True
