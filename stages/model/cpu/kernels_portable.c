/* Portable level of the CPU kernels: GCC's vector types of 16 bytes, which every architecture has or emulates. Multiply
 * and add round apart (a fused one would be a library call where the CPU lacks it). */
#include "stages/model/cpu/kernels.h"

#include <math.h>
#include <string.h>

#define VL 4
#define TILE_ROWS 4
#define LEVEL kernels_portable
#define LEVEL_NAME "portable"
typedef float vf __attribute__((vector_size(16)));
typedef int vi __attribute__((vector_size(16)));

static inline vf load_n(const float *p, size_t n)
{
    vf v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}
static inline void store_n(float *p, vf v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}
static inline vf select_v(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
static inline vf sqrt_v(vf a)
{
    return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
}
#define LOAD(p) load_n(p, 4)
#define LOADN(p, n) load_n(p, n)
#define STORE(p, v) store_n(p, v, 4)
#define STOREN(p, v, n) store_n(p, v, n)
#define SET1(x) ((vf){x, x, x, x})
#define ZERO() ((vf){0})
#define FMA(a, b, c) ((a) * (b) + (c))
#define MAXV(a, b) select_v((vi)((a) > (b)), a, b)
#define SQRTV(a) sqrt_v(a)
#define DIVV(a, b) ((a) / (b))
#define GT0(y, g) select_v((vi)((y) > ZERO()), g, ZERO())

#include "stages/model/cpu/kernels_template.h"
