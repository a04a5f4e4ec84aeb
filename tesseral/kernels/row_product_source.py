"""C++ of matrix products by blocks where each row has matrices of its own: they are most of the bytes, and pass through once."""

from __future__ import annotations

from tesseral.kernels.cpu_source import Target
from tesseral.kernels.vector_source import vectors

_COMPONENTS = 5  # whose sums are in registers at a time


def emit(real: str, target: Target) -> str:
    """The source of ``tesseral_row_linear`` and ``tesseral_row_outer`` for ``real`` = "float" or "double"."""
    lanes = target.vector_bytes // (4 if real == "float" else 8)
    streaming = f"__builtin_ia32_movnt{'ps' if real == 'float' else 'pd'}512(p, v)" if target.masked else "store(p, v)"
    cases = {
        name: " ".join(f"case {c}: {name}<{c}>({arguments}); break;" for c in range(1, _COMPONENTS + 1))
        for name, arguments in (("ahead", _LINEAR_ARGUMENTS), ("back", _LINEAR_ARGUMENTS), ("outer", _OUTER_ARGUMENTS))
    }
    text = _SOURCE.replace("@TRANSPOSE@", _transpose(lanes)).replace("@STREAM@", streaming)
    for name, lines in cases.items():
        text = text.replace(f"@{name}@", lines)
    return "\n".join([vectors(real, target, COMPONENTS=_COMPONENTS), text])


_LINEAR_ARGUMENTS = "x + t[0] + m * t[1], t[1], w + t[5], t[3], y + t[2] + m * t[3], coefficient[k], add, end"
_OUTER_ARGUMENTS = "x + t[0] + m * t[1], t[1], y + t[2] + m * t[3], t[3], w + t[5], coefficient[k], m > 0, through"


def _transpose(lanes: int) -> str:
    """Vectors r0, r1, ... become the columns of the matrix they are the rows of: halves change places, then quarters, ..."""
    lines, names, step, fresh = [], [f"r[{i}]" for i in range(lanes)], lanes // 2, 0
    while step:
        low = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
        high = [lane + step if not lane & step else lanes + lane for lane in range(lanes)]
        for i in range(lanes):
            if i & step:
                continue
            a, b = names[i], names[i + step]
            for at, chosen in ((i, low), (i + step, high)):
                lines.append(f"const V s{fresh} = __builtin_shufflevector({a}, {b}, {', '.join(map(str, chosen))});")
                names[at] = f"s{fresh}"
                fresh += 1
        step //= 2
    return "\n  ".join(lines + [f"r[{i}] = {name};" for i, name in enumerate(names)])


_SOURCE = r"""
#define EACH _Pragma("GCC unroll 16") for  // arrays of vectors are registers only where their loops are unrolled
static inline void transpose(V* r) {
  @TRANSPOSE@
}
static inline V load_before(const real* p, i64 n, const real* end) { return p + LANES <= end ? load(p) : load_part(p, n); }
static inline void put(real* p, V v, i64 n, int add) { store_part(p, add ? load_part(p, n) + v : v, n); }

// y[c] = alpha x[c] w (+ y[c]) for C components x[c] of length n, w (n, m); nothing is read from `end` on
template <int C> static void ahead(const real* x, i64 n, const real* w, i64 m, real* y, real alpha, int add, const real* end) {
  i64 j = 0;
  for (; j + 2 * LANES <= m; j += 2 * LANES) {
    V a[C], b[C];
    EACH (int c = 0; c < C; c++) a[c] = b[c] = splat(0);
    for (i64 k = 0; k < n; k++) {
      const V u = load(w + k * m + j), v = load(w + k * m + j + LANES);
      EACH (int c = 0; c < C; c++) { a[c] += splat(x[c * n + k]) * u; b[c] += splat(x[c * n + k]) * v; }
    }
    EACH (int c = 0; c < C; c++) { put(y + c * m + j, alpha * a[c], LANES, add); put(y + c * m + j + LANES, alpha * b[c], LANES, add); }
  }
  for (; j < m; j += LANES) {
    V a[C];
    EACH (int c = 0; c < C; c++) a[c] = splat(0);
    for (i64 k = 0; k < n; k++) {
      const V u = load_before(w + k * m + j, m - j, end);
      EACH (int c = 0; c < C; c++) a[c] += splat(x[c * n + k]) * u;
    }
    EACH (int c = 0; c < C; c++) put(y + c * m + j, alpha * a[c], m - j, add);
  }
}

// the same for w stored (m, n): vectors of it are along n, and are turned
template <int C> static void back(const real* x, i64 n, const real* w, i64 m, real* y, real alpha, int add, const real* end) {
  for (i64 j = 0; j < m; j += LANES) {
    V a[C], r[LANES];
    EACH (int c = 0; c < C; c++) a[c] = splat(0);
    for (i64 k = 0; k < n; k += LANES) {
      const i64 depth = n - k < LANES ? n - k : LANES;
      EACH (int i = 0; i < LANES; i++) r[i] = load_before(w + (j + i < m ? j + i : m - 1) * n + k, depth, end);
      transpose(r);
      if (depth == LANES) {
        EACH (int i = 0; i < LANES; i++) EACH (int c = 0; c < C; c++) a[c] += splat(x[c * n + k + i]) * r[i];
      } else {
        for (int i = 0; i < depth; i++) EACH (int c = 0; c < C; c++) a[c] += splat(x[c * n + k + i]) * r[i];
      }
    }
    EACH (int c = 0; c < C; c++) put(y + c * m + j, alpha * a[c], m - j, add);
  }
}

// w (n, m) = alpha sum_c x[c]^T y[c] (+ w); `through` writes past the caches
template <int C> static void outer(const real* x, i64 n, const real* y, i64 m, real* w, real alpha, int add, int through) {
  for (i64 j = 0; j < m; j += LANES) {
    V g[C];
    const i64 width = m - j;
    EACH (int c = 0; c < C; c++) g[c] = alpha * load_part(y + c * m + j, width);
    for (i64 k = 0; k < n; k++) {
      real* p = w + k * m + j;
      V v = splat(x[k]) * g[0];
      EACH (int c = 1; c < C; c++) v += splat(x[c * n + k]) * g[c];
      if (add) put(p, v, width, 1);
      else if (through) @STREAM@;
      else store_part(p, v, width);
    }
  }
}

// y = x W by blocks: paths (a, n, b, m, components, start, add) from column a to column b; row r has the weights w[r]
extern "C" void tesseral_row_linear(const i64* p, const double* coefficient) {
  i64 threads = p[0], rows = p[1], transposed = p[2], ldx = p[3], ldw = p[4], ldy = p[5], paths = p[6], zeros = p[7];
  const i64 *table = (const i64*)p[8], *zero = (const i64*)p[9];
  const real *x0 = (const real*)p[10], *w0 = (const real*)p[11]; real* y0 = (real*)p[12];
  const real* end = w0 + rows * ldw;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 row = 0; row < rows; row++) {
    const real *x = x0 + row * ldx, *w = w0 + row * ldw; real* y = y0 + row * ldy;
    for (i64 z = 0; z < zeros; z++) memset(y + zero[2 * z], 0, zero[2 * z + 1] * sizeof(real));
    for (i64 k = 0; k < paths; k++) {
      const i64* t = table + 7 * k; const int add = t[6];
      for (i64 m = 0; m < t[4]; m += COMPONENTS)
        if (transposed) switch (t[4] - m < COMPONENTS ? t[4] - m : COMPONENTS) { @back@ }
        else switch (t[4] - m < COMPONENTS ? t[4] - m : COMPONENTS) { @ahead@ }
    }
  }
}

// w[r] = x[r]^T y[r] by the same blocks
extern "C" void tesseral_row_outer(const i64* p, const double* coefficient) {
  i64 threads = p[0], rows = p[1], stream = p[2], ldx = p[3], ldw = p[4], ldy = p[5], paths = p[6];
  const i64* table = (const i64*)p[8];
  const real *x0 = (const real*)p[10], *y0 = (const real*)p[12]; real* w0 = (real*)p[11];
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (i64 row = 0; row < rows; row++) {
    const real *x = x0 + row * ldx, *y = y0 + row * ldy; real* w = w0 + row * ldw;
    for (i64 k = 0; k < paths; k++) {
      const i64* t = table + 7 * k;
      const int through = stream && t[4] <= COMPONENTS && t[3] % LANES == 0 && (i64)(w + t[5]) % (LANES * sizeof(real)) == 0;
      for (i64 m = 0; m < t[4]; m += COMPONENTS)
        switch (t[4] - m < COMPONENTS ? t[4] - m : COMPONENTS) { @outer@ }
    }
  }
}
"""
