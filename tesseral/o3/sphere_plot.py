"""Drawing a function on the sphere; the only module of this room that needs matplotlib, which it imports when it draws."""

from typing import Any

from jaxtyping import Float
from torch import Tensor


def plot_surface(points: Float[Tensor, "rings columns 3"], values: Float[Tensor, "rings columns"], axes: Any = None) -> Any:
    """A surface of points coloured by values, symmetric about zero (red positive, blue negative); returns the 3d axes.

    The polar axis y points up. ``axes`` are those of a matplotlib figure with ``projection="3d"``; by default a new one.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if axes is None:
        axes = Figure(figsize=(4, 4)).add_subplot(projection="3d")
    highest = float(values.abs().max()) or 1.0
    colours = matplotlib.colormaps["RdBu_r"](0.5 + 0.5 * values.numpy() / highest)
    x, y, z = (c.numpy() for c in points.unbind(-1))
    axes.plot_surface(z, x, y, facecolors=colours, rcount=values.shape[0], ccount=values.shape[1], shade=False)
    reach = float(points.abs().max()) or 1.0
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach), xlabel="z", ylabel="x", zlabel="y")
    axes.set_box_aspect((1, 1, 1))
    return axes
