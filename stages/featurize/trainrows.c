/* The training shards: see trainrows.h. */
#include "stages/featurize/trainrows.h"

#include <string.h>

#include "common/base/alloc.h"
#include "stages/featurize/shardwriter.h"
#include "stages/featurize/spill.h"
#include "stages/tensor/featurehash.h"

enum {
    BUCKET_BYTES = 1024 * 1024,
    SAMPLING_SEED = 2, /* of the config's seed: its second derived one (the first: split.c) */
};

/* A row in the scratch: this, then dense, cat and carry. */
struct record {
    uint64_t order;
    int64_t row_key, group;
    float label, weight;
};

struct trainrows {
    const struct rowstream *stream;
    const struct trainrows_config *config;
    const struct rowbatch *batch;
    struct spill *spill;
    size_t dense_bytes, cat_bytes, carry_bytes, record_bytes;
    char *records; /* of a batch */
    uint8_t *keep; /* of a batch */
    uint64_t order_seed, sampling_seed, sampling_below;
    float negative_weight;
    int64_t seen, total;
};

static bool keeps(const struct trainrows *t, const struct rowbatch *b, size_t row)
{
    if (t->negative_weight == 1 || b->label[row] != 0)
        return true;
    return featurehash_i64(b->row_key[row], t->sampling_seed) < t->sampling_below;
}

/* With hashed order the place is a hash; else the row's ordinal, stretched over the same range. */
static uint64_t place_of(const struct trainrows *t, const struct rowbatch *b, size_t row)
{
    if (t->stream->source->config->hashed_order)
        return featurehash_i64(b->row_key[row], t->order_seed);
    return (uint64_t)(t->seen + (int64_t)row) * (UINT64_MAX / (uint64_t)t->total);
}

static void make_records(void *ctx, size_t first, size_t n, int thread)
{
    (void)thread;
    struct trainrows *t = ctx;
    const struct rowbatch *b = t->batch;
    for (size_t row = first; row < first + n; row++) {
        t->keep[row] = keeps(t, b, row);
        if (!t->keep[row])
            continue;
        struct record head = {.order = place_of(t, b, row),
                              .row_key = b->row_key[row],
                              .group = b->group[row],
                              .label = b->label[row],
                              .weight = b->weight[row]};
        if (head.label == 0)
            head.weight *= t->negative_weight;
        char *p = t->records + row * t->record_bytes;
        memcpy(p, &head, sizeof head);
        p += sizeof head;
        memcpy(p, b->features.dense + row * b->features.dense_width, t->dense_bytes);
        p += t->dense_bytes;
        memcpy(p, b->features.cat + row * b->features.cat_width, t->cat_bytes);
        p += t->cat_bytes;
        memcpy(p, b->carry + row * b->n_carry, t->carry_bytes);
    }
}

static int add_batch(void *ctx, const struct rowbatch *batch, struct err *err)
{
    struct trainrows *t = ctx;
    t->batch = batch;
    parallel_run(t->stream->team, batch->n, make_records, t);
    for (size_t row = 0; row < batch->n; row++) {
        if (!t->keep[row])
            continue;
        const char *p = t->records + row * t->record_bytes;
        uint64_t order;
        memcpy(&order, p, sizeof order);
        if (spill_add(t->spill, spill_bucket_of(order, spill_buckets(t->spill)), p, err) < 0)
            return -1;
    }
    t->seen += (int64_t)batch->n;
    if (t->config->progress)
        t->config->progress(t->config->progress_ctx, (double)t->seen / (double)t->total);
    return 0;
}

/* --- sorted buckets to shards --------------------------------------------------------------------------------- */

struct sorted {
    char *data;
    struct place {
        uint64_t order;
        uint32_t index;
    } * places, *buffer;
    size_t n;
    struct err err;
    int result;
};

/* Ties of the hash are broken by the whole record, so that the order stays total. */
static bool before(const struct sorted *s, size_t record_bytes, const struct place *a, const struct place *b)
{
    if (a->order != b->order)
        return a->order < b->order;
    return memcmp(s->data + a->index * record_bytes, s->data + b->index * record_bytes, record_bytes) < 0;
}

/* Hashes are uniform in a bucket's range: one pass spreads them over as many slots as there are rows, and what little is out of place
 * is put right by insertion. */
static void sort_places(struct sorted *s, size_t record_bytes, uint64_t first, uint64_t range)
{
    size_t slots = s->n + 1;
    _cleanup_free_ uint32_t *starts = xcalloc(slots + 1, sizeof *starts);
    for (size_t i = 0; i < s->n; i++)
        starts[(size_t)((unsigned __int128)(s->buffer[i].order - first) * s->n / range) + 1]++;
    for (size_t k = 0; k < slots; k++)
        starts[k + 1] += starts[k];
    for (size_t i = 0; i < s->n; i++)
        s->places[starts[(size_t)((unsigned __int128)(s->buffer[i].order - first) * s->n / range)]++] =
            s->buffer[i];
    for (size_t i = 1; i < s->n; i++) {
        struct place p = s->places[i];
        size_t k = i;
        for (; k > 0 && before(s, record_bytes, &p, &s->places[k - 1]); k--)
            s->places[k] = s->places[k - 1];
        s->places[k] = p;
    }
}

struct round {
    struct trainrows *t;
    struct sorted *sorted; /* one a thread */
    size_t first_bucket;
};

static void load_bucket(void *ctx, size_t first, size_t n, int thread)
{
    (void)thread;
    struct round *r = ctx;
    for (size_t i = first; i < first + n; i++) {
        struct sorted *s = &r->sorted[i];
        size_t bucket = r->first_bucket + i, buckets = spill_buckets(r->t->spill), bytes = r->t->record_bytes;
        s->n = spill_count(r->t->spill, bucket);
        s->data = xreallocarray(s->data, s->n + 1, bytes);
        s->places = xreallocarray(s->places, s->n + 1, sizeof *s->places);
        s->buffer = xreallocarray(s->buffer, s->n + 1, sizeof *s->buffer);
        s->result = spill_read(r->t->spill, bucket, s->data, &s->err);
        if (s->result < 0)
            continue;
        for (size_t k = 0; k < s->n; k++) {
            memcpy(&s->buffer[k].order, s->data + k * bytes, sizeof s->buffer[k].order);
            s->buffer[k].index = (uint32_t)k;
        }
        /* Buckets are powers of two: bucket b holds [b, b + 1) × 2^64 / buckets. */
        uint64_t range = buckets == 1 ? UINT64_MAX : (uint64_t)(((unsigned __int128)1 << 64) / buckets);
        sort_places(s, bytes, (uint64_t)bucket * (buckets == 1 ? 0 : range), range);
    }
}

static int write_sorted(const struct trainrows *t, const struct sorted *s, struct shardwriter *w,
                        struct err *err)
{
    for (size_t i = 0; i < s->n; i++) {
        const char *p = s->data + s->places[i].index * t->record_bytes;
        struct record head;
        memcpy(&head, p, sizeof head);
        p += sizeof head;
        const struct shardwriter_row row = {.dense = (const float *)(const void *)p,
                                            .cat = (const int32_t *)(const void *)(p + t->dense_bytes),
                                            .carry = (const int32_t *)(const void *)(p + t->dense_bytes +
                                                                                     t->cat_bytes),
                                            .label = head.label,
                                            .weight = head.weight,
                                            .group = head.group,
                                            .row_key = head.row_key};
        if (shardwriter_add(w, &row, err) < 0)
            return -1;
    }
    return 0;
}

static int write_buckets(struct trainrows *t, struct shardwriter *w, struct err *err)
{
    size_t buckets = spill_buckets(t->spill), team = (size_t)parallel_threads(t->stream->team);
    struct round r = {.t = t, .sorted = xcalloc(team, sizeof *r.sorted)};
    int result = 0;
    for (r.first_bucket = 0; r.first_bucket < buckets && result == 0; r.first_bucket += team) {
        size_t n = buckets - r.first_bucket < team ? buckets - r.first_bucket : team;
        parallel_run(t->stream->team, n, load_bucket, &r);
        for (size_t i = 0; i < n && result == 0; i++) {
            if (r.sorted[i].result < 0) {
                *err = r.sorted[i].err;
                result = -1;
            } else {
                result = write_sorted(t, &r.sorted[i], w, err);
            }
        }
    }
    for (size_t i = 0; i < team; i++) {
        free(r.sorted[i].data);
        free(r.sorted[i].places);
        free(r.sorted[i].buffer);
    }
    free(r.sorted);
    return result < 0 ? result : shardwriter_finish(w, err);
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static int run(struct trainrows *t, int64_t *ret_rows, struct err *err)
{
    const struct source *source = t->stream->source;
    const struct featurizeconfig *c = source->config;
    struct rowstream stream = *t->stream;
    stream.relation = SOURCE_TRAIN;
    stream.order_by = c->hashed_order ? NULL : source->row_order;
    if (spill_new(t->config->scratch, t->record_bytes,
                  spill_choose_buckets(t->total, t->record_bytes, BUCKET_BYTES), t->config->memory_bytes,
                  &t->spill, err) < 0 ||
        rowstream_run(&stream, add_batch, t, err) < 0)
        return -1;
    if (t->seen != t->total)
        return err_set(err, ERR_TERMINAL,
                       "the snapshot changed while it was read: %lld training rows counted, %lld read",
                       (long long)t->total, (long long)t->seen);
    const struct shardwriter_config wc = {.directory = t->config->directory,
                                          .rows = (size_t)c->shard_rows,
                                          .dense_width = featurespec_dense_width(stream.spec),
                                          .cat_width = featurespec_cat_width(stream.spec),
                                          .label = source->label_sql != NULL,
                                          .weight = source->weight_sql || c->negatives < 1,
                                          .group = source->group_sql != NULL,
                                          .row_key = true,
                                          .carry = c->carry.items,
                                          .n_carry = c->carry.n};
    _cleanup_shardwriter_ struct shardwriter *w = NULL;
    if (shardwriter_new(&wc, &w, err) < 0 || write_buckets(t, w, err) < 0)
        return -1;
    *ret_rows = shardwriter_rows(w);
    return 0;
}

int trainrows_write(const struct rowstream *stream, const struct trainrows_config *config, int64_t *ret_rows,
                    struct err *err)
{
    const struct featurizeconfig *c = stream->source->config;
    struct trainrows t = {.stream = stream, .config = config, .total = stream->source->train_rows};
    t.dense_bytes = featurespec_dense_width(stream->spec) * sizeof(float);
    t.cat_bytes = featurespec_cat_width(stream->spec) * sizeof(int32_t);
    t.carry_bytes = c->carry.n * sizeof(int32_t);
    /* A multiple of 8, so that records and what follows their head stay aligned. */
    t.record_bytes = (sizeof(struct record) + t.dense_bytes + t.cat_bytes + t.carry_bytes + 7) / 8 * 8;
    t.records = xcalloc(TABLE_BATCH_ROWS, t.record_bytes);
    t.keep = xcalloc(TABLE_BATCH_ROWS, 1);
    t.order_seed = (uint64_t)c->seed;
    t.sampling_seed = featurehash_i64(SAMPLING_SEED, (uint64_t)c->seed);
    t.sampling_below = c->negatives < 1 ? (uint64_t)(c->negatives * 0x1p64) : UINT64_MAX;
    t.negative_weight = (float)(1 / c->negatives);
    int r = run(&t, ret_rows, err);
    spill_free(t.spill);
    free(t.records);
    free(t.keep);
    return r < 0 ? err_wrap(err, "writing the training rows") : 0;
}
