"""Which point group is it, and how is it oriented? From matrices, exact or approximate, to a name and a rotation."""

from __future__ import annotations

import itertools

import numpy as np

from tesseral.groups.mulliken import element_kind
from tesseral.groups.schoenflies import Symbol, standard_elements

MOST_ELEMENTS = 2000


def close_matrices(generators: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """All products of orthogonal matrices (g, 3, 3); the identity is first.

    Raises ``ValueError`` for matrices that are not orthogonal, or whose products are too many for a finite group to be meant.
    """
    generators = np.asarray(generators, dtype=np.float64).reshape(-1, 3, 3)
    for m in generators:
        if np.abs(m @ m.T - np.eye(3)).max() > tolerance:
            raise ValueError(f"{m.tolist()} is not orthogonal: a point group consists of rotations and rotoinversions (3, 3)")
    elements = np.eye(3)[None]
    fresh = elements
    while len(fresh):
        products = np.einsum("aij,bjk->abik", fresh, generators).reshape(-1, 3, 3)
        kept: list[np.ndarray] = []
        for m in nearest_orthogonal(products):
            known = np.concatenate([elements, np.array(kept).reshape(-1, 3, 3)])
            if np.abs(known - m).max(axis=(1, 2)).min() > max(tolerance * 10, 1e-9):
                kept.append(m)
        fresh = np.array(kept).reshape(-1, 3, 3)
        elements = np.concatenate([elements, fresh])
        if len(elements) > MOST_ELEMENTS:
            raise ValueError(
                f"the matrices generate more than {MOST_ELEMENTS} elements: they are no generators of a finite group"
            )
    return elements


def nearest_orthogonal(matrices: np.ndarray) -> np.ndarray:
    """The orthogonal matrices closest to (..., 3, 3)."""
    u, _, v = np.linalg.svd(matrices)
    return u @ v


def snapped(matrices: np.ndarray, tolerance: float = 1e-13) -> np.ndarray:
    """Entries that are nearly 0, ±1/2, ±√2/2, ±√3/2, ±1 and the like become these numbers."""
    root = np.sqrt([2.0, 3.0, 5.0, 6.0])
    values = np.array([0, 1, 0.5, root[0] / 2, root[1] / 2, (root[2] - 1) / 4, (root[2] + 1) / 4, 1 / 3, 2 / 3, root[1] / 3])
    values = np.sort(np.concatenate([-values[1:], values]))
    nearest = np.clip(np.searchsorted(values, matrices), 1, len(values) - 1)
    low, high = values[nearest - 1], values[nearest]
    closest = np.where(np.abs(matrices - low) < np.abs(matrices - high), low, high)
    return np.where(np.abs(matrices - closest) < tolerance, closest, matrices)


def nearest_products(matrices: np.ndarray) -> np.ndarray:
    """[i, j]: the number of the matrix nearest to the product of i and j."""
    flat = matrices.reshape(-1, 9)
    return np.stack([((m @ matrices).reshape(-1, 9) @ flat.T).argmax(axis=1) for m in matrices])


def exactified(matrices: np.ndarray) -> np.ndarray:
    """Nearly closed matrices become closed: each is replaced by the mean of the products that it should equal."""
    table = nearest_products(matrices)
    for _ in range(20):
        mean = np.zeros_like(matrices)
        for i, m in enumerate(matrices):
            mean[table[i]] += m @ matrices
        improved = nearest_orthogonal(mean)
        change = np.abs(improved - matrices).max()
        matrices = improved
        if change < 1e-15:
            break
    return matrices


def identify(matrices: np.ndarray, tolerance: float = 1e-5) -> tuple[Symbol, np.ndarray]:
    """The point group that consists of these matrices (order, 3, 3), and the rotation Q with elements Q g Qᵀ, g standard.

    Of the rotations that serve, the one nearest to the identity is taken. Raises ``ValueError`` where no point group fits
    to the tolerance.

    >>> from tesseral.groups.schoenflies import parse
    >>> symbol, Q = identify(standard_elements(parse("D3d")[0])[:, [2, 0, 1]][:, :, [2, 0, 1]])
    >>> symbol.name, Q @ [0, 0, 1]
    ('D3d', array([1., 0., 0.]))
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    symbol, candidates = _candidates(matrices, max(tolerance, 1e-7))
    standard = standard_elements(symbol)
    if len(standard) == len(matrices):
        best: tuple[float, np.ndarray] | None = None
        for Q in candidates:
            score = float(np.trace(Q) + 1e-6 * Q.sum())  # between equally near ones, axes in positive directions
            if best is not None and score < best[0] + 1e-9:
                continue
            if _misfit(Q, standard, matrices) < max(10 * tolerance, 1e-5):
                best = (score, Q)
        if best is not None:
            return symbol, _refined(best[1], standard, matrices)
    raise ValueError(f"{len(matrices)} matrices do not form a point group (to the tolerance {tolerance:g})")


def _misfit(Q: np.ndarray, standard: np.ndarray, matrices: np.ndarray) -> float:
    turned = Q @ standard @ Q.T
    return float(np.abs(turned[:, None] - matrices[None]).max(axis=(2, 3)).min(axis=1).max())


def _refined(Q: np.ndarray, standard: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Least squares over all elements: each matched one gives M Q = Q g."""
    for _ in range(30):
        turned = Q @ standard @ Q.T
        match = matrices[np.abs(turned[:, None] - matrices[None]).max(axis=(2, 3)).argmin(axis=1)]
        mean = (match @ Q @ standard.transpose(0, 2, 1) + match.transpose(0, 2, 1) @ Q @ standard).mean(axis=0)
        improved = nearest_orthogonal(mean)
        if np.abs(improved - Q).max() < 1e-15:
            break
        Q = improved
    nice = snapped(Q, 1e-11)
    return nice + 0.0 if np.abs(nice @ nice.T - np.eye(3)).max() < 4e-16 else Q


def _candidates(matrices: np.ndarray, tolerance: float) -> tuple[Symbol, list[np.ndarray]]:
    proper = np.linalg.det(matrices) > 0
    axes = _axes(matrices[proper], tolerance)
    improper, h = bool((~proper).any()), int(proper.sum())
    has_inversion = _contains(matrices, -np.eye(3), tolerance)
    if sum(n >= 3 for n, _ in axes) > 1:
        pure = {12: "T", 24: "O"}.get(h, "I")
        symbol = Symbol(pure if not improper else pure + ("h" if has_inversion else "d"), 0)
        fold = 4 if symbol.family[0] == "O" else 2
        return symbol, _cubic_frames([a for n, a in axes if n == fold or (n == 4 and fold == 2)])
    if not axes:
        mirrors = _mirror_normals(matrices, tolerance)
        if mirrors:
            return Symbol("Ch", 1), _frames(mirrors[:1], [])
        return (Symbol("S", 1) if has_inversion else Symbol("C", 1)), [np.eye(3)]
    n = max(fold for fold, _ in axes)
    dihedral = h == 2 * n
    # in D2 any twofold axis may be principal; in D2d only that of S4 fits
    principal = [a for fold, a in axes if fold == n]
    if not dihedral:
        principal = principal[:1]
    z = principal[0]
    mirrors = _mirror_normals(matrices, tolerance)
    if dihedral:
        family = "D" if not improper else "Dh" if _any_parallel(mirrors, principal, tolerance) else "Dd"
        return Symbol(family, n), _frames(principal, [a for fold, a in axes if fold == 2])
    if not improper:
        return Symbol("C", n), _frames([z], [])
    if _any_parallel(mirrors, [z], tolerance):
        return Symbol("Ch", n), _frames([z], [])
    if mirrors:
        return Symbol("Cv", n), _frames([z], [np.cross(m, z) for m in mirrors])
    return Symbol("S", n), _frames([z], [])


def _axes(rotations: np.ndarray, tolerance: float) -> list[tuple[int, np.ndarray]]:
    """Each axis once, with its fold."""
    found: list[tuple[int, np.ndarray]] = []
    for m in rotations:
        angle = np.arccos(np.clip((np.trace(m) - 1) / 2, -1, 1))
        if angle < 1e-3:
            continue
        axis = _positive(_axis(m))
        for i, (count, other) in enumerate(found):
            if abs(abs(axis @ other) - 1) < max(1e-6, tolerance):
                found[i] = (count + 1, other)
                break
        else:
            found.append((2, axis))
    return found


def _axis(rotation: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
    return vectors[:, -1] if values[-1] - values[-2] > 1e-9 else element_kind(rotation)[3]


def _mirror_normals(matrices: np.ndarray, tolerance: float) -> list[np.ndarray]:
    chosen = [m for m in matrices if np.linalg.det(m) < 0 and abs(np.trace(m) - 1) < 10 * tolerance]
    return [_positive(_axis(-m)) for m in chosen]


def _contains(matrices: np.ndarray, m: np.ndarray, tolerance: float) -> bool:
    return bool(np.abs(matrices - m).max(axis=(1, 2)).min() < 10 * tolerance)


def _any_parallel(a: list[np.ndarray], b: list[np.ndarray], tolerance: float) -> bool:
    return any(abs(abs(x @ y) - 1) < max(1e-6, tolerance) for x in a for y in b)


def _positive(axis: np.ndarray) -> np.ndarray:
    """Of the two directions of an axis the one nearest to +z, then +y, then +x."""
    for component in axis[::-1]:
        if abs(component) > 1e-6:
            return axis if component > 0 else -axis
    return axis


def _frames(principal: list[np.ndarray], secondary: list[np.ndarray]) -> list[np.ndarray]:
    """Right-handed frames (x, y, z as columns) with z along a principal axis and x along a secondary one."""
    frames = []
    for z in principal:
        directions = [s for s in secondary if abs(s @ z) < 0.1] or [_projected_x(z)]
        for x in directions:
            for sign, up in itertools.product((1, -1), repeat=2):
                a = sign * (x - (x @ z) * z) / np.linalg.norm(x - (x @ z) * z)
                frames.append(np.stack([a, np.cross(up * z, a), up * z], axis=1))
    return frames


def _projected_x(z: np.ndarray) -> np.ndarray:
    x = np.eye(3)[0] - z[0] * z
    return x if np.linalg.norm(x) > 1e-3 else np.cross(np.eye(3)[1], z)


def _cubic_frames(axes: list[np.ndarray]) -> list[np.ndarray]:
    frames = []
    for a, b, c in itertools.combinations(axes, 3):
        if max(abs(a @ b), abs(a @ c), abs(b @ c)) < 0.05:
            for p in itertools.permutations((a, b, c)):
                for signs in itertools.product((1, -1), repeat=3):
                    Q = np.stack([s * x for s, x in zip(signs, p, strict=True)], axis=1)
                    if np.linalg.det(Q) > 0:
                        frames.append(nearest_orthogonal(Q))
    return frames
