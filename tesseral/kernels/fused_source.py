"""C++ of the operations around the multilinear programs: small matrix products, perceptrons, gates, radial functions.

One source for a scalar type and a vector unit. Matrix products go by register tiles, ``ROWS`` rows by ``PANEL`` columns, whose right factor
is packed into panels of columns; rows are reached by pointers, so that they may lie anywhere. Every operation has its value, its gradient
and the gradient of its gradient in one pass over blocks of rows that stay in the cache. Nothing is atomic: results are bit-identical at
the same number of threads.
"""

from __future__ import annotations

import math

from tesseral.kernels.cpu_source import Target

_ROWS = 6


def emit(real: str, target: Target) -> str:
    """The source for ``real`` = "float" or "double"."""
    lanes = target.vector_bytes // (4 if real == "float" else 8)
    vectors = 4 if target.vector_bytes == 64 else 2  # of a panel: accumulators and operands fill the vector registers
    parts = [_PRELUDE, _exponential(real), _POINTWISE]
    for width, most in ((vectors, _ROWS), (vectors // 2, 2 * _ROWS)):
        parts += [_tile(rows, width) for rows in range(1, most + 1)]
        names = ", ".join(f"tile{rows}_{width}" for rows in range(1, most + 1))
        parts.append(f"static void (*const tiles_{'wide' if width == vectors else 'narrow'}[])(TILE_ARGUMENTS) = {{{names}}};")
    parts += [_PRODUCTS, _LINEAR, _PERCEPTRON, _GATE, _BESSEL]
    defines = {"real": real, "LANES": lanes, "VECTORS": vectors, "ROWS": _ROWS, "BITS": "int" if real == "float" else "i64"}
    head = ["typedef long long i64;", *(f"#define {name} {value}" for name, value in defines.items())]
    return "\n".join([*head, *parts])


_PRELUDE = r"""
#include <cmath>
#include <cstdlib>
#include <cstring>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
static int omp_get_num_threads() { return 1; }
#endif
#define PANEL (VECTORS * LANES)
#define HALF (PANEL / 2)
#define BLOCK 48
#define TILE_ARGUMENTS const real* const* a, i64 step, const real* b, i64 ldb, i64 depth, real* const* c, i64 at, i64 width, real alpha, int add
typedef real V __attribute__((vector_size(sizeof(real) * LANES), aligned(sizeof(real)), may_alias));
typedef BITS I __attribute__((vector_size(sizeof(real) * LANES)));
static inline V load(const real* p) { return *(const V*)p; }
static inline void store(real* p, V v) { *(V*)p = v; }
static inline V splat(real x) { V v; for (int i = 0; i < LANES; i++) v[i] = x; return v; }
static inline i64 up(i64 n) { return (n + HALF - 1) / HALF * HALF; }
static inline i64 panel(i64 left) { return left > HALF ? PANEL : HALF; }  // the width of the next panel of that many columns
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


_POINTWISE = r"""
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


def _tile(rows: int, vectors: int) -> str:
    lines = [f"static void tile{rows}_{vectors}(TILE_ARGUMENTS) {{"]
    lines += [f"  const real* a{r} = a[{r}];" for r in range(rows)]
    lines += ["  V " + ", ".join(f"c{r}{v} = splat(0)" for v in range(vectors)) + ";" for r in range(rows)]
    lines.append("  for (i64 k = 0; k < depth; k++, b += ldb) {")
    lines.append("    V " + ", ".join(f"b{v} = load(b + {v} * LANES)" for v in range(vectors)) + ", s;")
    for r in range(rows):
        lines.append(f"    s = splat(a{r}[k * step]); " + " ".join(f"c{r}{v} += s * b{v};" for v in range(vectors)))
    lines.append("  }")
    for r in range(rows):
        lines.append(f"  {{ real* p = c[{r}] + at;")
        for v in range(vectors):
            at = f"p + {v} * LANES"
            lines.append(f"    if (width >= {v + 1} * LANES) store({at}, add ? load({at}) + alpha * c{r}{v} : alpha * c{r}{v});")
            lines.append(
                f"    else for (i64 i = {v} * LANES; i < width; i++) p[i] = (add ? p[i] : 0) + alpha * c{r}{v}[i - {v} * LANES];"
            )
        lines.append("  }")
    return "\n".join([*lines, "}"])


_PRODUCTS = r"""
// panels of b (depth, width), or of the transpose of b (width, depth)
static void pack(const real* b, i64 ldb, int transposed, i64 depth, i64 width, real* out) {
  for (i64 j = 0, w; j < width; j += w, out += depth * w) {
    w = panel(width - j);
    i64 n = width - j < w ? width - j : w;
    if (n < w) memset(out, 0, depth * w * sizeof(real));
    if (transposed) for (i64 i = 0; i < n; i++) for (i64 k = 0; k < depth; k++) out[k * w + i] = b[(j + i) * ldb + k];
    else for (i64 k = 0; k < depth; k++) memcpy(out + k * w, b + k * ldb + j, n * sizeof(real));
  }
}
// c[r][j..] = alpha a[r] b (+ c[r][j..]) for one panel b of w columns, of which `width` count
static inline void tiles(i64 rows, const real* const* a, i64 step, const real* b, i64 ldb, i64 depth, real* const* c, i64 j, i64 w,
                         i64 width, real alpha, int add) {
  i64 most = w == PANEL ? ROWS : 2 * ROWS;
  for (i64 r = 0; r < rows; r += most) {
    i64 n = rows - r < most ? rows - r : most;
    (w == PANEL ? tiles_wide : tiles_narrow)[n - 1](a + r, step, b, ldb, depth, c + r, j, width < w ? width : w, alpha, add);
  }
}
// c[r] = alpha a[r] b (+ c[r]) for packed b; a and c are pointers to rows
static void product(i64 rows, const real* const* a, const real* b, i64 depth, i64 width, real* const* c, real alpha, int add) {
  for (i64 j = 0, w; j < width; j += w, b += depth * w) {
    w = panel(width - j);
    tiles(rows, a, 1, b, w, depth, c, j, w, width - j, alpha, add);
  }
}
// c (n, width; rows of length ldc) += alpha a^T b for blocks a (depth, n), b (depth, width); spare holds depth * PANEL numbers
static void outer(const real* a, i64 lda, i64 n, const real* b, i64 ldb, i64 width, i64 depth, real* c, i64 ldc, real alpha, real* spare) {
  const real* pa[2 * ROWS]; real* pc[2 * ROWS];
  for (i64 j = 0, w; j < width; j += w) {
    w = panel(width - j);
    const real* from = b + j; i64 ld = ldb, most = w == PANEL ? ROWS : 2 * ROWS;
    if (width - j < w) {
      for (i64 k = 0; k < depth; k++) for (i64 i = 0; i < w; i++) spare[k * w + i] = i < width - j ? from[k * ldb + i] : 0;
      from = spare; ld = w;
    }
    for (i64 r = 0; r < n; r += most) {
      i64 m = n - r < most ? n - r : most;
      for (i64 i = 0; i < m; i++) { pa[i] = a + r + i; pc[i] = c + (r + i) * ldc; }
      tiles(m, pa, lda, from, ld, depth, pc, j, w, width - j, alpha, 1);
    }
  }
}
static void rows_of(const real* base, i64 ld, i64 n, const real** p) { for (i64 r = 0; r < n; r++) p[r] = base + r * ld; }
"""

_LINEAR = r"""
// y = x W by blocks: paths (a, n, b, m, components, start, add) from column a to column b; row r of group s has the weights of s
extern "C" void tesseral_linear(const i64* p, const double* coefficient) {
  i64 threads = p[0], groups = p[1], transposed = p[2], ldx = p[3], ldw = p[4], ldy = p[5], paths = p[6], zeros = p[7];
  const i64 *order = (const i64*)p[8], *pointers = (const i64*)p[9], *table = (const i64*)p[10], *zero = (const i64*)p[11];
  const real *x = (const real*)p[12], *w = (const real*)p[13]; real* y = (real*)p[14];
  i64 packed = 0, chunks = 0;
  for (i64 k = 0; k < paths; k++) packed += table[7 * k + 1] * up(table[7 * k + 3]);
  real* panels = grab(groups * packed);
  for (i64 s = 0; s < groups; s++) {
    real* to = panels + s * packed;
    chunks += (pointers[s + 1] - pointers[s] + BLOCK - 1) / BLOCK;
    if (pointers[s + 1] > pointers[s])
      for (i64 k = 0; k < paths; k++) {
        const i64* t = table + 7 * k;
        pack(w + s * ldw + t[5], transposed ? t[1] : t[3], transposed, t[1], t[3], to);
        to += t[1] * up(t[3]);
      }
  }
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 chunk = 0; chunk < chunks; chunk++) {
    i64 s = 0, before = 0, here;
    while (before + (here = (pointers[s + 1] - pointers[s] + BLOCK - 1) / BLOCK) <= chunk) before += here, s++;
    i64 first = pointers[s] + (chunk - before) * BLOCK, n = pointers[s + 1] - first < BLOCK ? pointers[s + 1] - first : BLOCK;
    const real* from[BLOCK]; real* to[BLOCK]; const real* a[BLOCK]; real* c[BLOCK];
    for (i64 r = 0; r < n; r++) {
      i64 row = order ? order[first + r] : first + r;
      from[r] = x + row * ldx; to[r] = y + row * ldy;
      for (i64 z = 0; z < zeros; z++) memset(to[r] + zero[2 * z], 0, zero[2 * z + 1] * sizeof(real));
    }
    const real* b = panels + s * packed;
    for (i64 k = 0; k < paths; k++) {
      const i64* t = table + 7 * k;
      for (i64 m = 0; m < t[4]; m++) {
        for (i64 r = 0; r < n; r++) { a[r] = from[r] + t[0] + m * t[1]; c[r] = to[r] + t[2] + m * t[3]; }
        product(n, a, b, t[1], t[3], c, coefficient[k], t[6]);
      }
      b += t[1] * up(t[3]);
    }
  }
  free(panels);
}
// W = x^T y summed over the rows of each group, by blocks
extern "C" void tesseral_outer(const i64* p, const double* coefficient) {
  i64 threads = p[0], groups = p[1], ldx = p[3], ldw = p[4], ldy = p[5], paths = p[6];
  const i64 *order = (const i64*)p[8], *pointers = (const i64*)p[9], *table = (const i64*)p[10];
  const real *x = (const real*)p[12], *y = (const real*)p[14]; real* w = (real*)p[13];
  #pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
  for (i64 task = 0; task < groups * paths; task++) {
    i64 s = task / paths; const i64* t = table + 7 * (task % paths);
    i64 n = t[1], m = t[3], width = up(m);
    real *left = grab(BLOCK * (n + width + PANEL)), *right = left + BLOCK * n, *spare = right + BLOCK * width, *c = w + s * ldw + t[5];
    memset(c, 0, n * m * sizeof(real));
    i64 total = (pointers[s + 1] - pointers[s]) * t[4];
    for (i64 first = 0; first < total; first += BLOCK) {
      i64 depth = total - first < BLOCK ? total - first : BLOCK;
      for (i64 k = 0; k < depth; k++) {
        i64 at = pointers[s] + (first + k) / t[4], component = (first + k) % t[4], row = order ? order[at] : at;
        memcpy(left + k * n, x + row * ldx + t[0] + component * n, n * sizeof(real));
        memcpy(right + k * width, y + row * ldy + t[2] + component * m, m * sizeof(real));
      }
      outer(left, n, n, right, width, m, depth, c, m, coefficient[task % paths], spare);
    }
    free(left);
  }
}
"""

_PERCEPTRON = r"""
// z_i = h_{i-1} A_i, h_i = c f(z_i), the last layer linear. mode 0: y and the z; 1: gradients of <g, y>, and the gradients gh of the h;
// 2: gradients of <u, gradient of x>. Inputs and outputs that are absent are null.
extern "C" void tesseral_perceptron(const i64* p, const double* scale) {
  i64 mode = p[0], threads = p[1], rows = p[2], layers = p[3]; int kind = p[4];
  const i64* dims = (const i64*)p[5]; const real* const* w = (const real* const*)p[6]; real* const* gw = (real* const*)p[7];
  const real* x = (const real*)p[8]; real *z = (real*)p[9], *y = (real*)p[10]; const real* g = (const real*)p[11];
  real *gh = (real*)p[12], *gx = (real*)p[13]; const real* u = (const real*)p[14];
  real c = scale[layers]; i64 hidden = 0, widest = 0, weights = 0, in = dims[0], out = dims[layers];
  for (i64 i = 1; i < layers; i++) hidden += dims[i];
  for (i64 i = 0; i <= layers; i++) widest = dims[i] > widest && i < layers ? dims[i] : widest;
  for (i64 i = 0; i < layers; i++) weights += dims[i] * dims[i + 1];
  real* forward[64]; real* backward[64];
  for (i64 i = 0; i < layers; i++) {
    forward[i] = backward[i] = 0;
    if (mode != 1) { forward[i] = grab(dims[i] * up(dims[i + 1])); pack(w[i], dims[i + 1], 0, dims[i], dims[i + 1], forward[i]); }
    if (mode == 1 || (mode == 2 && i < layers - 1)) {
      backward[i] = grab(dims[i + 1] * up(dims[i])); pack(w[i], dims[i + 1], 1, dims[i + 1], dims[i], backward[i]);
    }
  }
  real* sums = gw ? grab(threads * weights) : 0;
  if (sums) memset(sums, 0, threads * weights * sizeof(real));
  i64 blocks = (rows + BLOCK - 1) / BLOCK;
  #pragma omp parallel num_threads(threads) if (threads > 1)
  {
    i64 me = omp_get_thread_num(), team = omp_get_num_threads(), size = BLOCK * (hidden + LANES);
    real* space = grab(6 * size + 2 * BLOCK * (widest + LANES) + BLOCK * PANEL);
    real *h = space, *d = h + size, *dd = d + size, *hd = dd + size, *zd = hd + size, *q = zd + size;
    real *t0 = q + size, *t1 = t0 + BLOCK * (widest + LANES), *spare = t1 + BLOCK * (widest + LANES);
    const real* a[BLOCK]; real* b[BLOCK];
    for (i64 block = blocks * me / team; block < blocks * (me + 1) / team; block++) {
      i64 first = block * BLOCK, n = rows - first < BLOCK ? rows - first : BLOCK, at = 0;
      const real* input = (mode == 2 ? u : x) + first * in;
      if (mode != 1) {  // forwards: the values, or with mode 2 their tangents in the direction u
        rows_of(input, in, n, a);
        for (i64 i = 1; i <= layers; i++) {
          i64 m = dims[i];
          real* result = i == layers ? y + first * out : mode == 0 ? z + first * hidden + at : zd + at;
          i64 ld = i == layers ? out : hidden;
          for (i64 r = 0; r < n; r++) b[r] = result + r * ld;
          product(n, a, forward[i - 1], dims[i - 1], m, b, scale[i - 1], 0);
          if (i == layers) break;
          for (i64 r = 0; r < n; r++) {
            const real* zr = z + (first + r) * hidden + at;
            for (i64 k = 0; k < m; k += LANES) {
              V f, f1, f2; i64 left = m - k, o = r * hidden + at + k;
              activation(kind, load_part(zr + k, left), f, f1, f2);
              if (mode == 0) store_part(h + o, c * f, left);
              else {
                store_part(h + o, c * f, left); store_part(d + o, c * f1, left); store_part(dd + o, c * f2, left);
                store_part(hd + o, c * f1 * load_part(zd + o, left), left);
              }
            }
          }
          rows_of((mode == 0 ? h : hd) + at, hidden, n, a);
          at += m;
        }
        if (mode == 0) continue;
      } else {
        for (i64 r = 0; r < n; r++)
          for (i64 k = 0; k < hidden; k += LANES) {
            V f, f1, f2; i64 left = hidden - k, o = r * hidden + k;
            activation(kind, load_part(z + (first + r) * hidden + k, left), f, f1, f2);
            store_part(h + o, c * f, left); store_part(d + o, c * f1, left);
          }
        at = hidden;
      }
      real* mine = sums + me * weights; i64 start = weights;
      const real* top = g + first * out; i64 ld = out;  // the gradient of z_i
      for (i64 i = layers; i >= 1; i--) {
        i64 m = dims[i], k = dims[i - 1], below = at - k;  // `at` is the column of layer i, `below` of layer i - 1
        start -= k * m;
        const real* values = i > 1 ? h + below : x + first * in; i64 ldv = i > 1 ? hidden : in;
        if (mode == 1) {
          if (sums) outer(values, ldv, k, top, ld, m, n, mine + start, m, scale[i - 1], spare);
          if (i == 1 && !gx) break;
          rows_of(top, ld, n, a);
          real* result = i > 1 ? gh + first * hidden + below : gx + first * in; i64 ldr = i > 1 ? hidden : in;
          for (i64 r = 0; r < n; r++) b[r] = result + r * ldr;
          product(n, a, backward[i - 1], m, k, b, scale[i - 1], 0);
          if (i == 1) break;
          real* next = (top == t0) ? t1 : t0;
          for (i64 r = 0; r < n; r++)
            for (i64 j = 0; j < k; j += LANES)
              store_part(next + r * k + j, load_part(result + r * ldr + j, k - j) * load_part(d + r * hidden + below + j, k - j), k - j);
          top = next; ld = k;
        } else {
          // q_i = gh_i f'' zd_i + p_i f', where p_i is what comes down from layer i + 1 by the values
          if (i < layers) {
            for (i64 r = 0; r < n; r++)
              for (i64 j = 0; j < m; j += LANES) {
                i64 left = m - j, o = r * hidden + at + j;
                V gr = load_part(gh + (first + r) * hidden + at + j, left), v = gr * load_part(dd + o, left) * load_part(zd + o, left);
                if (i < layers - 1) v += load_part(t1 + r * m + j, left) * load_part(d + o, left);
                store_part(q + o, v, left);
                store_part(t0 + r * m + j, gr * load_part(d + o, left), left);
              }
            if (sums) outer(values, ldv, k, q + at, hidden, m, n, mine + start, m, scale[i - 1], spare);
            top = t0; ld = m;
          }
          if (sums) outer(i > 1 ? hd + below : u + first * in, i > 1 ? hidden : in, k, top, ld, m, n, mine + start, m, scale[i - 1], spare);
          if (i < layers && (i > 1 || gx)) {
            rows_of(q + at, hidden, n, a);
            for (i64 r = 0; r < n; r++) b[r] = i > 1 ? t1 + r * k : gx + (first + r) * in;
            product(n, a, backward[i - 1], m, k, b, scale[i - 1], 0);
          } else if (i == 1 && gx) memset(gx + first * in, 0, n * in * sizeof(real));
        }
        at = below;
      }
    }
    free(space);
    #pragma omp barrier
    if (sums) {
      i64 start = 0;
      for (i64 i = 0; i < layers; i++) {
        i64 count = dims[i] * dims[i + 1];
        if (gw[i])
          for (i64 k = count * me / team; k < count * (me + 1) / team; k++) {
            real total = 0;
            for (i64 t = 0; t < team; t++) total += sums[t * weights + start + k];
            gw[i][k] = total;
          }
        start += count;
      }
    }
  }
  for (i64 i = 0; i < layers; i++) { free(forward[i]); free(backward[i]); }
  free(sums);
}
"""

_GATE = r"""
// Scalars s -> c f(s), gated x -> c f(t) x. table: scalars (in, out, width, kind), gates (in, number, kind), gated (in, stride, components,
// first gate, number, out). mode 0: y of x; 1: gradient of <g, y>; 2: with u the cotangent of that gradient: gradients of g and of x.
extern "C" void tesseral_gate(const i64* p, const double* scale) {
  i64 mode = p[0], threads = p[1], rows = p[2], in = p[3], out = p[4], scalars = p[5], gates = p[6], gated = p[7], number = p[8];
  const i64 *scalar = (const i64*)p[9], *gate = (const i64*)p[10], *piece = (const i64*)p[11];
  const real *x0 = (const real*)p[12], *g0 = (const real*)p[13], *u0 = (const real*)p[14]; real *y0 = (real*)p[15], *gx0 = (real*)p[16];
  #pragma omp parallel num_threads(threads) if (threads > 1)
  {
    i64 size = number + LANES;
    real *f = grab(5 * size), *d = f + size, *dd = d + size, *s1 = dd + size, *s2 = s1 + size;
    #pragma omp for schedule(static)
    for (i64 row = 0; row < rows; row++) {
      const real *x = x0 + row * in, *g = g0 + row * out, *u = u0 + row * in; real *y = y0 + row * out, *gx = gx0 + row * in;
      if (mode) memset(gx, 0, in * sizeof(real));
      for (i64 k = 0; k < scalars; k++) {
        const i64* t = scalar + 4 * k; real c = scale[k];
        for (i64 j = 0; j < t[2]; j += LANES) {
          V v, v1, v2; i64 left = t[2] - j, a = t[0] + j, b = t[1] + j;
          activation(t[3], load_part(x + a, left), v, v1, v2);
          if (mode == 0) store_part(y + b, c * v, left);
          else if (mode == 1) store_part(gx + a, c * v1 * load_part(g + b, left), left);
          else {
            V w = load_part(u + a, left);
            store_part(y + b, c * v1 * w, left); store_part(gx + a, c * v2 * w * load_part(g + b, left), left);
          }
        }
      }
      for (i64 k = 0, at = 0; k < gates; at += gate[3 * k + 1], k++) {
        const i64* t = gate + 3 * k; real c = scale[scalars + k];
        for (i64 j = 0; j < t[1]; j += LANES) {
          V v, v1, v2; i64 left = t[1] - j;
          activation(t[2], load_part(x + t[0] + j, left), v, v1, v2);
          store_part(f + at + j, c * v, left); store_part(d + at + j, c * v1, left); store_part(dd + at + j, c * v2, left);
        }
      }
      memset(s1, 0, 2 * size * sizeof(real));
      for (i64 k = 0; k < gated; k++) {
        const i64* t = piece + 6 * k; const real* F = f + t[3]; real *a1 = s1 + t[3], *a2 = s2 + t[3];
        for (i64 m = 0; m < t[2]; m++) {
          i64 a = t[0] + m * t[1], b = t[5] + m * t[4];
          if (mode == 0) for (i64 j = 0; j < t[4]; j++) y[b + j] = F[j] * x[a + j];
          else if (mode == 1) for (i64 j = 0; j < t[4]; j++) { gx[a + j] = F[j] * g[b + j]; a1[j] += g[b + j] * x[a + j]; }
          else for (i64 j = 0; j < t[4]; j++) { a1[j] += g[b + j] * x[a + j]; a2[j] += g[b + j] * u[a + j]; }
        }
      }
      if (mode == 1)
        for (i64 k = 0, at = 0; k < gates; at += gate[3 * k + 1], k++)
          for (i64 j = 0; j < gate[3 * k + 1]; j++) gx[gate[3 * k] + j] = d[at + j] * s1[at + j];
      if (mode == 2) {
        for (i64 k = 0, at = 0; k < gates; at += gate[3 * k + 1], k++)
          for (i64 j = 0; j < gate[3 * k + 1]; j++) {
            i64 o = gate[3 * k] + j; real ut = u[o];
            gx[o] = dd[at + j] * ut * s1[at + j] + d[at + j] * s2[at + j];
            s1[at + j] = d[at + j] * ut;  // from here on the tangent of the gate
          }
        for (i64 k = 0; k < gated; k++) {
          const i64* t = piece + 6 * k; const real *F = f + t[3], *T = s1 + t[3];
          for (i64 m = 0; m < t[2]; m++) {
            i64 a = t[0] + m * t[1], b = t[5] + m * t[4];
            for (i64 j = 0; j < t[4]; j++) { y[b + j] = T[j] * x[a + j] + F[j] * u[a + j]; gx[a + j] = T[j] * g[b + j]; }
          }
        }
      }
    }
    free(f);
  }
}
"""

_BESSEL = r"""
// R_n(r) = a sin(w_n r) / r times the polynomial cutoff of power q, with w_n = n pi / cutoff, for vectors of length r. mode 0: R; 1: gradient
// of <g, R> by the vectors; 2: with u the cotangent of that gradient, gradients of g and of the vectors. In double precision throughout.
extern "C" void tesseral_bessel(const i64* p, const double* constants) {
  i64 mode = p[0], threads = p[1], rows = p[2], number = p[3];
  const real *v0 = (const real*)p[4], *g0 = (const real*)p[5], *u0 = (const real*)p[6]; real *y0 = (real*)p[7], *gv0 = (real*)p[8];
  double cutoff = constants[0], a = constants[1], q = constants[2], pi = 3.14159265358979323846;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 row = 0; row < rows; row++) {
    const real *v = v0 + 3 * row, *g = g0 + row * number; real* y = y0 + row * number;
    double x[3] = {v[0], v[1], v[2]}, r = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]), t = r / cutoff;
    double inverse = r > 0 ? 1 / r : 0, along = 0, first = 0, second = 0, f = 0, f1 = 0, f2 = 0;
    if (t < 1) {
      double power = std::pow(t, q - 2), k = q * (q + 1) * (q + 2) / 2, left = 1 - t;
      f = 1 - power * t * t * ((q + 1) * (q + 2) / 2 - t * (q * (q + 2) - t * (q * (q + 1) / 2)));
      f1 = -k * power * t * left * left / cutoff;
      f2 = -k * power * left * ((q - 1) * left - 2 * t) / (cutoff * cutoff);
    }
    if (mode == 2) {
      const real* u = u0 + 3 * row;
      for (int k = 0; k < 3; k++) along += u[k] * x[k] * inverse;
    }
    double s1 = std::sin(pi * t), c1 = std::cos(pi * t), s = 0, c = 1;
    for (i64 n = 0; n < number; n++) {
      double w = (n + 1) * pi / cutoff, z = w * r, next = s * c1 + c * s1, b, b1, b2;
      c = c * c1 - s * s1; s = next;
      if (z < 0.3) {
        double h = z * z;
        b = a * w * (1 - h / 6 * (1 - h / 20 * (1 - h / 42 * (1 - h / 72))));
        b1 = -a * w * w * z / 3 * (1 - h / 10 * (1 - h / 28 * (1 - h / 54 * (1 - h / 88))));
        b2 = -a * w * w * w / 3 * (1 - 3 * h / 10 * (1 - 5 * h / 84 * (1 - 7 * h / 270 * (1 - 9 * h / 616))));
      } else {
        b = a * s * inverse;
        b1 = (a * w * c - b) * inverse;
        b2 = (-a * w * w * s - 2 * b1) * inverse;
      }
      if (mode == 0) { y[n] = b * f; continue; }
      double slope = b1 * f + b * f1;
      first += g[n] * slope;
      if (mode == 2) { second += g[n] * (b2 * f + 2 * b1 * f1 + b * f2); y[n] = along * slope; }
    }
    if (mode)
      for (int k = 0; k < 3; k++) {
        double unit = x[k] * inverse;
        if (mode == 1) gv0[3 * row + k] = first * unit;
        else gv0[3 * row + k] = r > 0 ? unit * along * second + first * (u0[3 * row + k] - along * unit) * inverse : u0[3 * row + k] * second;
      }
  }
}
"""
