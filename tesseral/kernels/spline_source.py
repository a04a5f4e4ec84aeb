"""C++ of cubic splines of a distance with vector values: their sums over four knots, whatever is linear in the coefficients.

One source for a scalar type and a vector unit. Nothing is atomic: sums over the edges belong to a thread column by column, so that
results do not depend on the number of threads.
"""

from __future__ import annotations

from tesseral.kernels.cpu_source import Target
from tesseral.kernels.cpu_spline_source import BASIS


def emit(real: str, target: Target) -> str:
    """The source for ``real`` = "float" or "double"."""
    lanes = target.vector_bytes // (4 if real == "float" else 8)
    head = f"#define real {real}\n#define LANES {lanes}\ntypedef long long i64;\n"
    return head + BASIS.format(scalar="real") + _SOURCE


_SOURCE = r"""
#include <cstring>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
static int omp_get_num_threads() { return 1; }
#endif
typedef real V __attribute__((vector_size(sizeof(real) * LANES), aligned(sizeof(real)), may_alias));
static inline V load(const real* p) { return *(const V*)p; }
static inline void store(real* p, V v) { *(V*)p = v; }

// The interval of x and the four cubic B-splines there, or their derivatives, times a factor; zero from the last knot on.
static inline i64 basis(double x, double step, i64 intervals, i64 order, double factor, real* b) {
  double t = 0;
  i64 k = interval(x, step, intervals, t);
  for (i64 i = 0; i < order; i++) factor /= step;
  cubic(t, order, k < 0 ? 0 : factor, b);
  return k < 0 ? 0 : k;
}

// y[e] = factor[e] sum_j B_j(x[e]) table[k + j]
static void gather(i64 threads, i64 edges, i64 width, i64 intervals, i64 order, double step, const real* x, const real* factor,
                   const real* table, real* y) {
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 e = 0; e < edges; e++) {
    real b[4];
    i64 k = basis(x[e], step, intervals, order, factor ? factor[e] : 1, b), i = 0;
    const real *r0 = table + k * width, *r1 = r0 + width, *r2 = r1 + width, *r3 = r2 + width;
    real* to = y + e * width;
    for (; i + LANES <= width; i += LANES)
      store(to + i, (b[0] * load(r0 + i) + b[1] * load(r1 + i)) + (b[2] * load(r2 + i) + b[3] * load(r3 + i)));
    for (; i < width; i++) to[i] = (b[0] * r0[i] + b[1] * r1[i]) + (b[2] * r2[i] + b[3] * r3[i]);
  }
}

// table[k + j] = sum over the edges of factor[e] B_j(x[e]) g[e]
static void scatter(i64 threads, i64 edges, i64 width, i64 intervals, i64 order, double step, const real* x, const real* factor,
                    real* table, const real* g) {
  i64 blocks = (width + LANES - 1) / LANES;
  #pragma omp parallel num_threads(threads) if (threads > 1)
  {
    i64 me = omp_get_thread_num(), team = omp_get_num_threads();
    i64 first = blocks * me / team * LANES, last = blocks * (me + 1) / team * LANES;
    if (last > width) last = width;
    for (i64 row = 0; row < intervals + 3; row++) memset(table + row * width + first, 0, (last - first) * sizeof(real));
    for (i64 e = 0; e < edges; e++) {
      real b[4];
      i64 k = basis(x[e], step, intervals, order, factor ? factor[e] : 1, b), i = first;
      real *r0 = table + k * width, *r1 = r0 + width, *r2 = r1 + width, *r3 = r2 + width;
      const real* from = g + e * width;
      for (; i + LANES <= last; i += LANES) {
        V v = load(from + i);
        store(r0 + i, load(r0 + i) + b[0] * v); store(r1 + i, load(r1 + i) + b[1] * v);
        store(r2 + i, load(r2 + i) + b[2] * v); store(r3 + i, load(r3 + i) + b[3] * v);
      }
      for (; i < last; i++) { real v = from[i]; r0[i] += b[0] * v; r1[i] += b[1] * v; r2[i] += b[2] * v; r3[i] += b[3] * v; }
    }
  }
}

// y[e] = factor[e] sum_j B_j(x[e]) <table[k + j], g[e]>
static void dot(i64 threads, i64 edges, i64 width, i64 intervals, i64 order, double step, const real* x, const real* factor,
                const real* table, const real* g, real* y) {
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 e = 0; e < edges; e++) {
    real b[4];
    i64 k = basis(x[e], step, intervals, order, factor ? factor[e] : 1, b), i = 0;
    const real *r0 = table + k * width, *r1 = r0 + width, *r2 = r1 + width, *r3 = r2 + width, *from = g + e * width;
    V sum; memset(&sum, 0, sizeof sum);
    V more = sum;
    for (; i + LANES <= width; i += LANES) {
      sum += load(from + i) * (b[0] * load(r0 + i) + b[1] * load(r1 + i));
      more += load(from + i) * (b[2] * load(r2 + i) + b[3] * load(r3 + i));
    }
    sum += more;
    real total = 0;
    for (int lane = 0; lane < LANES; lane++) total += sum[lane];
    for (; i < width; i++) total += from[i] * ((b[0] * r0[i] + b[1] * r1[i]) + (b[2] * r2[i] + b[3] * r3[i]));
    y[e] = total;
  }
}

// mode 0 gather, 1 scatter, 2 dot; pointers x, factor (may be null), table, g, y
extern "C" void tesseral_spline(const i64* p, const double* step) {
  const real *x = (const real*)p[6], *factor = (const real*)p[7], *g = (const real*)p[9];
  real *table = (real*)p[8], *y = (real*)p[10];
  if (p[0] == 0) gather(p[1], p[2], p[3], p[4], p[5], *step, x, factor, table, y);
  else if (p[0] == 1) scatter(p[1], p[2], p[3], p[4], p[5], *step, x, factor, table, g);
  else dot(p[1], p[2], p[3], p[4], p[5], *step, x, factor, table, g, y);
}
"""
