"""C++ of vectors: loads and stores of whole and of partial ones, the exponential, activations and their derivatives."""

from __future__ import annotations

import math

from tesseral.kernels.cpu_source import Target


def vectors(real: str, target: Target, **defines: object) -> str:
    """Types, loads and stores for ``real`` = "float" or "double", in vectors of ``LANES``; more names may be defined."""
    lanes = target.vector_bytes // (4 if real == "float" else 8)
    names = {"real": real, "LANES": lanes, "BITS": "int" if real == "float" else "i64", **defines}
    return "\n".join(["typedef long long i64;", *(f"#define {name} {value}" for name, value in names.items()), _VECTORS])


def activations(real: str) -> str:
    """The exponential, and activations with their derivatives."""
    return "\n".join([_exponential(real), _ACTIVATION])


_VECTORS = r"""
#include <cmath>
#include <cstdlib>
#include <cstring>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
static int omp_get_num_threads() { return 1; }
#endif
typedef real V __attribute__((vector_size(sizeof(real) * LANES), aligned(sizeof(real)), may_alias));
typedef BITS I __attribute__((vector_size(sizeof(real) * LANES)));
static inline V load(const real* p) { return *(const V*)p; }
static inline void store(real* p, V v) { *(V*)p = v; }
static inline V splat(real x) { V v; for (int i = 0; i < LANES; i++) v[i] = x; return v; }
static real* grab(i64 n) {
  void* p = 0;
  if (posix_memalign(&p, 64, (n > 0 ? n : 1) * sizeof(real))) abort();
  return (real*)p;
}
static inline V load_part(const real* p, i64 n) {
  if (n >= LANES) return load(p);
  V v = splat(0);
  for (i64 i = 0; i < n; i++) v[i] = p[i];
  return v;
}
static inline void store_part(real* p, V v, i64 n) {
  if (n >= LANES) { store(p, v); return; }
  for (i64 i = 0; i < n; i++) p[i] = v[i];
}
"""


def _exponential(real: str) -> str:
    """e^x - 1 and e^x by reduction to |r| <= ln(2)/2 and the Taylor series, exact to rounding in either type."""
    single = real == "float"
    degree = 8 if single else 14
    limit = 87.0 if single else 708.0
    mantissa, bias = (23, 127) if single else (52, 1023)
    high = 0.693359375 if single else float.fromhex("0x1.62e42fee00000p-1")
    low = -2.12194440e-4 if single else 1.90821492927058770002e-10
    series = f"(real){1 / math.factorial(degree)!r}"
    for power in range(degree - 1, 0, -1):
        series = f"({series} * r + (real){1 / math.factorial(power)!r})"
    return f"""
static inline void exponential(V x, V& whole, V& less) {{  // whole = e^x, less = e^x - 1
  x = x > (real){limit} ? splat({limit}) : x;
  x = x < (real)-{limit} ? splat(-{limit}) : x;
  const real shift = (real){1.5 * 2**mantissa!r};
  V n = (x * (real){1 / math.log(2)!r} + shift) - shift;
  V r = (x - n * (real){high!r}) - n * (real){low!r};
  V series = r * {series};
  I bits = (__builtin_convertvector(n, I) + {bias}) << {mantissa};
  V power = (V)bits;
  whole = power * series + power;
  less = power * series + (power - 1);
}}"""


_ACTIVATION = r"""
// value, first and second derivative of: 0 the identity, 1 x / (1 + e^-x), 2 tanh
static inline void activation(int kind, V x, V& f, V& d, V& dd) {
  V whole, less;
  if (kind == 1) {
    exponential(-x, whole, less);
    V s = 1 / (1 + whole), t = 1 - s;
    f = x * s; d = s * (1 + x * t); dd = s * t * (2 + x * (t - s));
  } else if (kind == 2) {
    V y = x > (real)20 ? splat(20) : x;
    y = y < (real)-20 ? splat(-20) : y;
    exponential(2 * y, whole, less);
    f = less / (whole + 1); d = 1 - f * f; dd = -2 * f * d;
  } else { f = x; d = splat(1); dd = splat(0); }
}
"""
