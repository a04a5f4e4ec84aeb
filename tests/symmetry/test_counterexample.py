"""Appendix G of Xie and Smidt, enumerated anew: an ideal full set may exist where exact partial sets are no smaller than it.

G = h × h with h = ⟨r, s, c | r², s⁴, (rs)², c², [s, c], (rc)⁴⟩, S = ⟨r₁, s₁², c₁, r₂, s₂², c₂⟩, K = ⟨c₁c₂⟩.
"""

import numpy as np

from tesseral.groups import FiniteGroup, normalizer


def table_of_h():
    """The multiplication of h, as matrices: two planar representations and signs, faithful together."""
    flip, turn = np.diag([1, -1]), np.array([[0, -1], [1, 0]])
    generators = []
    for name in "rsc":
        blocks = [
            {"r": flip, "s": turn, "c": np.eye(2)}[name],  # D4, without c
            {"r": flip, "s": np.eye(2), "c": np.array([[0, 1], [1, 0]])}[name],  # ⟨r, c⟩ is D4 as well, s = 1
        ]
        matrix = np.zeros((4, 4), dtype=int)
        matrix[:2, :2], matrix[2:, 2:] = blocks
        generators.append(matrix)
    elements = [np.eye(4, dtype=int)]
    for g in elements:
        for m in generators:
            if not any((g @ m == other).all() for other in elements):
                elements.append(g @ m)
    number = {g.tobytes(): i for i, g in enumerate(elements)}
    table = np.array([[number[(a @ b).tobytes()] for b in elements] for a in elements])
    return table, [number[m.astype(elements[0].dtype).tobytes()] for m in generators]


def test_relations():
    """They hold, and the order is that of the abstract group (32, by coset enumeration), so the matrices are faithful."""
    table, (r, s, c) = table_of_h()

    def word(*letters):
        result = 0
        for letter in letters:
            result = int(table[result, letter])
        return result

    assert FiniteGroup(table).order == 32
    assert word(r, r) == word(s, s, s, s) == word(r, s, r, s) == word(c, c) == word(*(r, c) * 4) == 0
    assert word(s, c) == word(c, s)


def test_a_full_set_may_be_smaller_than_every_exact_partial_one():
    h, (r, s, c) = table_of_h()
    n = len(h)
    numbers = np.arange(n * n)
    table = h[np.ix_(numbers // n, numbers // n)] * n + h[np.ix_(numbers % n, numbers % n)]
    G = FiniteGroup(table)
    squared, turned = int(h[s, s]), int(h[r, s])
    S = G.closure([r * n, squared * n, c * n, r, squared, c])
    K = G.closure([c * n + c])
    assert (G.order, len(S), len(K)) == (1024, 256, 2)

    # G normalises S, and maps K to conjugates of it in S: it is the (generalised) normaliser
    assert normalizer(G, S) == frozenset(range(G.order))
    k = c * n + c
    assert {int(x) for x in G.conjugates[:, k]} == {int(x) for x in G.conjugates[sorted(S), k]}

    # S has a complement, so an ideal full set has |S| = 256 members
    complement = G.closure([turned * n, turned])
    assert len(complement) * len(S) == G.order
    assert complement & S == {0}

    # no subgroup beyond K meets S in K, so every exact partial set has at least |G|/|K| = 512
    assert not [g for g in range(G.order) if g not in K and G.closure([k, g]) & S == K]
