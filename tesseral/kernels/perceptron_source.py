"""C++ of perceptrons: their value, gradient, and the gradient of that, in passes over blocks of rows that stay in the cache."""

SOURCE = r"""
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
          if (sums) outer(values, ldv, 0, k, top, ld, 0, m, n, 1, mine + start, m, scale[i - 1], spare);
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
            if (sums) outer(values, ldv, 0, k, q + at, hidden, 0, m, n, 1, mine + start, m, scale[i - 1], spare);
            top = t0; ld = m;
          }
          if (sums) outer(i > 1 ? hd + below : u + first * in, i > 1 ? hidden : in, 0, k, top, ld, 0, m, n, 1, mine + start, m, scale[i - 1], spare);
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
