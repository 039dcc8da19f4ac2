/* Applying a feature spec: the same scalar steps for one row and for a batch. Loading is in featurespec_load.c. */
#include "stages/tensor/featurespec.h"

#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "stages/tensor/featurehash.h"
#include "stages/tensor/featurespec-internal.h"

void featurebatch_release(struct featurebatch *b)
{
    free(b->dense);
    free(b->cat);
    *b = (struct featurebatch){0};
}

void featurebatch_reserve(struct featurebatch *b, const struct featurespec *s, size_t n)
{
    if (n > b->capacity || b->dense_width != s->dense_width || b->cat_width != s->cat_width) {
        featurebatch_release(b);
        b->dense_width = s->dense_width;
        b->cat_width = s->cat_width;
        b->capacity = n;
        b->dense = xcalloc(n * s->dense_width + 1, sizeof *b->dense);
        b->cat = xcalloc(n * s->cat_width + 1, sizeof *b->cat);
    }
    b->n = n;
}

const struct featurespec_raw *featurespec_raw(const struct featurespec *s, size_t *ret_n)
{
    *ret_n = s->n_raw;
    return s->raw;
}

size_t featurespec_dense_width(const struct featurespec *s)
{
    return s->dense_width;
}

size_t featurespec_cat_width(const struct featurespec *s)
{
    return s->cat_width;
}

const char *featurespec_cat_name(const struct featurespec *s, size_t i)
{
    return s->cat_features[i]->name;
}

const char *featurespec_dense_name(const struct featurespec *s, size_t i)
{
    return s->dense_names[i];
}

static size_t first_id(const struct categorical *c)
{
    return 1 + (size_t)c->buckets;
}

size_t featurespec_cardinality(const struct featurespec *s, size_t i)
{
    const struct categorical *c = &s->cat_features[i]->categorical;
    return first_id(c) + (c->known ? vocabulary_size(c->known) : 0);
}

const cJSON *featurespec_document(const struct featurespec *s)
{
    return s->document;
}

/* --- apply ---------------------------------------------------------------------------------------------- */

double featurespec_transform(enum numeric_transform t, double x)
{
    switch (t) {
    case TRANSFORM_NONE:
        break;
    case TRANSFORM_LOG:
        x = x > 0 ? log(x) : NAN;
        break;
    case TRANSFORM_LOG1P:
        x = x > -1 ? log1p(x) : NAN;
        break;
    case TRANSFORM_SQRT:
        x = x >= 0 ? sqrt(x) : NAN;
        break;
    }
    return isfinite(x) ? x : NAN;
}

static bool present(const struct column *c, size_t row)
{
    return !c->valid || c->valid[row];
}

static void apply_numeric(const struct feature *f, const struct column *c, size_t first, size_t n,
                          struct featurebatch *out)
{
    const struct numeric *p = &f->numeric;
    for (size_t row = first; row < first + n; row++) {
        float *to = out->dense + row * out->dense_width + f->at;
        double x = present(c, row) ? featurespec_transform(p->transform, c->f64[row]) : NAN;
        bool missing = isnan(x);
        if (missing)
            x = p->fill;
        if (p->clip)
            x = x < p->lowest ? p->lowest : x > p->highest ? p->highest : x;
        to[0] = (float)((x - p->offset) / p->scale);
        if (p->missing_flag)
            to[1] = missing ? 1.0F : 0.0F;
    }
}

static uint64_t hash_value(const struct column *c, size_t row, uint64_t seed)
{
    if (c->type == COLUMN_I64)
        return featurehash_i64(c->i64[row], seed);
    return featurehash_text(c->text + c->offsets[row], c->offsets[row + 1] - c->offsets[row], seed);
}

static void apply_known(const struct feature *f, const struct column *c, size_t first, size_t n,
                        struct featurebatch *out)
{
    const struct categorical *p = &f->categorical;
    for (size_t row = first; row < first + n; row++) {
        int32_t id = 0;
        if (present(c, row)) {
            id = c->type == COLUMN_I64 ? vocabulary_find_i64(p->known, c->i64[row])
                                       : vocabulary_find_text(p->known, c->text + c->offsets[row],
                                                              c->offsets[row + 1] - c->offsets[row]);
            if (id < 0)
                id = p->buckets == 1
                         ? 1
                         : 1 + (int32_t)featurehash_below(hash_value(c, row, p->seed), p->buckets);
        }
        out->cat[row * out->cat_width + f->at] = id;
    }
}

static void apply_hash(const struct feature *f, const struct column *columns, size_t first, size_t n,
                       struct featurebatch *out)
{
    const struct categorical *p = &f->categorical;
    for (size_t row = first; row < first + n; row++) {
        uint64_t h = p->seed;
        bool missing = false;
        for (size_t k = 0; k < f->n_inputs && !missing; k++) {
            const struct column *c = &columns[f->input[k]];
            missing = !present(c, row);
            if (!missing)
                h = hash_value(c, row, h);
        }
        out->cat[row * out->cat_width + f->at] = missing ? 0 : 1 + (int32_t)featurehash_below(h, p->buckets);
    }
}

void featurespec_apply_range(const struct featurespec *s, const struct column_batch *in, size_t first,
                             size_t n, struct featurebatch *out)
{
    for (size_t i = 0; i < s->n_features; i++) {
        const struct feature *f = &s->features[i];
        if (f->is_numeric)
            apply_numeric(f, &in->columns[f->input[0]], first, n, out);
        else if (f->categorical.kind == CATEGORICAL_KNOWN)
            apply_known(f, &in->columns[f->input[0]], first, n, out);
        else
            apply_hash(f, in->columns, first, n, out);
    }
}

int featurespec_check(const struct featurespec *s, const struct column_batch *in, struct err *err)
{
    static const char *const names[] = {[COLUMN_F64] = "f64", [COLUMN_I64] = "i64", [COLUMN_STR] = "str"};
    if (in->n_columns < s->n_raw)
        return err_set(err, ERR_INVALID, "the feature spec takes %zu raw columns, got %zu", s->n_raw,
                       in->n_columns);
    for (size_t i = 0; i < s->n_raw; i++) {
        if (in->columns[i].type != s->raw[i].type)
            return err_set(err, ERR_INVALID, "raw column '%s': expected type %s, got %s", s->raw[i].name,
                           names[s->raw[i].type], names[in->columns[i].type]);
    }
    for (size_t i = 0; i < s->n_features; i++) {
        const struct feature *f = &s->features[i];
        const struct column *c = &in->columns[f->input[0]];
        for (size_t row = 0; f->is_numeric && f->numeric.required && row < in->n_rows; row++) {
            if (!present(c, row) || isnan(featurespec_transform(f->numeric.transform, c->f64[row])))
                return err_set(
                    err, ERR_INVALID,
                    "feature '%s' is missing (NULL or not finite) in row %zu of a batch, and its impute is none: choose mean, median or zero",
                    f->name, row);
        }
    }
    return 0;
}

int featurespec_apply(const struct featurespec *s, const struct column_batch *in, struct featurebatch *out,
                      struct err *err)
{
    if (featurespec_check(s, in, err) < 0)
        return -1;
    featurebatch_reserve(out, s, in->n_rows);
    featurespec_apply_range(s, in, 0, in->n_rows, out);
    return 0;
}
