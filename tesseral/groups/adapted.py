"""Subspaces of a representation on which a group acts by one irrep, and bases in which it acts by given matrices."""

from __future__ import annotations

import numpy as np


def image(projector: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """An orthonormal basis (n, dim) of the image of an orthogonal projector, as sparse as its columns: pivoted Gram-Schmidt.

    >>> image(np.diag([0.0, 1.0]))
    array([[0., 1.]])
    """
    rest = projector.copy()
    basis: list[np.ndarray] = []
    rank = round(float(np.trace(projector)))
    for _ in range(rank):
        norms = np.linalg.norm(rest, axis=0)
        column = int(np.argmax(norms > norms.max() - tolerance))
        vector = projector @ (rest[:, column] / norms[column])
        for b in basis:
            vector = vector - (b @ vector) * b
        vector = vector / np.linalg.norm(vector)
        basis.append(vector)
        rest = rest - np.outer(vector, vector @ rest)
    result = np.array(basis).reshape(rank, len(projector))
    return np.where(np.abs(result) < 1e-14, 0.0, result)


def projector(matrices: np.ndarray, characters: np.ndarray) -> np.ndarray:
    r"""The projector :math:`\frac{d}{\langle\chi,\chi\rangle}\,\sum_g \chi(g) D(g)` on what transforms by one irrep.

    Here d is the dimension of the irrep, and the sum :math:`\langle\chi,\chi\rangle = \sum_g \chi(g)^2` is the order of the group
    for an irrep of real type and twice that for one of complex type.
    """
    return np.tensordot(characters, matrices, axes=1) * (characters[0] / (characters @ characters))


def irreducible_subspace(matrices: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """An orthonormal basis (d, dim) of one irreducible subspace of an orthogonal representation (order, dim, dim)."""
    basis = image(projector(matrices, characters))
    d = round(float(characters[0]))
    generator = np.random.default_rng(0)
    while len(basis) > d:  # several copies: eigenspaces of a random symmetric matrix that commutes with the group
        restricted = basis @ matrices @ basis.T
        random = generator.standard_normal((len(basis), len(basis)))
        mean = (restricted @ (random + random.T) @ restricted.transpose(0, 2, 1)).mean(axis=0)
        values, vectors = np.linalg.eigh(mean)
        if values[d] - values[d - 1] > 1e-6 * np.abs(values).max():
            basis = vectors[:, :d].T @ basis
    return basis


def bases(matrices: np.ndarray, irrep: np.ndarray) -> np.ndarray:
    r"""Orthonormal bases B (copies, d, dim) with :math:`B D(g) B^T = \Gamma(g)`, for an orthogonal D and a real irrep Γ.

    The transfer operators :math:`\sum_g \Gamma_{j0}(g) D(g)` send any vector to the j-th member of a basis; the copies are made
    orthogonal by taking one away after the other.
    """
    order, dim = matrices.shape[:2]
    d = irrep.shape[-1]
    characters = np.trace(irrep, axis1=1, axis2=2)
    copies = round(float(characters @ np.trace(matrices, axis1=1, axis2=2) / (characters @ characters)))
    transfer = np.einsum("gj,gab->jab", irrep[:, :, 0], matrices) * (d / order)
    found: list[np.ndarray] = []
    for _ in range(copies):
        norms = np.linalg.norm(transfer, axis=(0, 1))
        column = int(np.argmax(norms > norms.max() - 1e-6))
        basis = transfer[:, :, column] / norms[column] * np.sqrt(d)
        for other in found:
            basis = basis - (basis @ other.T) @ other
        basis = basis * (np.sqrt(d) / np.linalg.norm(basis))
        basis = np.where(np.abs(basis) < 1e-14, 0.0, basis)
        found.append(basis)
        transfer = transfer - np.einsum("ka,kb,jbc->jac", basis, basis, transfer)
    return np.array(found).reshape(copies, d, dim)
