"""Mulliken labels of irreps, and names of elements and classes, in the standard setting of :mod:`tesseral.groups.schoenflies`.

Where a label depends on the choice of axes, the choice is that of the standard setting: in Dn, Dnh and Dnd the subscript 1 means
character +1 under C2' (the axis x), in Cnv under σv (the plane xz); in D2 and D2h, B1, B2, B3 keep the sign under C2 about z, y,
x. The subscript k of Ek is that of the eigenvalues exp(±2πik/n) of Cn, or of S2n in Dnd and S2n with even n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tesseral.groups.cyclotomic import cosine
from tesseral.groups.schoenflies import CUBIC, FOURFOLD_Z, MIRROR_XY, MIRROR_XZ, TWOFOLD_X, Symbol, principal_element

LETTERS = {1: "A", 2: "E", 3: "T", 4: "G", 5: "H"}
Character = Callable[[int, np.ndarray], float | None]


def setting(symbol: Symbol) -> str:
    """The choice of axes on which labels of this group depend, or an empty string.

    >>> setting(Symbol("Cv", 2)), setting(Symbol("Dh", 2)), setting(Symbol("Oh", 0))
    ('σv = xz', 'B1, B2, B3: C2 along z, y, x', '')
    """
    if symbol.family in ("D", "Dh") and symbol.n == 2:
        return "B1, B2, B3: C2 along z, y, x"
    if symbol.family == "Cv" and symbol.n % 2 == 0:
        return "σv = xz"
    return "C2' = x" if symbol.family in ("D", "Dh", "Dd") and symbol.n % 2 == 0 else ""


def irrep_labels(symbol: Symbol, dims: Sequence[int], character: Character) -> list[str]:
    """Labels of real irreps with these dimensions; ``character(i, matrix)`` is ``None`` where the matrix is no element.

    >>> irrep_labels(Symbol("C", 2), [1, 1], lambda i, m: [1.0, -1.0][i] if np.trace(m) == -1 else None)
    ['A', 'B']
    """
    kind = _cubic_kind if symbol.family in CUBIC else _axial_kind
    kinds = [kind(symbol, i, dim, character) for i, dim in enumerate(dims)]
    indices = {k for letter, k in kinds if letter == "E"}
    labels = []
    for i, (letter, index) in enumerate(kinds):
        subscript = "" if letter == "E" and len(indices) == 1 else index
        labels.append(f"{letter}{subscript}{_parity(symbol, i, character)}")
    return labels


def sort_key(label: str) -> tuple:
    """The order of the rows of published tables: even before odd, then A, B, E, T, G, H.

    >>> sorted(["Eu", "T1g", "A2g", "Bg", "A1u"], key=sort_key)
    ['A2g', 'Bg', 'T1g', 'A1u', 'Eu']
    """
    return (
        label.endswith("u") or label.endswith("''"),
        "ABETGH".index(label[0]),
        int("".join(c for c in label if c.isdigit()) or 0),
    )


def _parity(symbol: Symbol, i: int, character: Character) -> str:
    inversion = character(i, -np.eye(3))
    if inversion is not None:
        return "g" if inversion > 0 else "u"
    if symbol.family in ("Ch", "Dh"):  # odd n
        horizontal = character(i, MIRROR_XY)
        assert horizontal is not None
        return "'" if horizontal > 0 else "''"
    return ""


def _axial_kind(symbol: Symbol, i: int, dim: int, character: Character) -> tuple[str, str]:
    principal = character(i, principal_element(symbol))
    assert principal is not None
    if dim == 2:
        order = symbol.n * (2 if symbol.family in ("Dd", "S") and symbol.n % 2 == 0 else 1)
        k = min(range(1, order // 2 + 1), key=lambda k: abs(2 * cosine(k, order) - principal))
        return "E", str(k)
    if symbol.n == 2 and symbol.family in ("D", "Dh"):
        about = [character(i, np.diag(d)) for d in ([-1.0, -1, 1], [-1.0, 1, -1], [1.0, -1, -1])]
        kept = [str(k + 1) for k, value in enumerate(about) if value is not None and value > 0]
        return ("A", "") if len(kept) == 3 else ("B", kept[0])
    secondary = character(i, MIRROR_XZ if symbol.family == "Cv" else TWOFOLD_X) if symbol.family not in ("C", "Ch", "S") else None
    subscript = "" if secondary is None else "1" if secondary > 0 else "2"
    return ("A" if principal > 0 else "B"), subscript


def _cubic_kind(symbol: Symbol, i: int, dim: int, character: Character) -> tuple[str, str]:
    letter = LETTERS[dim]
    if symbol.family in ("T", "Th") or dim == 2:
        return letter, ""
    if symbol.family in ("I", "Ih"):
        return letter, "" if dim != 3 else "1" if _fivefold(i, character) > 0 else "2"
    fourfold = character(i, FOURFOLD_Z @ MIRROR_XY if symbol.family == "Td" else FOURFOLD_Z)
    assert fourfold is not None
    return letter, "1" if fourfold > 0 else "2"


def _fivefold(i: int, character: Character) -> float:
    golden = (1 + math.sqrt(5)) / 2
    axis = np.array([[0, 1, golden], [0, golden, 1]]) / math.hypot(1, golden)
    for x in axis:  # a five-fold axis in one of the two orientations about the twofold axes
        c, s = cosine(1, 5), math.sin(2 * math.pi / 5)
        cross = np.array([[0, -x[2], x[1]], [x[2], 0, -x[0]], [-x[1], x[0], 0]])
        value = character(i, c * np.eye(3) + s * cross + (1 - c) * np.outer(x, x))
        if value is not None:
            return value
    raise ArithmeticError("no fivefold axis among the elements of an icosahedral group")


def element_kind(matrix: np.ndarray) -> tuple[str, int, int, np.ndarray]:
    """("C" or "S", n, k, axis): the rotation or rotoreflection by 2πk/n, with 2k ≤ n; S1 is a mirror, S2 the inversion.

    >>> element_kind(np.diag([1.0, 1.0, -1.0]))[:3], element_kind(-np.eye(3))[:3], element_kind(np.diag([1.0, -1.0, -1.0]))[:3]
    (('S', 1, 0), ('S', 2, 1), ('C', 2, 1))
    """
    proper = np.linalg.det(matrix) > 0
    rotation = matrix if proper else -matrix
    cos_angle = float(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    angle = math.acos(cos_angle)
    if angle < 1e-7:
        axis = np.array([0.0, 0.0, 1.0])
    elif math.pi - angle < 1e-5:
        column = int(np.argmax(np.diag(rotation)))
        axis = (rotation[:, column] + np.eye(3)[column]) / math.sqrt(2 * (rotation[column, column] + 1))
    else:
        axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    norm = np.linalg.norm(axis)
    axis = axis / (norm if norm > 0 else 1)
    turn = (angle if proper else math.pi - angle) / (2 * math.pi)
    n, k = _fraction(turn)
    return ("C" if proper else "S"), n, k, axis


def element_name(matrix: np.ndarray) -> str:
    """A name of an element with its axis: 'C4 [001]', 'σ [100]', 'S6 [111]'; a mirror is named by its normal.

    >>> element_name(FOURFOLD_Z), element_name(-np.eye(3)), element_name(np.diag([-1.0, 1.0, 1.0])), element_name(np.eye(3))
    ('C4 [001]', 'i', 'σ [100]', 'E')
    """
    name = _bare_name(*element_kind(matrix)[:3])
    return name if name in ("E", "i") else f"{name} [{_direction(element_kind(matrix)[3])}]"


def class_names(symbol: Symbol, elements: np.ndarray, classes: Sequence[Sequence[int]]) -> list[str]:
    """Names of classes in the standard setting, as in the head of a character table.

    >>> from tesseral.groups.schoenflies import standard_elements
    >>> class_names(Symbol("Cv", 2), standard_elements(Symbol("Cv", 2)), [[0], [1], [2], [3]])
    ['E', 'C2', 'σv(xz)', 'σv(yz)']
    """
    names: list[str] = []
    for members in classes:
        name = _class_name(symbol, elements[list(members)])
        names.append(f"{len(members)}{name}" if len(members) > 1 else name)
    return [_CONJUGATE.get(name, name) if name in names[:i] else name for i, name in enumerate(names)]


_CONJUGATE = {"4C3": "4C3^2", "4S6": "4S6^5"}  # in T and Th, where inverse elements are in different classes


def _class_name(symbol: Symbol, members: np.ndarray) -> str:
    kind, n, k, _ = element_kind(members[0])
    axes = [element_kind(m)[3] for m in members]
    if len(members) == 1 and n > 2 and symbol.family not in CUBIC and (axes[0][2] < 0) == (kind == "C"):
        k = n - k  # the turn in the positive sense about z
    name = _bare_name(kind, n, k if len(members) == 1 or kind == "C" or k % 2 else n - k)
    along_z = all(abs(a[2]) > 1 - 1e-9 for a in axes)
    along_x, along_y = (any(abs(a[i]) > 1 - 1e-9 for a in axes) for i in (0, 1))
    if symbol.family in CUBIC:
        if name == "σ" and symbol.family in ("Td", "Oh", "Th"):
            return "σh" if along_x else "σd"
        return name + "'" if name == "C2" and symbol.family in ("O", "Oh") and not along_x else name
    if symbol.n == 2 and symbol.family in ("D", "Dh") and name in ("C2", "σ"):
        axis = "xyz"[int(np.argmax(np.abs(axes[0])))]
        return f"C2({axis})" if name == "C2" else f"σ({'xyz'.replace(axis, '')})"
    if name == "C2" and not along_z:
        return "C2'" if along_x else "C2''"
    if name == "σ":
        if along_z:
            return "σh"
        if symbol.family == "Dd":
            return "σd"
        if symbol.family == "Cv" and symbol.n == 2:
            return "σv(xz)" if along_y else "σv(yz)"
        return "σv" if along_y else "σd"
    return name


def _bare_name(kind: str, n: int, k: int) -> str:
    if kind == "C":
        return "E" if n == 1 else f"C{n}" + (f"^{k}" if k > 1 else "")
    if n == 1:
        return "σ"
    if n == 2:
        return "i"
    k = k if k % 2 else k + n  # an even power of a rotoreflection is a rotation
    return f"S{n}" + (f"^{k}" if k > 1 else "")


def _fraction(turn: float) -> tuple[int, int]:
    for n in range(1, 2000):
        k = round(turn * n)
        if abs(turn - k / n) < 1e-7:
            return n, k
    raise ValueError(f"a rotation by {turn:.6g} of a turn belongs to no finite group that is known here")


def _direction(axis: np.ndarray) -> str:
    scaled = axis / np.abs(axis)[np.abs(axis) > 1e-9].min()
    if np.abs(scaled - np.rint(scaled)).max() < 1e-6 and np.abs(scaled).max() < 10:
        return "".join(f"{round(float(x))}" for x in scaled)
    return " ".join(f"{x:.3f}".rstrip("0").rstrip(".") for x in axis + 0.0)
