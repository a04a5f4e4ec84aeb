"""C++ of an activation on the sphere: coefficients to a grid, a function at each point, back; with two derivatives, nothing stored.

A row holds K coefficients of C channels and then C gates. Vector units run over channels. Ring by ring, polar sums give the
coefficients of order m of the ring, whose meridians are visited in mirror pairs: cosines and sines are summed once for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tesseral.kernels.cpu_source import Target
from tesseral.kernels.vector_source import activations, vectors


def emit(
    orders: Sequence[int],
    to_ring: Sequence[Sequence[float]],
    from_ring: Sequence[Sequence[float]],
    meridians: int,
    real: str,
    target: Target,
) -> str:
    """The source for coefficients of the given ``orders`` m; ``to_ring`` and ``from_ring`` are (rings, coefficients)."""
    highest = max((abs(m) for m in orders), default=0)
    alone = [a for a in range(meridians) if 2 * a in (0, meridians)]  # meridians that are their own mirror images come first
    half = alone + [a for a in range(1, meridians) if 2 * a < meridians]
    angles = [2 * math.pi * a / meridians for a in half]
    cosines = [[math.cos(m * t) for m in range(highest + 1)] for t in angles]
    sines = [[math.sin(m * t) for m in range(highest + 1)] for t in angles]
    defines = {
        "K": len(orders), "RINGS": len(to_ring), "ALONE": len(alone), "HALF_MERIDIANS": len(half), "ORDERS": highest + 1,
    }  # fmt: skip
    text = _SOURCE
    for name, lines in _pieces(orders, highest).items():
        text = text.replace(f"@{name}@", "\n        ".join(lines))
    tables = {"TO": to_ring, "FROM": from_ring, "COS": cosines, "SIN": sines}
    declared = [f"static const real {name}[] = {{{', '.join(map(repr, _flat(rows)))}}};" for name, rows in tables.items()]
    silu = _short_silu() if real == "float" and target.vector_bytes == 64 else _SILU
    return "\n".join([vectors(real, target, **defines), activations(real), silu, *declared, text])


_SILU = "static inline void silu(V x, V& f, V& d, V& dd) { activation(1, x, f, d, dd); }"


def _short_silu() -> str:
    """The same where vectors know powers of two and approximate reciprocals (AVX-512, float), with half the instructions.

    The fractional part of a power of two is a polynomial of degree 6; the error of x / (1 + e^-x) is below 2e-7 of |x|.
    """
    fit = np.polynomial.Chebyshev.interpolate(np.exp2, 6, [0, 1]).convert(kind=np.polynomial.Polynomial)
    series = f"{float(fit.coef[6])!r}f"
    for coefficient in fit.coef[5::-1]:
        series = f"({series} * r + {float(coefficient)!r}f)"
    return f"""
#include <immintrin.h>
static inline void silu(V x, V& f, V& d, V& dd) {{
  V t = (V)_mm512_min_ps(_mm512_set1_ps(125), (__m512)(x * {-1 / math.log(2)!r}f));  // a NaN stays one
  V r = (V)_mm512_reduce_ps((__m512)t, 9), w = (V)_mm512_scalef_ps((__m512){series}, (__m512)t);  // e^-x
  V s = (V)_mm512_rcp14_ps((__m512)(1 + w));
  s = s * (2 - (1 + w) * s);
  V u = w * s;
  f = x * s; d = s * (1 + x * u); dd = s * u * (2 + x * (u - s));
}}"""


def _flat(rows: Iterable[Iterable[float]]) -> list[float]:
    return [float(value) for row in rows for value in row]


def _pieces(orders: Sequence[int], highest: int) -> dict[str, list[str]]:
    """Lines of C++ for sums over coefficients and over orders; c0.. are cosine, s1.. sine coefficients of a ring."""
    name = {m: f"c{m}" if m >= 0 else f"s{-m}" for m in range(-highest, highest + 1)}
    present = [m for m in range(-highest, highest + 1) if m in orders]
    pieces: dict[str, list[str]] = {}
    for field in "fhw":
        table, data = {"f": ("TO", "X"), "h": ("FROM", "G"), "w": ("TO", "U")}[field]
        pieces[f"RING_{field}"] = [f"V {', '.join(f'{field}{name[m]} = splat(0)' for m in present)};"] + [
            f"{field}{name[m]} += {table}[b * K + {k}] * {data}[{k}];" for k, m in enumerate(orders)
        ]
        even = " + ".join(f"COS[a * ORDERS + {m}] * {field}c{m}" for m in present if m >= 0) or "splat(0)"
        odd = " + ".join(f"SIN[a * ORDERS + {-m}] * {field}s{-m}" for m in present if m < 0) or "splat(0)"
        pieces[f"EVEN_{field}"] = [f"V e{field} = {even};"]
        pieces[f"POINT_{field}"] = [f"V e{field} = {even}, o{field} = {odd};"]
    for out in "pq":
        pieces[f"START_{out}"] = [f"V {', '.join(f'{out}{name[m]} = splat(0)' for m in present)};"]
        pieces[f"SUM_{out}"] = [
            f"{out}{name[m]} += {'COS' if m >= 0 else 'SIN'}[a * ORDERS + {abs(m)}] * {'even' if m >= 0 else 'odd'}_{out};"
            for m in present
        ]
        pieces[f"SUM_EVEN_{out}"] = [line for m, line in zip(present, pieces[f"SUM_{out}"], strict=True) if m >= 0]
        for table in ("TO", "FROM"):
            pieces[f"BACK_{out}_{table}"] = [
                f"Y{out}[{k}] += {table}[b * K + {k}] * {out}{name[m]};" for k, m in enumerate(orders)
            ]
    return pieces


_SOURCE = r"""
static inline void read(V* into, const real* p, i64 count, i64 channels, i64 c, i64 n) {
  for (i64 k = 0; k < count; k++) into[k] = load_part(p + k * channels + c, n);
}
static inline void write(const V* from, real* p, i64 count, i64 channels, i64 c, i64 n) {
  for (i64 k = 0; k < count; k++) store_part(p + k * channels + c, from[k], n);
}
// mode 0: y = activation of x; 1: p = gradient of <g, y> by x; 2: with u the cotangent of that gradient, y = its gradient by g, p = by x
extern "C" void tesseral_sphere(const i64* p) {
  i64 mode = p[0], threads = p[1], rows = p[2], channels = p[3];
  const real *x0 = (const real*)p[4], *g0 = (const real*)p[5], *u0 = (const real*)p[6]; real *y0 = (real*)p[7], *gx0 = (real*)p[8];
  i64 wide = (K + 1) * channels, narrow = K * channels;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 row = 0; row < rows; row++)
   for (i64 c = 0; c < channels; c += LANES) {
    i64 n = channels - c < LANES ? channels - c : LANES;
    V X[K + 1], G[K + 1], U[K + 1], Yp[K + 1], Yq[K + 1], f1, d1, t1, f2, d2, t2;
    read(X, x0 + row * wide, K + 1, channels, c, n);
    silu(X[K], f1, d1, t1);
    for (int k = 0; k <= K; k++) Yp[k] = Yq[k] = splat(0);
    if (mode == 0) {
      for (int b = 0; b < RINGS; b++) {
        @RING_f@
        @START_p@
        for (int a = 0; a < ALONE; a++) {
          @EVEN_f@
          V even_p;
          silu(ef, even_p, d1, t1);
          @SUM_EVEN_p@
        }
        for (int a = ALONE; a < HALF_MERIDIANS; a++) {
          @POINT_f@
          V s1, s2;
          silu(ef + of, s1, d1, t1); silu(ef - of, s2, d2, t2);
          V even_p = s1 + s2, odd_p = s1 - s2;
          @SUM_p@
        }
        @BACK_p_FROM@
      }
      Yp[0] = f1;
      write(Yp, y0 + row * narrow, K, channels, c, n);
      continue;
    }
    read(G, g0 + row * narrow, K, channels, c, n);
    if (mode == 1) {
      Yp[K] = d1 * G[0];
      for (int b = 0; b < RINGS; b++) {
        @RING_f@
        @RING_h@
        @START_p@
        for (int a = 0; a < ALONE; a++) {
          @EVEN_f@
          @EVEN_h@
          silu(ef, f1, d1, t1);
          V even_p = d1 * eh;
          @SUM_EVEN_p@
        }
        for (int a = ALONE; a < HALF_MERIDIANS; a++) {
          @POINT_f@
          @POINT_h@
          silu(ef + of, f1, d1, t1); silu(ef - of, f2, d2, t2);
          V s1 = d1 * (eh + oh), s2 = d2 * (eh - oh), even_p = s1 + s2, odd_p = s1 - s2;
          @SUM_p@
        }
        @BACK_p_TO@
      }
      write(Yp, gx0 + row * wide, K + 1, channels, c, n);
      continue;
    }
    read(U, u0 + row * wide, K + 1, channels, c, n);
    V gate = d1 * U[K];
    Yp[K] = t1 * G[0] * U[K];
    for (int b = 0; b < RINGS; b++) {
        @RING_f@
        @RING_h@
        @RING_w@
        @START_p@
        @START_q@
        for (int a = 0; a < ALONE; a++) {
          @EVEN_f@
          @EVEN_h@
          @EVEN_w@
          silu(ef, f1, d1, t1);
          V even_q = d1 * ew, even_p = t1 * eh * ew;
          @SUM_EVEN_p@
          @SUM_EVEN_q@
        }
        for (int a = ALONE; a < HALF_MERIDIANS; a++) {
          @POINT_f@
          @POINT_h@
          @POINT_w@
          silu(ef + of, f1, d1, t1); silu(ef - of, f2, d2, t2);
          V w1 = ew + ow, w2 = ew - ow, s1 = d1 * w1, s2 = d2 * w2, even_q = s1 + s2, odd_q = s1 - s2;
          V r1 = t1 * (eh + oh) * w1, r2 = t2 * (eh - oh) * w2, even_p = r1 + r2, odd_p = r1 - r2;
          @SUM_p@
          @SUM_q@
        }
        @BACK_p_TO@
        @BACK_q_FROM@
    }
    Yq[0] = gate;
    write(Yq, y0 + row * narrow, K, channels, c, n);
    write(Yp, gx0 + row * wide, K + 1, channels, c, n);
   }
}
"""
