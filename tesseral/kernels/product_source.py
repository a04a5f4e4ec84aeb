"""C++ of matrix products by blocks, the same matrices for all rows of a group.

Products go by register tiles, some rows by 1, 2 or 4 vectors of columns, whose right factor is packed into panels of columns; rows are reached
by pointers, so that they may lie anywhere. Nothing is atomic: results are bit-identical at the same number of threads.
"""

from __future__ import annotations

from tesseral.kernels.cpu_source import Target


def emit(target: Target) -> str:
    """The source of ``tesseral_linear``, ``tesseral_outer`` and what they are made of; vectors come before it."""
    # vectors of a panel: rows of its tiles, so that accumulators and operands fill the vector registers
    wide = {4: (1, 2, 3, 4, 5, 6), 2: (1, 2, 3, 4, 6, 8, 12), 1: (1, 2, 3, 4, 6, 8, 12, 16)}
    tiles = wide if target.vector_bytes == 64 else {2: (1, 2, 3, 4, 5, 6), 1: (1, 2, 3, 4, 6, 8, 12)}
    parts = [_PANELS.replace("@WIDEST@", str(max(tiles))).replace("@MOST@", str(max(map(max, tiles.values()))))]
    for width, heights in tiles.items():
        parts += [_tile(rows, width) for rows in heights]
        fitting = [max(h for h in heights if h <= rows) for rows in range(1, max(heights) + 1)]
        entries = ", ".join(f"{{tile{rows}_{width}, {rows}}}" for rows in fitting)
        parts.append(f"static const Tile tiles_{width}[] = {{{entries}}};")
    choice = "".join(f"w == {v} * LANES ? TILE_OF({v}, {max(h)}) : " for v, h in tiles.items() if v > 1)
    choice += f"TILE_OF(1, {max(tiles[1])})"
    return "\n".join([*parts, _PRODUCTS.replace("@CHOSEN@", choice), _LINEAR])


_PANELS = r"""
#define PANEL (@WIDEST@ * LANES)
#define BLOCK 48
#define AT_ONCE 12
#define MOST_ROWS @MOST@
#define TILE_ARGUMENTS const real* const* a, i64 step, i64 jump_a, const real* b, i64 ldb, i64 jump_b, i64 depth, i64 repeats, real* const* c, \
  i64 at, i64 width, real alpha, int add
struct Tile { void (*run)(TILE_ARGUMENTS); i64 rows; };
#define TILE_OF(v, most) tiles_##v[(rows < most ? rows : most) - 1]
static inline i64 up(i64 n) { return (n + LANES - 1) / LANES * LANES; }
// the width of the next panel of that many columns: 4, 2 or 1 vectors, or 2 or 1
static inline i64 panel(i64 left) { return left > PANEL - LANES ? PANEL : left > LANES ? PANEL / 2 : LANES; }
"""


def _tile(rows: int, vectors: int) -> str:
    lines = [f"static void tile{rows}_{vectors}(TILE_ARGUMENTS) {{"]
    lines += [f"  const real* a{r} = a[{r}];" for r in range(rows)]
    lines += ["  V " + ", ".join(f"c{r}{v} = splat(0)" for v in range(vectors)) + ";" for r in range(rows)]
    lines.append("  for (; repeats > 0; repeats--) {")
    lines.append("    const real* q = b; b += jump_b;")
    lines.append("    for (i64 k = 0; k < depth; k++, q += ldb) {")
    lines.append("      V " + ", ".join(f"b{v} = load(q + {v} * LANES)" for v in range(vectors)) + ", s;")
    for r in range(rows):
        lines.append(f"      s = splat(a{r}[k * step]); " + " ".join(f"c{r}{v} += s * b{v};" for v in range(vectors)))
    lines.append("    }")
    lines.append("    " + " ".join(f"a{r} += jump_a;" for r in range(rows)))
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
// the highest tile for that many rows and a panel of w columns
static inline Tile tile_of(i64 w, i64 rows) { return @CHOSEN@; }
// c[r][j..] = alpha a[r] b (+ c[r][j..]) for one panel b of w columns, of which `width` count, summed over repetitions
static inline void tiles(i64 rows, const real* const* a, i64 step, i64 jump_a, const real* b, i64 ldb, i64 jump_b, i64 depth, i64 repeats,
                         real* const* c, i64 j, i64 w, i64 width, real alpha, int add) {
  for (i64 r = 0; r < rows;) {
    const Tile tile = tile_of(w, rows - r);
    tile.run(a + r, step, jump_a, b, ldb, jump_b, depth, repeats, c + r, j, width < w ? width : w, alpha, add);
    r += tile.rows;
  }
}
// c[r] = alpha a[r] b (+ c[r]) for packed b; a and c are pointers to rows
static void product(i64 rows, const real* const* a, const real* b, i64 depth, i64 width, real* const* c, real alpha, int add) {
  for (i64 j = 0, w; j < width; j += w, b += depth * w) {
    w = panel(width - j);
    tiles(rows, a, 1, 0, b, w, 0, depth, 1, c, j, w, width - j, alpha, add);
  }
}
// c (n, width; rows of length ldc) += alpha a^T b for blocks a (repeats, depth, n), b (repeats, depth, width) that lie jump_a and jump_b
// apart; spare holds repeats * depth * PANEL numbers
static void outer(const real* a, i64 lda, i64 jump_a, i64 n, const real* b, i64 ldb, i64 jump_b, i64 width, i64 depth, i64 repeats, real* c,
                  i64 ldc, real alpha, real* spare) {
  const real* pa[MOST_ROWS]; real* pc[MOST_ROWS];
  for (i64 j = 0, w; j < width; j += w) {
    w = panel(width - j);
    const real* from = b + j; i64 ld = ldb, jump = jump_b;
    if (width - j < w) {  // beyond the last columns there may be no memory
      for (i64 m = 0; m < repeats; m++)
        for (i64 k = 0; k < depth; k++)
          for (i64 i = 0; i < w; i++) spare[(m * depth + k) * w + i] = i < width - j ? from[m * jump_b + k * ldb + i] : 0;
      from = spare; ld = w; jump = depth * w;
    }
    for (i64 r = 0; r < n; r += MOST_ROWS) {
      i64 m = n - r < MOST_ROWS ? n - r : MOST_ROWS;
      for (i64 i = 0; i < m; i++) { pa[i] = a + r + i; pc[i] = c + (r + i) * ldc; }
      tiles(m, pa, lda, jump_a, from, ld, jump, depth, repeats, pc, j, w, width - j, alpha, 1);
    }
  }
}
// asks for pieces of the rows that come next, which the processor does not foresee
static inline void ahead(const real* p, i64 n) { for (i64 k = 0; k < n; k += 64 / (i64)sizeof(real)) __builtin_prefetch(p + k); }
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
    chunks += (pointers[s + 1] - pointers[s] + AT_ONCE - 1) / AT_ONCE;
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
    while (before + (here = (pointers[s + 1] - pointers[s] + AT_ONCE - 1) / AT_ONCE) <= chunk) before += here, s++;
    i64 first = pointers[s] + (chunk - before) * AT_ONCE, n = pointers[s + 1] - first < AT_ONCE ? pointers[s + 1] - first : AT_ONCE;
    const real* from[AT_ONCE]; real* to[AT_ONCE]; const real* a[AT_ONCE]; real* c[AT_ONCE]; i64 soon_x[AT_ONCE], soon_y[AT_ONCE];
    for (i64 r = 0; r < n; r++) {
      i64 at = first + r, row = order ? order[at] : at, later = at + n < pointers[s + 1] ? (order ? order[at + n] : at + n) : row;
      from[r] = x + row * ldx; to[r] = y + row * ldy; soon_x[r] = (later - row) * ldx; soon_y[r] = (later - row) * ldy;
      for (i64 z = 0; z < zeros; z++) memset(to[r] + zero[2 * z], 0, zero[2 * z + 1] * sizeof(real));
    }
    const real* b = panels + s * packed;
    for (i64 k = 0; k < paths; k++) {
      const i64* t = table + 7 * k;
      for (i64 m = 0; m < t[4]; m++) {
        for (i64 r = 0; r < n; r++) {
          a[r] = from[r] + t[0] + m * t[1]; c[r] = to[r] + t[2] + m * t[3];
          ahead(a[r] + soon_x[r], t[1]); ahead(c[r] + soon_y[r], t[3]);
        }
        product(n, a, b, t[1], t[3], c, coefficient[k], t[6]);
      }
      b += t[1] * up(t[3]);
    }
  }
  free(panels);
}
// W = x^T y summed over the rows of each group, by blocks; a thread has some of the matrices, and goes over the rows once
extern "C" void tesseral_outer(const i64* p, const double* coefficient) {
  i64 threads = p[0], groups = p[1], ldx = p[3], ldw = p[4], ldy = p[5], paths = p[6], widths[2] = {0, 0}, components = 1;
  const i64 *order = (const i64*)p[8], *pointers = (const i64*)p[9], *table = (const i64*)p[10];
  const real *x = (const real*)p[12], *y = (const real*)p[14]; real* w = (real*)p[13];
  for (i64 k = 0; k < paths; k++) {
    const i64* t = table + 7 * k;
    for (int side = 0; side < 2; side++) {
      i64 end = t[2 * side] + t[2 * side + 1] * t[4];
      widths[side] = end > widths[side] ? end : widths[side];
    }
    components = t[4] > components ? t[4] : components;
  }
  #pragma omp parallel num_threads(threads) if (threads > 1)
  {
    i64 me = omp_get_thread_num(), team = omp_get_num_threads(), begin = groups * paths * me / team, end = groups * paths * (me + 1) / team;
    real *spare = grab(AT_ONCE * (components * PANEL + (order ? widths[0] + widths[1] : 0))), *kept = spare + AT_ONCE * components * PANEL;
    for (i64 s = begin / (paths ? paths : 1); s * paths < end; s++) {
      i64 k0 = begin > s * paths ? begin - s * paths : 0, k1 = end < (s + 1) * paths ? end - s * paths : paths;
      for (i64 k = k0; k < k1; k++) memset(w + s * ldw + table[7 * k + 5], 0, table[7 * k + 1] * table[7 * k + 3] * sizeof(real));
      for (i64 first = pointers[s]; first < pointers[s + 1]; first += AT_ONCE) {
        i64 n = pointers[s + 1] - first < AT_ONCE ? pointers[s + 1] - first : AT_ONCE, lda = ldx, ldb = ldy;
        const real *left = x + first * ldx, *right = y + first * ldy;
        if (order) {
          real *a = kept, *b = kept + AT_ONCE * (lda = widths[0]); ldb = widths[1];
          for (i64 r = 0; r < n; r++) {
            memcpy(a + r * lda, x + order[first + r] * ldx, lda * sizeof(real));
            memcpy(b + r * ldb, y + order[first + r] * ldy, ldb * sizeof(real));
          }
          left = a; right = b;
        }
        for (i64 k = k0; k < k1; k++) {
          const i64* t = table + 7 * k;
          if (!order && first + 2 * n <= pointers[s + 1])
            for (i64 r = n; r < 2 * n; r++) { ahead(left + r * lda + t[0], t[1] * t[4]); ahead(right + r * ldb + t[2], t[3] * t[4]); }
          outer(left + t[0], lda, t[1], t[1], right + t[2], ldb, t[3], t[3], n, t[4], w + s * ldw + t[5], t[3], coefficient[k], spare);
        }
      }
    }
    free(spare);
  }
}
"""
