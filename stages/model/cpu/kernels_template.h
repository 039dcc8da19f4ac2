/* The loops of kernels.h, written on a few vector operations that the including file defines for its level:
 *
 *   VL, vf, LOAD LOADN STORE STOREN SET1 ZERO FMA MAXV SQRTV DIVV GT0 (y > 0 ? g : 0), vi, TILE_ROWS, LEVEL (symbol), LEVEL_NAME
 *
 * LOADN/STOREN move the first n < VL elements and zero or keep the rest. Included once per translation unit; not a header. */

#define NV_MAX 3
#define SUMS (KERNEL_LANES / VL)
#define INLINE static inline __attribute__((always_inline))

/* --- matrix product ----------------------------------------------------------------------------- */

/* All accumulators live in registers: `nv`, `transposed` and the loop bounds are constants after inlining. */
INLINE void tile_any(size_t k, const float *a, size_t rs, const float *b, float *c, size_t ldc, size_t rows,
                     const int nv, const float *bias, bool accumulate, const bool transposed)
{
    vf acc[TILE_ROWS][NV_MAX];
    if (accumulate) {
        for (int i = 0; i < TILE_ROWS; i++)
            for (int j = 0; j < nv; j++)
                acc[i][j] = (size_t)i < rows ? LOAD(c + (size_t)i * ldc + j * VL) : ZERO();
    } else {
        for (int j = 0; j < nv; j++) {
            vf start = bias ? LOAD(bias + j * VL) : ZERO();
            for (int i = 0; i < TILE_ROWS; i++)
                acc[i][j] = start;
        }
    }
    const size_t step_k = transposed ? rs : 1, step_i = transposed ? 1 : rs;
    for (size_t p = 0; p < k; p++) {
        vf bv[NV_MAX];
        for (int j = 0; j < nv; j++)
            bv[j] = LOAD(b + j * VL);
        for (int i = 0; i < TILE_ROWS; i++) {
            vf av = SET1(a[(size_t)i * step_i]);
            for (int j = 0; j < nv; j++)
                acc[i][j] = FMA(av, bv[j], acc[i][j]);
        }
        a += step_k;
        b += nv * VL;
    }
    for (int i = 0; i < TILE_ROWS; i++)
        if ((size_t)i < rows)
            for (int j = 0; j < nv; j++)
                STORE(c + (size_t)i * ldc + j * VL, acc[i][j]);
}

#define TILE(name, transposed)                                                                               \
    static void name(size_t k, const float *a, size_t rs, const float *b, float *c, size_t ldc, size_t rows, \
                     size_t vecs, const float *bias, bool accumulate)                                        \
    {                                                                                                        \
        if (vecs == 3)                                                                                       \
            tile_any(k, a, rs, b, c, ldc, rows, 3, bias, accumulate, transposed);                            \
        else if (vecs == 2)                                                                                  \
            tile_any(k, a, rs, b, c, ldc, rows, 2, bias, accumulate, transposed);                            \
        else                                                                                                 \
            tile_any(k, a, rs, b, c, ldc, rows, 1, bias, accumulate, transposed);                            \
    }
TILE(tile_n, false)
TILE(tile_t, true)

/* --- element by element ------------------------------------------------------------------------- */

static void relu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VL)
        STORE(x + i, MAXV(LOAD(x + i), ZERO()));
}

static void relu_backward(float *g, const float *y, float scale, size_t n)
{
    vf s = SET1(scale);
    for (size_t i = 0; i < n; i += VL)
        STORE(g + i, GT0(LOAD(y + i), LOAD(g + i) * s));
}

static void cross(float *out, const float *x0, const float *u, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VL)
        STORE(out + i, FMA(LOAD(x0 + i), LOAD(u + i), LOAD(x + i)));
}

static void cross_backward(float *du, float *dx0, const float *g, const float *x0, const float *u, size_t n)
{
    for (size_t i = 0; i < n; i += VL) {
        vf gv = LOAD(g + i);
        STORE(dx0 + i, FMA(gv, LOAD(u + i), LOAD(dx0 + i)));
        STORE(du + i, gv * LOAD(x0 + i));
    }
}

static void add(float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += VL)
        STORE(a + i, LOAD(a + i) + LOAD(b + i));
}

static void scale_by(float *a, float s, size_t n)
{
    vf sv = SET1(s);
    for (size_t i = 0; i < n; i += VL)
        STORE(a + i, LOAD(a + i) * sv);
}

/* --- vectors and matrices ------------------------------------------------------------------------ */

/* 16 partial sums to one, always by the same tree. */
INLINE float sum_lanes(const vf *acc)
{
    float t[KERNEL_LANES] __attribute__((aligned(64)));
    for (int s = 0; s < SUMS; s++)
        STORE(t + s * VL, acc[s]);
    for (int half = KERNEL_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            t[i] += t[i + half];
    return t[0];
}

static void matvec(float *z, const float *x, size_t ld, const float *w, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, x += ld) {
        vf acc[SUMS];
        for (int s = 0; s < SUMS; s++)
            acc[s] = ZERO();
        for (size_t i = 0; i < n; i += KERNEL_LANES)
            for (int s = 0; s < SUMS; s++)
                acc[s] = FMA(LOAD(x + i + s * VL), LOAD(w + i + s * VL), acc[s]);
        z[r] += sum_lanes(acc);
    }
}

/* `blocks` groups of 16 columns at once: independent chains hide the latency of the multiply-add. */
INLINE void vecmat_blocks(float *dw, const float *x, size_t ld, const float *dz, size_t rows,
                          const int blocks)
{
    vf acc[4 * SUMS];
    for (int s = 0; s < blocks * SUMS; s++)
        acc[s] = LOAD(dw + s * VL);
    for (size_t r = 0; r < rows; r++, x += ld) {
        vf d = SET1(dz ? dz[r] : 1.0F);
        for (int s = 0; s < blocks * SUMS; s++)
            acc[s] = FMA(d, LOAD(x + s * VL), acc[s]);
    }
    for (int s = 0; s < blocks * SUMS; s++)
        STORE(dw + s * VL, acc[s]);
}

static void vecmat(float *dw, const float *x, size_t ld, const float *dz, size_t rows, size_t n)
{
    size_t i = 0;
    for (; i + 4 * KERNEL_LANES <= n; i += 4 * KERNEL_LANES)
        vecmat_blocks(dw + i, x + i, ld, dz, rows, 4);
    for (; i < n; i += KERNEL_LANES)
        vecmat_blocks(dw + i, x + i, ld, dz, rows, 1);
}

static void outer(float *dx, size_t ld, const float *dz, const float *w, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, dx += ld) {
        vf d = SET1(dz[r]);
        for (size_t i = 0; i < n; i += VL)
            STORE(dx + i, d * LOAD(w + i));
    }
}

static void copy(float *dst, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        STORE(dst + i, LOAD(src + i));
    if (i < n)
        STOREN(dst + i, LOADN(src + i, n - i), n - i);
}

static void accumulate_row(float *dst, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        STORE(dst + i, LOAD(dst + i) + LOAD(src + i));
    if (i < n)
        STOREN(dst + i, LOADN(dst + i, n - i) + LOADN(src + i, n - i), n - i);
}

/* --- exponential and loss ------------------------------------------------------------------------ */

/* e^x to about 1 ulp: x = n·ln 2 + r, polynomial of S. Moshier's Cephes (expf) in r, exponent put together from n. */
INLINE vf exp_v(vf x)
{
    const vf top = SET1(88.0F), bottom = SET1(-87.0F);
    x = -MAXV(-x, -top);
    x = MAXV(x, bottom);
    const vf magic = SET1(12582912.0F); /* 1.5·2²³: adding it rounds to an integer */
    vf t = FMA(x, SET1(1.44269504088896341F), magic);
    vf n = t - magic;
    vf r = FMA(n, SET1(-0.693359375F), x);
    r = FMA(n, SET1(2.12194440e-4F), r);
    vf p = SET1(1.9875691500e-4F);
    p = FMA(p, r, SET1(1.3981999507e-3F));
    p = FMA(p, r, SET1(8.3334519073e-3F));
    p = FMA(p, r, SET1(4.1665795894e-2F));
    p = FMA(p, r, SET1(1.6666665459e-1F));
    p = FMA(p, r, SET1(5.0000001201e-1F));
    p = FMA(p, r * r, r) + SET1(1.0F);
    vi bits =
        ((vi)t << 23) + (vi)SET1(1.0F); /* the low bits of t hold n; what is above them is shifted out */
    return p * (vf)bits;
}

/* ln(1 + e) for e in [0, 1]: Cephes' logf polynomial around 1; beyond √2 the argument is halved. */
INLINE vf log1p_unit(vf e)
{
    vf u = SET1(1.0F) + e;
    vf high = GT0(u - SET1(1.41421356F), SET1(1.0F)); /* 1 where halved */
    vf f = FMA(u * SET1(-0.5F), high, u) - SET1(1.0F);
    vf z = f * f;
    vf p = SET1(7.0376836292e-2F);
    p = FMA(p, f, SET1(-1.1514610310e-1F));
    p = FMA(p, f, SET1(1.1676998740e-1F));
    p = FMA(p, f, SET1(-1.2420140846e-1F));
    p = FMA(p, f, SET1(1.4249322787e-1F));
    p = FMA(p, f, SET1(-1.6668057665e-1F));
    p = FMA(p, f, SET1(2.0000714765e-1F));
    p = FMA(p, f, SET1(-2.4999993993e-1F));
    p = FMA(p, f, SET1(3.3333331174e-1F));
    vf y = FMA(p * f, z, z * SET1(-0.5F)) + f;
    return FMA(high, SET1(0.693147180559945F), y);
}

INLINE vf sigmoid_v(vf z)
{
    return DIVV(SET1(1.0F), SET1(1.0F) + exp_v(-z));
}

static void sigmoid(const float *z, float *p, size_t n)
{
    for (size_t i = 0; i < n; i += VL) {
        size_t left = n - i;
        if (left >= VL)
            STORE(p + i, sigmoid_v(LOAD(z + i)));
        else
            STOREN(p + i, sigmoid_v(LOADN(z + i, left)), left);
    }
}

INLINE void bce_v(vf z, vf y, vf w, float smoothing, vf *ret_dz, vf *ret_loss)
{
    y = FMA(y, SET1(1.0F - smoothing), SET1(0.5F * smoothing));
    vf positive = MAXV(z, ZERO());
    vf softplus = positive + log1p_unit(exp_v(z - positive - positive)); /* −|z| */
    *ret_loss = w * (softplus - y * z);
    *ret_dz = w * (sigmoid_v(z) - y);
}

static void bce(const float *z, const float *y, const float *w, float smoothing, float *dz, float *loss,
                size_t n)
{
    vf d, l;
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        bce_v(LOAD(z + i), LOAD(y + i), LOAD(w + i), smoothing, &d, &l);
        STORE(dz + i, d);
        STORE(loss + i, l);
    }
    if (i < n) {
        size_t left = n - i;
        bce_v(LOADN(z + i, left), LOADN(y + i, left), LOADN(w + i, left), smoothing, &d, &l);
        STOREN(dz + i, d, left);
        STOREN(loss + i, l, left);
    }
}

/* --- optimisers ---------------------------------------------------------------------------------- */

INLINE vf adam_v(vf w, vf *m, vf *v, vf g, const struct adam_step *s)
{
    g = g * SET1(s->scale);
    g = FMA(w, SET1(s->l2), g);
    w = w * SET1(s->decay);
    *m = FMA(g - *m, SET1(1.0F - s->beta1), *m);
    *v = FMA(g * g - *v, SET1(1.0F - s->beta2), *v);
    vf denominator = FMA(SQRTV(*v), SET1(s->inv_sqrt_bias2), SET1(s->eps));
    return w - SET1(s->step_size) * DIVV(*m, denominator);
}

static void adam(float *w, float *m, float *v, const float *g, size_t n, const struct adam_step *s)
{
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        vf mv = LOAD(m + i), vv = LOAD(v + i);
        vf wv = adam_v(LOAD(w + i), &mv, &vv, LOAD(g + i), s);
        STORE(w + i, wv);
        STORE(m + i, mv);
        STORE(v + i, vv);
    }
    if (i < n) {
        size_t left = n - i;
        vf mv = LOADN(m + i, left), vv = LOADN(v + i, left);
        vf wv = adam_v(LOADN(w + i, left), &mv, &vv, LOADN(g + i, left), s);
        STOREN(w + i, wv, left);
        STOREN(m + i, mv, left);
        STOREN(v + i, vv, left);
    }
}

static void sgd(float *w, const float *g, size_t n, float lr, float decay, float scale)
{
    for (size_t i = 0; i < n; i += VL) {
        size_t left = n - i < VL ? n - i : VL;
        vf wv = left == VL ? LOAD(w + i) : LOADN(w + i, left);
        vf gv = (left == VL ? LOAD(g + i) : LOADN(g + i, left)) * SET1(scale);
        gv = FMA(wv, SET1(decay), gv);
        wv = FMA(gv, SET1(-lr), wv);
        if (left == VL)
            STORE(w + i, wv);
        else
            STOREN(w + i, wv, left);
    }
}

static void momentum(float *w, float *m, const float *g, size_t n, float lr, float mu, float decay,
                     float scale)
{
    for (size_t i = 0; i < n; i += VL) {
        size_t left = n - i < VL ? n - i : VL;
        vf wv = left == VL ? LOAD(w + i) : LOADN(w + i, left);
        vf mv = left == VL ? LOAD(m + i) : LOADN(m + i, left);
        vf gv = (left == VL ? LOAD(g + i) : LOADN(g + i, left)) * SET1(scale);
        mv = FMA(mv, SET1(mu), FMA(wv, SET1(decay), gv));
        wv = FMA(mv, SET1(-lr), wv);
        if (left == VL) {
            STORE(m + i, mv);
            STORE(w + i, wv);
        } else {
            STOREN(m + i, mv, left);
            STOREN(w + i, wv, left);
        }
    }
}

static float sumsq(const float *g, size_t n, float scale)
{
    vf acc[SUMS], sv = SET1(scale);
    for (int s = 0; s < SUMS; s++)
        acc[s] = ZERO();
    size_t i = 0;
    for (; i + KERNEL_LANES <= n; i += KERNEL_LANES)
        for (int s = 0; s < SUMS; s++) {
            vf x = LOAD(g + i + s * VL) * sv;
            acc[s] = FMA(x, x, acc[s]);
        }
    for (int s = 0; i < n; i += VL, s++) {
        size_t left = n - i < VL ? n - i : VL;
        vf x = (left == VL ? LOAD(g + i) : LOADN(g + i, left)) * sv;
        acc[s] = FMA(x, x, acc[s]);
    }
    return sum_lanes(acc);
}

const struct kernels LEVEL = {
    .name = LEVEL_NAME,
    .tile_rows = TILE_ROWS,
    .panel = NV_MAX * VL,
    .native_lanes = VL,
    .tile = tile_n,
    .tile_t = tile_t,
    .relu = relu,
    .relu_backward = relu_backward,
    .cross = cross,
    .cross_backward = cross_backward,
    .add = add,
    .scale = scale_by,
    .matvec = matvec,
    .vecmat = vecmat,
    .outer = outer,
    .copy = copy,
    .accumulate = accumulate_row,
    .bce = bce,
    .sigmoid = sigmoid,
    .adam = adam,
    .sgd = sgd,
    .momentum = momentum,
    .sumsq = sumsq,
};
