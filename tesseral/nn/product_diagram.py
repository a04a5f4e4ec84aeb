"""A picture of the paths of a tensor product; matplotlib is imported when it draws."""

from typing import Any

import torch
from torch import Tensor

from tesseral.ops.tensor_product import TensorProductPlan
from tesseral.ops.weight_views import weight_views


def draw_product(plan: TensorProductPlan, weight: Tensor | None = None, axes: Any = None) -> Any:
    """Draw the paths of a product: blocks of the first input on the left, of the second on the right, of the output below.

    Each path joins three blocks in one point; paths without weights are black, others blue, darker for a larger root mean
    square of ``weight``. Returns the matplotlib axes, by default those of a new figure.

    >>> from tesseral.nn import FullyConnectedTensorProduct
    >>> axes = FullyConnectedTensorProduct("4x0e+2x1o", "0e+1o", "3x0e+2x1o").visualize()
    >>> len(axes.lines), [text.get_text() for text in axes.texts][:2]
    (4, ['4x0e', '2x1o'])
    """
    import matplotlib
    from matplotlib.figure import Figure

    if axes is None:
        axes = Figure(figsize=(5, 5)).add_subplot()
    shades = dict.fromkeys(range(len(plan.instructions)), 0.6)
    if weight is not None:
        shapes = [i.path_shape if i.has_weight else None for i in plan.instructions]
        sizes = {n: float(view.detach().square().mean().sqrt()) for n, view in weight_views(shapes, weight) if view.numel()}
        largest = max(sizes.values(), default=0.0) or 1.0
        shades |= {n: 0.25 + 0.7 * size / largest for n, size in sizes.items()}
    first = [(-1.0, _spread(i, len(plan.irreps_in1))) for i in range(len(plan.irreps_in1))]
    second = [(1.0, _spread(i, len(plan.irreps_in2))) for i in range(len(plan.irreps_in2))]
    last = [(-_spread(i, len(plan.irreps_out)), -1.2) for i in range(len(plan.irreps_out))]
    blues = matplotlib.colormaps["Blues"]
    for n, path in enumerate(plan.instructions):
        ends = torch.tensor([first[path.i_in1], second[path.i_in2], last[path.i_out]])
        middle = ends.mean(0)
        x, y = torch.stack([ends[0], middle, ends[2], middle, ends[1]]).unbind(1)
        axes.plot(x.numpy(), y.numpy(), color=blues(shades[n]) if path.has_weight else "black", alpha=0.8, linewidth=1.5)
    for irreps, places, side in (
        (plan.irreps_in1, first, "right"),
        (plan.irreps_in2, second, "left"),
        (plan.irreps_out, last, "center"),
    ):
        for block, (px, py) in zip(irreps, places, strict=True):
            shift = {"right": (-0.05, 0), "left": (0.05, 0), "center": (0, -0.12)}[side]
            axes.text(px + shift[0], py + shift[1], str(block), ha=side, va="center")
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.2))
    axes.set_axis_off()
    return axes


def _spread(i: int, number: int) -> float:
    """From 1 down to -1."""
    return 1 - (2 * i + 1) / number
