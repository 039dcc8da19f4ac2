/* AVX-512 level of the CPU kernels: 8 rows × 3 vectors of 16 fill 24 of the 32 registers with sums. */
#include "stages/model/cpu/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define VL 16
#define TILE_ROWS 8
#define LEVEL kernels_avx512
#define LEVEL_NAME "avx512"
typedef __m512 vf;
typedef int vi __attribute__((vector_size(64)));
#define LOAD(p) _mm512_loadu_ps(p)
#define LOADN(p, n) _mm512_maskz_loadu_ps((__mmask16)((1U << (n)) - 1), p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define STOREN(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1U << (n)) - 1), v)
#define SET1(x) _mm512_set1_ps(x)
#define ZERO() _mm512_setzero_ps()
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define MAXV(a, b) _mm512_max_ps(a, b)
#define SQRTV(a) _mm512_sqrt_ps(a)
#define DIVV(a, b) _mm512_div_ps(a, b)
#define GT0(y, g) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GT_OQ), g)

#include "stages/model/cpu/kernels_template.h"
#else
typedef int kernels_avx512_absent; /* not on this architecture */
#endif
