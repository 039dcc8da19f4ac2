/* Gradient rows of the tables: deduplicated and ascending through a bitmap, summed in row order of the batch.
 * So bytes grow with the batch and never with the table, and the sums do not depend on anything but the batch. */
#include <string.h>

#include "stages/model/cpu/engine.h"

static void begin_table(struct backend_state *s, size_t t, const struct batch *b)
{
    struct sparse_table *st = &s->sparse[t];
    size_t width = s->net->tables[t].width, cats = s->net->cat_width;
    for (size_t r = 0; r < b->n; r++) {
        uint32_t id = (uint32_t)b->cat[r * cats + t];
        st->bitmap[id / 64] |= UINT64_C(1) << (id % 64);
    }
    size_t n = 0;
    for (size_t w = 0; w < (s->net->tables[t].rows + 63) / 64; w++) {
        for (uint64_t bits = st->bitmap[w]; bits; bits &= bits - 1, n++) {
            int32_t row = (int32_t)(w * 64 + (size_t)__builtin_ctzll(bits));
            st->rows[n] = row;
            st->slot_of_row[row] = (int32_t)n;
        }
        st->bitmap[w] = 0;
    }
    st->n = n;
    memset(st->values, 0, n * width * sizeof *st->values);
    for (size_t r = 0; r < b->n; r++)
        s->slots[r * cats + t] = st->slot_of_row[b->cat[r * cats + t]];
}

struct begin {
    struct backend_state *s;
    const struct batch *b;
};

static void begin_part(void *ctx, int part, int parts)
{
    const struct begin *x = ctx;
    for (size_t t = (size_t)part; t < x->s->net->cat_width; t += (size_t)parts)
        begin_table(x->s, t, x->b);
}

void sparse_begin(struct backend_state *s, const struct batch *b)
{
    pool_run(s->pool, begin_part, &(struct begin){.s = s, .b = b});
}

static void scatter_part(void *ctx, int part, int parts)
{
    const struct chunk *c = ctx;
    const struct backend_state *s = c->s;
    const struct network *net = s->net;
    for (size_t t = (size_t)part; t < net->cat_width; t += (size_t)parts) {
        const struct network_table *table = &net->tables[t];
        float *values = s->sparse[t].values;
        const int32_t *slot = s->slots + c->row0 * net->cat_width + t;
        const float *dx = s->dx0 + table->x_offset;
        for (size_t r = 0; r < c->n; r++, slot += net->cat_width, dx += net->x_ld) {
            float *to = values + (size_t)*slot * table->width;
            if (table->dim)
                s->kn->accumulate(to, dx, table->dim);
            if (table->linear)
                to[table->dim] += s->dz[r];
        }
    }
}

void sparse_scatter(const struct chunk *c)
{
    pool_run(c->s->pool, scatter_part, (void *)c);
}
