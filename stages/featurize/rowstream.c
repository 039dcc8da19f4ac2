/* Streams of transformed rows: see rowstream.h. */
#include "stages/featurize/rowstream.h"

#include <string.h>

#include "common/base/alloc.h"
#include "stages/table/rawcolumns.h"

enum {
    EXTRA_ROW_KEY,
    EXTRA_LABEL,
    EXTRA_WEIGHT,
    EXTRA_GROUP,
    EXTRA_CARRY /* and what follows, for carry columns that no feature takes */
};

struct run {
    const struct rowstream *s;
    const struct column_batch *in;
    size_t n_raw;
    size_t *carry_at; /* column of each carry in the batch: a raw one where a feature takes the same column */
    struct rowbatch out;
    int (*each)(void *ctx, const struct rowbatch *batch, struct err *err);
    void *ctx;
};

static int32_t carry_code(const struct vocabulary *dictionary, const struct column *c, size_t row)
{
    if (c->valid && !c->valid[row])
        return 0;
    int32_t code =
        vocabulary_find_text(dictionary, c->text + c->offsets[row], c->offsets[row + 1] - c->offsets[row]);
    return code < 0 ? 0 : code;
}

static void transform_part(void *ctx, size_t first, size_t n, int thread)
{
    (void)thread;
    struct run *r = ctx;
    const struct column *extra = r->in->columns + r->n_raw;
    featurespec_apply_range(r->s->spec, r->in, first, n, &r->out.features);
    for (size_t row = first; row < first + n; row++) {
        r->out.row_key[row] = extra[EXTRA_ROW_KEY].i64[row];
        r->out.label[row] = (float)extra[EXTRA_LABEL].f64[row];
        r->out.weight[row] = (float)extra[EXTRA_WEIGHT].f64[row];
        r->out.group[row] = extra[EXTRA_GROUP].i64[row];
        for (size_t k = 0; k < r->out.n_carry; k++)
            r->out.carry[row * r->out.n_carry + k] =
                carry_code(r->s->carry->dictionaries[k], &r->in->columns[r->carry_at[k]], row);
    }
}

static int transform_batch(void *ctx, const struct column_batch *in, struct err *err)
{
    struct run *r = ctx;
    if (featurespec_check(r->s->spec, in, err) < 0)
        return -1;
    r->in = in;
    r->out.n = in->n_rows;
    featurebatch_reserve(&r->out.features, r->s->spec, in->n_rows);
    parallel_run(r->s->team, in->n_rows, transform_part, r);
    return r->each(r->ctx, &r->out, err);
}

static void run_init(struct run *r, size_t n_carry)
{
    r->out.n_carry = n_carry;
    r->out.label = xcalloc(TABLE_BATCH_ROWS, sizeof *r->out.label);
    r->out.weight = xcalloc(TABLE_BATCH_ROWS, sizeof *r->out.weight);
    r->out.group = xcalloc(TABLE_BATCH_ROWS, sizeof *r->out.group);
    r->out.row_key = xcalloc(TABLE_BATCH_ROWS, sizeof *r->out.row_key);
    r->out.carry = xcalloc(TABLE_BATCH_ROWS * n_carry + 1, sizeof *r->out.carry);
    r->carry_at = xcalloc(n_carry + 1, sizeof *r->carry_at);
}

static void run_release(struct run *r)
{
    featurebatch_release(&r->out.features);
    free(r->out.label);
    free(r->out.weight);
    free(r->out.group);
    free(r->out.row_key);
    free(r->out.carry);
    free(r->carry_at);
}

/* The raw column that is this column as text already; n_raw if none is. */
static size_t raw_of(const struct featurespec *spec, const char *quoted)
{
    size_t n, i = 0;
    const struct featurespec_raw *raw = featurespec_raw(spec, &n);
    while (i < n && (raw[i].type != COLUMN_STR || strcmp(raw[i].sql, quoted) != 0))
        i++;
    return i;
}

int rowstream_run(const struct rowstream *s,
                  int (*each)(void *ctx, const struct rowbatch *batch, struct err *err), void *ctx,
                  struct err *err)
{
    const struct source *source = s->source;
    const struct config_names *carry = &source->config->carry;
    size_t n_extra = EXTRA_CARRY;
    struct run r = {.s = s, .each = each, .ctx = ctx};
    struct rawcolumns_extra *extra = xcalloc(EXTRA_CARRY + carry->n, sizeof *extra);
    char **quoted = xcalloc(carry->n + 1, sizeof *quoted);
    (void)featurespec_raw(s->spec, &r.n_raw);
    run_init(&r, carry->n);
    extra[EXTRA_ROW_KEY] = (struct rawcolumns_extra){"row_key", source->row_key_sql, COLUMN_I64};
    extra[EXTRA_LABEL] =
        (struct rawcolumns_extra){"label", source->label_sql ? source->label_sql : "0", COLUMN_F64};
    extra[EXTRA_WEIGHT] =
        (struct rawcolumns_extra){"weight", source->weight_sql ? source->weight_sql : "1", COLUMN_F64};
    extra[EXTRA_GROUP] =
        (struct rawcolumns_extra){"group", source->group_sql ? source->group_sql : "0", COLUMN_I64};
    for (size_t i = 0; i < carry->n; i++) {
        quoted[i] = table_quote_ident(carry->items[i]);
        r.carry_at[i] = raw_of(s->spec, quoted[i]);
        if (r.carry_at[i] < r.n_raw)
            continue;
        r.carry_at[i] = r.n_raw + n_extra;
        extra[n_extra++] = (struct rawcolumns_extra){carry->items[i], quoted[i], COLUMN_STR};
    }
    int result = rawcolumns_stream(source->table, s->spec, false, s->relation, s->order_by, extra, n_extra,
                                   transform_batch, &r, err);
    run_release(&r);
    for (size_t i = 0; i < carry->n; i++)
        free(quoted[i]);
    free(quoted);
    free(extra);
    return result;
}
