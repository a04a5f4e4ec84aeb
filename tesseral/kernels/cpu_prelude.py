"""The head of the generated C++: vectors, how they are loaded, stored and added, whole or in part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What the generated code may use: the vector width in bytes and masked loads and stores."""

    vector_bytes: int
    masked: bool


def prelude(scalar: str, target: Target) -> str:
    """Types ``T`` ("float" or "double") and ``V`` (a vector of ``W`` of them), and functions of the first ``N`` lanes."""
    single, size = scalar == "float", 4 if scalar == "float" else 8
    load = store = stream = ""
    if target.masked:
        suffix = "ps" if single else "pd"
        mask, zero = "(mask_t)((1u << N) - 1)", "(V){}"
        load = f"  if (N < W) return (V)__builtin_ia32_loadu{suffix}512_mask((const T*)p, {zero}, {mask});\n"
        store = f"  if (N < W) {{ __builtin_ia32_storeu{suffix}512_mask(p, v, {mask}); return; }}\n"
    if target.vector_bytes == 64:
        stream = f"  if (N == W && stream) {{ __builtin_ia32_movnt{'ps' if single else 'pd'}512(p, v); return; }}\n"
    return _PRELUDE.format(
        scalar=scalar,
        width=target.vector_bytes // size,
        vector_bytes=target.vector_bytes,
        mask="unsigned short" if single else "unsigned char",
        load_masked=load,
        store_masked=store,
        stream=stream,
    )


_PRELUDE = """\
typedef long long i64;
typedef {scalar} T;
enum {{ W = {width} }};
typedef T V __attribute__((vector_size({vector_bytes})));
typedef T X __attribute__((vector_size({vector_bytes}), aligned(sizeof(T)), may_alias));
#if defined(__AVX512F__)
typedef {mask} mask_t;
#endif
template <int N> static inline V load(const T* p) {{
{load_masked}  return *(const X*)p;
}}
template <int N> static inline void store(T* p, V v) {{
{store_masked}  *(X*)p = v;
}}
template <int N> static inline void add(T* p, V v) {{ store<N>(p, load<N>(p) + v); }}
template <int N> static inline void put(T* p, V v, bool stream) {{
{stream}  store<N>(p, v);
}}
static inline i64 lower_bound(const i64* p, i64 n, i64 value) {{
  i64 low = 0;
  while (n > 0) {{ i64 half = n / 2; if (p[low + half] < value) {{ low += half + 1; n -= half + 1; }} else n = half; }}
  return low;
}}
#define ALIGNED __attribute__((aligned({vector_bytes})))
#define INLINE static inline __attribute__((always_inline))
"""
