/* Shards in a seeded order: see dataset.h. */
#include "stages/train-ddp/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "stages/model/rng.h"
#include "stages/tensor/shard.h"

/* Rows ahead whose cache lines are asked for: enough to hide main memory behind the copying. */
enum { PREFETCH = 16 };

/* The order of rows within one window; two are kept, for a batch may straddle a border. */
struct window {
    int64_t epoch, index; /* index -1: empty */
    uint32_t *rows;       /* [largest window]: positions in the concatenation of the window's shards */
};

struct dataset {
    struct shard **shards;
    size_t n;
    int64_t rows;
    uint64_t seed;
    size_t dense_width, cat_width;
    int64_t order_epoch;
    uint32_t *order; /* shards of the epoch */
    int64_t *starts; /* [n + 1]: first row of the i-th shard of the epoch's order */
    struct window windows[2];
    size_t next_window;
    size_t largest;
};

static int check_shard(const struct shard *s, const char *path, size_t dense_width, size_t cat_width,
                       struct err *err)
{
    if (s->dense_width != dense_width || s->cat_width != cat_width)
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "bad-data",
            "%s: expected %zu dense and %zu categorical columns as in feature-spec.json, found %zu and %zu",
            path, dense_width, cat_width, s->dense_width, s->cat_width);
    if (!s->label || s->label_width != 1)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                        "%s: expected one label a row, found %zu", path, s->label ? s->label_width : 0);
    return 0;
}

int dataset_open(const char *dir, uint64_t seed, size_t dense_width, size_t cat_width, struct dataset **ret,
                 struct err *err)
{
    _cleanup_shard_list_ struct shard_list list = {0};
    if (shard_list_open(dir, &list, err) < 0)
        return -1;
    _cleanup_dataset_ struct dataset *d = xcalloc(1, sizeof *d);
    d->seed = seed;
    d->dense_width = dense_width;
    d->cat_width = cat_width;
    d->order_epoch = -1;
    d->windows[0].index = d->windows[1].index = -1;
    d->shards = xcalloc(list.n, sizeof *d->shards);
    d->order = xcalloc(list.n, sizeof *d->order);
    d->starts = xcalloc(list.n + 1, sizeof *d->starts);
    for (size_t i = 0; i < list.n; i++) {
        if (shard_open(list.paths[i], &d->shards[i], err) < 0)
            return -1;
        d->n++;
        if (check_shard(d->shards[i], list.paths[i], dense_width, cat_width, err) < 0)
            return -1;
        d->rows += (int64_t)d->shards[i]->n;
        d->largest = d->shards[i]->n > d->largest ? d->shards[i]->n : d->largest;
    }
    d->largest *= DATASET_WINDOW;
    for (int w = 0; w < 2; w++)
        d->windows[w].rows = xcalloc(d->largest, sizeof(uint32_t));
    *ret = steal_ptr(d);
    return 0;
}

struct dataset *dataset_free(struct dataset *d)
{
    if (!d)
        return NULL;
    for (size_t i = 0; i < d->n; i++)
        shard_free(d->shards[i]);
    free(d->shards);
    free(d->order);
    free(d->starts);
    free(d->windows[0].rows);
    free(d->windows[1].rows);
    return xfree(d);
}

int64_t dataset_rows(const struct dataset *d)
{
    return d->rows;
}

size_t dataset_memory(const struct dataset *d)
{
    return 2 * d->largest * sizeof(uint32_t) + d->n * (sizeof *d->order + sizeof *d->starts);
}

/* --- order ------------------------------------------------------------------------------------------ */

static void order_shards(struct dataset *d, int64_t epoch)
{
    if (d->order_epoch == epoch)
        return;
    d->order_epoch = epoch;
    if (epoch < 0) /* file order */
        for (size_t i = 0; i < d->n; i++)
            d->order[i] = (uint32_t)i;
    else
        rng_permutation(d->seed, RNG_SHARDS, (uint32_t)epoch, 0, d->order, (uint32_t)d->n);
    d->starts[0] = 0;
    for (size_t i = 0; i < d->n; i++)
        d->starts[i + 1] = d->starts[i] + (int64_t)d->shards[d->order[i]]->n;
}

static const uint32_t *order_window(struct dataset *d, int64_t epoch, size_t index)
{
    for (int w = 0; w < 2; w++)
        if (d->windows[w].epoch == epoch && d->windows[w].index == (int64_t)index)
            return d->windows[w].rows;
    struct window *w = &d->windows[d->next_window];
    d->next_window = 1 - d->next_window;
    size_t first = index * DATASET_WINDOW,
           end = first + DATASET_WINDOW < d->n ? first + DATASET_WINDOW : d->n;
    w->epoch = epoch;
    w->index = (int64_t)index;
    rng_permutation(d->seed, RNG_ROWS, (uint32_t)epoch, (uint32_t)index, w->rows,
                    (uint32_t)(d->starts[end] - d->starts[first]));
    return w->rows;
}

/* Position among the shards of the epoch's order that holds row `at` of it. */
static size_t shard_of(const struct dataset *d, int64_t at)
{
    size_t lo = 0, hi = d->n;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (d->starts[mid] <= at)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* --- copying ---------------------------------------------------------------------------------------- */

struct place {
    const struct shard *shard;
    size_t row;
};

static void prefetch(const struct dataset *d, const struct place *p)
{
    const struct shard *s = p->shard;
    if (d->dense_width)
        __builtin_prefetch(s->dense + p->row * d->dense_width);
    if (d->cat_width)
        __builtin_prefetch(s->cat + p->row * d->cat_width);
    __builtin_prefetch(s->label + p->row);
    if (s->weight)
        __builtin_prefetch(s->weight + p->row);
}

static void copy_row(const struct dataset *d, const struct place *p, struct batch_rows *b, size_t i)
{
    const struct shard *s = p->shard;
    if (d->dense_width)
        memcpy(b->dense + i * d->dense_width, s->dense + p->row * d->dense_width,
               d->dense_width * sizeof *b->dense);
    if (d->cat_width)
        memcpy(b->cat + i * d->cat_width, s->cat + p->row * d->cat_width, d->cat_width * sizeof *b->cat);
    b->label[i] = s->label[p->row];
    b->weight[i] = s->weight ? s->weight[p->row] : 1;
}

static struct place place_of(struct dataset *d, int64_t epoch, int64_t at)
{
    size_t window = shard_of(d, at) / DATASET_WINDOW;
    const uint32_t *rows = order_window(d, epoch, window);
    int64_t base = d->starts[window * DATASET_WINDOW], in = base + rows[at - base];
    size_t i = shard_of(d, in);
    return (struct place){.shard = d->shards[d->order[i]], .row = (size_t)(in - d->starts[i])};
}

void dataset_fill(struct dataset *d, int64_t epoch, int64_t begin, struct batch_rows *b)
{
    struct place ahead[PREFETCH];
    order_shards(d, epoch);
    for (size_t i = 0; i < b->n + PREFETCH; i++) {
        if (i >= PREFETCH)
            copy_row(d, &ahead[i % PREFETCH], b, i - PREFETCH);
        if (i < b->n) {
            ahead[i % PREFETCH] = place_of(d, epoch, begin + (int64_t)i);
            prefetch(d, &ahead[i % PREFETCH]);
        }
    }
}

void dataset_fill_in_order(struct dataset *d, int64_t begin, struct batch_rows *b)
{
    order_shards(d, -1);
    for (size_t i = 0; i < b->n; i++) {
        size_t k = shard_of(d, begin + (int64_t)i);
        struct place p = {.shard = d->shards[k], .row = (size_t)(begin + (int64_t)i - d->starts[k])};
        copy_row(d, &p, b, i);
    }
}
