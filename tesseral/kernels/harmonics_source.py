r"""C++ of spherical harmonics with their first and second derivatives, any degree, one edge in each lane of a vector.

Homogeneous harmonics of degree l have gradients that are harmonics of degree l - 1: :math:`\partial_k Y^l_m = \sum_a G^l_{kam} Y^{l-1}_a`
with at most a few terms each. So derivatives of any order are sums of the values themselves, and one recurrence gives everything.
"""

from __future__ import annotations

import functools
import math

from tesseral.kernels.cpu_source import Target
from tesseral.o3.spherical_harmonics import polynomials, recurrence


@functools.cache
def gradients(l: int) -> tuple[tuple[tuple[tuple[int, float], ...], ...], ...]:
    r"""``gradients(l)[m][k]``: the pairs (a, G) of :math:`\partial_k Y^l_m = \sum_a G\, Y^{l-1}_a`, in "component" normalisation.

    Coefficients by Fischer's inner product of polynomials, :math:`\langle p, q \rangle = \sum_\alpha \alpha!\, p_\alpha q_\alpha`, in which
    harmonics of one degree are orthogonal.

    >>> gradients(1)[0]
    (((0, 1.7320508075688772),), (), ())
    """
    lower = polynomials(l - 1) if l else ()
    norms = [_fischer(q, q) for q in lower]
    rows = []
    for p in polynomials(l):
        parts = []
        for k in range(3):
            slope = {_lower(e, k): value * e[k] for e, value in p.items() if e[k]}
            found = [(a, _fischer(slope, q) / norm) for a, (q, norm) in enumerate(zip(lower, norms, strict=True))]
            parts.append(tuple((a, value) for a, value in found if abs(value) > 1e-9))
        rows.append(tuple(parts))
    return tuple(rows)


def _lower(exponents: tuple[int, int, int], k: int) -> tuple[int, int, int]:
    changed = list(exponents)
    changed[k] -= 1
    return changed[0], changed[1], changed[2]


def _fischer(p: dict, q: dict) -> float:
    terms = (value * q[e] * math.prod(map(math.factorial, e)) for e, value in p.items() if e in q)
    return math.fsum(terms)


def emit(degrees: tuple[int, ...], scales: tuple[float, ...], normalize: bool, real: str, target: Target) -> str:
    """The source for blocks of the given ``degrees``, each times its scale relative to "component", at x or at x/\\|x\\|."""
    lanes = target.vector_bytes // (4 if real == "float" else 8)
    lmax, dim = max(degrees, default=0), sum(2 * l + 1 for l in degrees)
    values = _values(lmax)
    slopes, tangents, contractions, lowered, curvature = [], [], [], [], []
    for l in range(1, lmax + 1):
        for m, parts in enumerate(gradients(l)):
            n = l * l + m
            for k, terms in enumerate(parts):
                body = " + ".join(f"(real){value!r} * Y{(l - 1) ** 2 + a}" for a, value in terms) or "splat(0)"
                slopes.append(f"V D{n}_{k} = {body};")
    at = 0
    for l, scale in zip(degrees, scales, strict=True):
        for m, parts in enumerate(gradients(l)):
            n, column = l * l + m, at + m
            if l == 0:
                tangents.append(f"out[{column}] = splat(0);")
                continue
            tangents.append(f"out[{column}] = (real){scale!r} * (A0 * D{n}_0 + A1 * D{n}_1 + A2 * D{n}_2);")
            contractions.append(
                f"{{ V t = (real){scale!r} * G[{column}]; B0 += t * D{n}_0; B1 += t * D{n}_1; B2 += t * D{n}_2; }}"
            )
            for k, terms in enumerate(parts):
                for a, value in terms:
                    lowered.append(f"T{(l - 1) ** 2 + a} += (real){value * scale!r} * A{k} * G[{column}];")
        at += 2 * l + 1
    for l in range(1, lmax):
        for m in range(2 * l + 1):
            n = l * l + m
            curvature.append(f"C0 += T{n} * D{n}_0; C1 += T{n} * D{n}_1; C2 += T{n} * D{n}_2;")
    stores, at = [], 0
    for l, scale in zip(degrees, scales, strict=True):
        stores += [f"out[{at + m}] = (real){scale!r} * Y{l * l + m};" for m in range(2 * l + 1)]
        at += 2 * l + 1
    zeros = [f"V T{n} = splat(0);" for n in range(max(lmax, 1) ** 2)]
    pieces = {
        "VALUES": values, "SLOPES": slopes, "TANGENTS": tangents, "CONTRACTIONS": contractions, "LOWERED": zeros + lowered,
        "CURVATURE": curvature, "STORES": stores,
    }  # fmt: skip
    text = _SOURCE
    for name, lines in pieces.items():
        text = text.replace(f"@{name}@", "\n      ".join(lines))
    defines = {"real": real, "LANES": lanes, "DIM": max(dim, 1), "NORMALIZE": int(normalize)}
    return "\n".join(["typedef long long i64;", *(f"#define {name} {value}" for name, value in defines.items()), text])


def _values(lmax: int) -> list[str]:
    """Y_n for n = l² + l + m as variables, by the recurrence of :mod:`tesseral.o3.spherical_harmonics`, from x, y, z and r2."""
    diagonal, climb, back = recurrence(lmax)
    lines = ["V c0 = splat(1), s0 = splat(0);"]
    for m in range(lmax):
        lines.append(f"V c{m + 1} = z * c{m} - x * s{m}, s{m + 1} = z * s{m} + x * c{m};")
    for l in range(lmax + 1):
        for m in range(l + 1):
            if m == l:
                lines.append(f"V P{l}_{m} = splat({diagonal[l]!r});")
            elif m == l - 1:
                lines.append(f"V P{l}_{m} = (real){climb[l][m]!r} * P{l - 1}_{m} * y;")
            else:
                lines.append(f"V P{l}_{m} = (real){climb[l][m]!r} * P{l - 1}_{m} * y - (real){back[l][m]!r} * P{l - 2}_{m} * r2;")
            n = l * l + l
            lines.append(f"V Y{n + m} = P{l}_{m} * c{m};")
            if m:
                lines.append(f"V Y{n - m} = P{l}_{m} * s{m};")
    return lines


_SOURCE = r"""
#ifndef _OPENMP
#define omp_get_thread_num() 0
#else
#include <omp.h>
#endif
typedef real V __attribute__((vector_size(sizeof(real) * LANES)));
static inline V splat(real a) { V v; for (int i = 0; i < LANES; i++) v[i] = a; return v; }
static inline V root(V a) { for (int i = 0; i < LANES; i++) a[i] = sizeof(real) == 4 ? __builtin_sqrtf(a[i]) : __builtin_sqrt(a[i]); return a; }
static inline V column(const real* p, i64 ld, i64 n) { V v = splat(0); for (i64 i = 0; i < n; i++) v[i] = p[i * ld]; return v; }
static inline void spread(V v, real* p, i64 ld, i64 n) { for (i64 i = 0; i < n; i++) p[i * ld] = v[i]; }
// mode 0: out = Y; 1: slope = gradient of <g, Y>; 2: with u the cotangent of that gradient, out = gradient of g, slope = gradient of x
extern "C" void tesseral_harmonics(const i64* p) {
  i64 mode = p[0], threads = p[1], rows = p[2], blocks = (rows + LANES - 1) / LANES;
  const real *x0 = (const real*)p[3], *g0 = (const real*)p[4], *u0 = (const real*)p[5]; real *out0 = (real*)p[6], *slope0 = (real*)p[7];
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 block = 0; block < blocks; block++) {
    i64 e = block * LANES, n = rows - e < LANES ? rows - e : LANES;
    V G[DIM], out[DIM];
    V x = column(x0 + 3 * e, 3, n), y = column(x0 + 3 * e + 1, 3, n), z = column(x0 + 3 * e + 2, 3, n);
    V inverse = splat(1);
    if (NORMALIZE) {
      V length = root(x * x + y * y + z * z);
      inverse = length > (real)1e-12 ? 1 / length : splat(0);
      x *= inverse; y *= inverse; z *= inverse;
    }
    V r2 = x * x + y * y + z * z;
      @VALUES@
    if (mode == 0) {
      @STORES@
      for (i64 i = 0; i < n; i++) for (i64 j = 0; j < DIM; j++) out0[(e + i) * DIM + j] = out[j][i];
      continue;
    }
      @SLOPES@
    for (i64 i = 0; i < n; i++) for (i64 j = 0; j < DIM; j++) G[j][i] = g0[(e + i) * DIM + j];
    for (i64 i = n; i < LANES; i++) for (i64 j = 0; j < DIM; j++) G[j][i] = 0;
    V B0 = splat(0), B1 = splat(0), B2 = splat(0);
      @CONTRACTIONS@
    V radial = NORMALIZE ? B0 * x + B1 * y + B2 * z : splat(0);
    if (mode == 1) {
      spread((B0 - radial * x) * inverse, slope0 + 3 * e, 3, n);
      spread((B1 - radial * y) * inverse, slope0 + 3 * e + 1, 3, n);
      spread((B2 - radial * z) * inverse, slope0 + 3 * e + 2, 3, n);
      continue;
    }
    V U0 = column(u0 + 3 * e, 3, n), U1 = column(u0 + 3 * e + 1, 3, n), U2 = column(u0 + 3 * e + 2, 3, n);
    V along = NORMALIZE ? U0 * x + U1 * y + U2 * z : splat(0);
    V A0 = (U0 - along * x) * inverse, A1 = (U1 - along * y) * inverse, A2 = (U2 - along * z) * inverse;
      @TANGENTS@
    for (i64 i = 0; i < n; i++) for (i64 j = 0; j < DIM; j++) out0[(e + i) * DIM + j] = out[j][i];
    V C0 = splat(0), C1 = splat(0), C2 = splat(0);
    {
      @LOWERED@
      @CURVATURE@
    }
    if (NORMALIZE) {  // the projection and the length depend on x too
      V c = C0 * x + C1 * y + C2 * z, both = U0 * B0 + U1 * B1 + U2 * B2, t = 3 * along * radial - both;
      C0 = (C0 - c * x) * inverse + inverse * inverse * (t * x - radial * U0 - along * B0);
      C1 = (C1 - c * y) * inverse + inverse * inverse * (t * y - radial * U1 - along * B1);
      C2 = (C2 - c * z) * inverse + inverse * inverse * (t * z - radial * U2 - along * B2);
    }
    spread(C0, slope0 + 3 * e, 3, n); spread(C1, slope0 + 3 * e + 1, 3, n); spread(C2, slope0 + 3 * e + 2, 3, n);
  }
}
"""
