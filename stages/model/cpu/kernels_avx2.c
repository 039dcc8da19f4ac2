/* AVX2 + FMA level of the CPU kernels: 4 rows × 3 vectors of 8 fill 12 of the 16 registers with sums. */
#include "stages/model/cpu/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define VL 8
#define TILE_ROWS 4
#define LEVEL kernels_avx2
#define LEVEL_NAME "avx2"
typedef __m256 vf;
typedef int vi __attribute__((vector_size(32)));

/* The first n lanes set. */
static inline __m256i lanes_below(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#define LOAD(p) _mm256_loadu_ps(p)
#define LOADN(p, n) _mm256_maskload_ps(p, lanes_below(n))
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define STOREN(p, v, n) _mm256_maskstore_ps(p, lanes_below(n), v)
#define SET1(x) _mm256_set1_ps(x)
#define ZERO() _mm256_setzero_ps()
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MAXV(a, b) _mm256_max_ps(a, b)
#define SQRTV(a) _mm256_sqrt_ps(a)
#define DIVV(a, b) _mm256_div_ps(a, b)
#define GT0(y, g) _mm256_and_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_GT_OQ), g)

#include "stages/model/cpu/kernels_template.h"
#else
typedef int kernels_avx2_absent; /* not on this architecture */
#endif
