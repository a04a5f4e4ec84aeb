"""A drawing of the paths of a product."""

from typing import Any

import numpy as np


def visualize(product: Any, weight: Any = None, plot_weight: bool = True, aspect_ratio: Any = 1, ax: Any = None) -> tuple:
    """Blocks of both inputs on two sides of a triangle, those of the output on the third, and a line from all ends of each path.

    Paths with weights are green, or with ``plot_weight`` blue by their mean square weight; the others are black. Returns the
    figure and the axes.
    """
    import matplotlib.pyplot as plt

    if not (aspect_ratio == "auto" or isinstance(aspect_ratio, int | float)):
        raise ValueError(f"aspect_ratio must be 'auto' or a number, got {aspect_ratio!r}")
    ax = plt.gca() if ax is None else ax
    stretch = 1.0 if aspect_ratio == "auto" else float(aspect_ratio)
    size = 0.2 * max(len(product.irreps_in1), len(product.irreps_in2), len(product.irreps_out), 1)
    left, top, right = (size * np.array(p) * [stretch, 1] for p in ((-1, 0), (0, 1.5), (1, 0)))
    sides = {
        "in1": (_places(left, top, len(product.irreps_in1)), product.irreps_in1, "right"),
        "in2": (_places(right, top, len(product.irreps_in2)), product.irreps_in2, "left"),
        "out": (_places(left, right, len(product.irreps_out)), product.irreps_out, "center"),
    }
    strengths = _strengths(product, weight) if plot_weight and (weight is not None or product.internal_weights) else {}
    colours = plt.get_cmap("Blues")
    for number, path in enumerate(product.instructions):
        ends = [sides["in1"][0][path.i_in1], sides["in2"][0][path.i_in2], sides["out"][0][path.i_out]]
        middle = np.mean(ends, axis=0)
        colour = colours(0.5 + 0.5 * strengths[number]) if number in strengths else "green" if path.has_weight else "black"
        for end in ends:
            ax.plot(*zip(end, middle, strict=True), color=colour, alpha=0.5, lw=1.5, zorder=1)
    for places, irreps, align in sides.values():
        for place, (mul, ir) in zip(places, irreps, strict=True):
            text = f"${ir}$" if mul == 1 else f"${mul} \\times {ir}$"
            vertical = "top" if align == "center" else "center"
            ax.annotate(text, place, ha=align, va=vertical, rotation=90 if align == "center" else 0)
    ax.axis("equal")
    ax.axis("off")
    return ax.get_figure(), ax


def _places(start: np.ndarray, end: np.ndarray, count: int) -> list[np.ndarray]:
    return [start + (n + 1) / (count + 1) * (end - start) for n in range(count)]


def _strengths(product: Any, weight: Any) -> dict[int, float]:
    views = product.weight_views(weight, yield_instruction=True)
    squares = {number: float(view.detach().square().mean()) for number, _, view in views if view.numel()}
    largest = max(squares.values(), default=0.0) or 1.0
    return {number: square / largest for number, square in squares.items()}
