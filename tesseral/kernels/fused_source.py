"""C++ of the operations around the multilinear programs: small matrix products, perceptrons, gates, radial functions.

One source for a scalar type and a vector unit. Every operation has its value, its gradient and the gradient of its gradient in one
pass over blocks of rows that stay in the cache.
"""

from __future__ import annotations

from tesseral.kernels import perceptron_source, product_source
from tesseral.kernels.cpu_source import Target
from tesseral.kernels.vector_source import activations, vectors


def emit(real: str, target: Target) -> str:
    """The source for ``real`` = "float" or "double"."""
    products = product_source.emit(target)
    return "\n".join([vectors(real, target), activations(real), products, perceptron_source.SOURCE, _GATE, _BESSEL])


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
