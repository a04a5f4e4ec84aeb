"""A convolution on points: self-interaction and messages mixed by an angle that the messages give."""

from torch import Tensor

from tesseral.interfaces.e3nn.nn.models._convolution import PointsConvolution
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class Convolution(PointsConvolution):
    """cos(a) self-interaction + sin(a) messages."""

    mixing = "lin3"

    def forward(
        self, node_input: Tensor, node_attr: Tensor, edge_src: Tensor, edge_dst: Tensor, edge_attr: Tensor, edge_scalars: Tensor
    ) -> Tensor:
        alone, messages, scalar = self.parts(node_input, node_attr, edge_src, edge_dst, edge_attr, edge_scalars)
        angle = 0.1 * scalar  # small at first: mostly self-interaction
        return angle.cos() * alone + self.where_both(angle.sin()) * messages
