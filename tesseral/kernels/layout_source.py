"""C++ that changes the layout of blocks, by shuffles of vectors: (channels, components) to (components, channels), or back."""

from __future__ import annotations

from collections.abc import Iterable

DEGREES = (3, 5, 7)
"""Numbers of components for which there are shuffles."""


def functions(lanes: int, degrees: Iterable[int] = DEGREES) -> str:
    """``narrowN(x, y, m)``, (m, N) to (N, m), and ``wideN``, which is its inverse, for scalars T and any m.

    There must be a type ``X`` of as many T as there are lanes, which may lie anywhere.
    """
    return "\n".join(_shuffles(n, lanes, narrow) for n in degrees for narrow in (True, False))


def _shuffles(components: int, lanes: int, narrow: bool) -> str:
    """As many vectors at a time as there are components; each of the results is put together from all, two at a time."""
    name, n, w = "narrow" if narrow else "wide", components, lanes
    lines = [f"static void {name}{n}(const T* x, T* y, long m) {{", "  long i = 0;", f"  for (; i + {w} <= m; i += {w}) {{"]
    by_channel = [f"i * {n} + {k * w}" for k in range(n)]
    by_component = [f"{k} * m + i" for k in range(n)]
    source, target = (by_channel, by_component) if narrow else (by_component, by_channel)
    lines += [f"    const X v{k} = *(const X*)(x + {source[k]});" for k in range(n)]
    for k in range(n):
        if narrow:  # the vector and lane from which each lane comes
            places = [divmod(lane * n + k, w) for lane in range(w)]
        else:
            places = [((k * w + lane) % n, (k * w + lane) // n) for lane in range(w)]
        first, *others = sorted({vector for vector, _ in places})
        result, done = f"v{first}", {first}
        for number, other in enumerate(others):
            chosen = []
            for lane, (vector, at) in enumerate(places):
                if vector == other:
                    chosen.append(w + at)
                else:
                    chosen.append(at if number == 0 and vector in done else lane)
            result = f"__builtin_shufflevector({result}, v{other}, {', '.join(map(str, chosen))})"
            done.add(other)
        lines.append(f"    *(X*)(y + {target[k]}) = {result};")
    rest = f"y[j * m + i] = x[i * {n} + j];" if narrow else f"y[i * {n} + j] = x[j * m + i];"
    lines += ["  }", f"  for (; i < m; ++i) for (int j = 0; j < {n}; ++j) {rest}"]
    return "\n".join([*lines, "}"])
