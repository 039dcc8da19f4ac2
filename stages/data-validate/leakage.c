/* The leakage test. */
#include "stages/data-validate/leakage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "stages/data-validate/sort.h"

enum { FEW_VALUES = 1000 };

/* Order of doubles as order of unsigned integers; the last bit makes room for the label. */
static uint64_t rank_key(uint64_t bits, uint8_t label)
{
    uint64_t ordered = bits >> 63 ? ~bits : bits | 1ull << 63;
    return (ordered & ~1ull) | label;
}

/* Mann–Whitney: pairs (positive, negative) in order, ties half. Sorts keys. */
static double area(uint64_t *keys, uint64_t *spare, size_t n)
{
    sort_keys(keys, spare, n);
    double negatives = 0, positives = 0, won = 0;
    for (size_t i = 0; i < n;) {
        double neg = 0, pos = 0;
        size_t k = i;
        for (; k < n && keys[k] >> 1 == keys[i] >> 1; k++) {
            pos += (double)(keys[k] & 1);
            neg += (double)(~keys[k] & 1);
        }
        won += pos * (negatives + neg / 2);
        negatives += neg;
        positives += pos;
        i = k;
    }
    if (positives == 0 || negatives == 0)
        return 0.5;
    double auc = won / (positives * negatives);
    return fmax(auc, 1 - auc);
}

/* Values of a column, grouped: an open-addressing table from value to counts by half and label. */
struct group {
    uint64_t value;
    bool used;
    uint32_t count[2][2];
};

static struct group *find_group(struct group *groups, size_t mask, uint64_t value)
{
    size_t at = stats_hash_integer((int64_t)value) & mask;
    while (groups[at].used && groups[at].value != value)
        at = (at + 1) & mask;
    groups[at].value = value;
    groups[at].used = true;
    return &groups[at];
}

static double grouped_area(const uint64_t *values, const uint8_t *label, size_t n, uint64_t *keys,
                           uint64_t *spare)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    struct group *groups = calloc(size, sizeof *groups);
    if (!groups)
        return 0.5; /* a hint only: not worth failing for */
    for (size_t i = 0; i < n; i++)
        find_group(groups, size - 1, values[i])->count[i & 1][label[i]]++;
    for (size_t i = 0; i < n; i++) {
        const uint32_t *other = find_group(groups, size - 1, values[i])->count[~i & 1];
        double share = ((double)other[1] + 0.5) / ((double)other[0] + (double)other[1] + 1);
        uint64_t bits;
        memcpy(&bits, &share, sizeof bits);
        keys[i] = rank_key(bits, label[i]);
    }
    free(groups);
    return area(keys, spare, n);
}

static int compare_leaks(const void *a, const void *b)
{
    const struct leak *x = a, *y = b;
    if (x->auc != y->auc)
        return x->auc > y->auc ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

void leakage_measure(const struct scan_plan *plan, const struct leak_rows *const *parts, size_t n_parts,
                     const struct stats *columns, struct leak **ret, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++)
        n += parts[i]->n;
    *ret = xcalloc(plan->schema->n ? plan->schema->n : 1, sizeof **ret);
    *ret_n = 0;
    if (n < 4)
        return;
    uint64_t *values = xcalloc(n, sizeof *values), *keys = xcalloc(n, sizeof *keys),
             *spare = xcalloc(n, sizeof *spare);
    uint8_t *label = xcalloc(n, 1);
    size_t at = 0;
    for (size_t i = 0; i < n_parts; at += parts[i++]->n) {
        if (parts[i]->n)
            memcpy(label + at, parts[i]->label, parts[i]->n);
    }
    for (size_t c = 0; c < plan->schema->n; c++) {
        at = 0;
        bool looked_at = true;
        for (size_t i = 0; i < n_parts; at += parts[i++]->n) {
            looked_at = looked_at && (parts[i]->n == 0 || parts[i]->values[c]);
            if (looked_at && parts[i]->n)
                memcpy(values + at, parts[i]->values[c], parts[i]->n * sizeof *values);
        }
        if (!looked_at)
            continue;
        double auc = 0.5;
        if (columns[c].kind != STAT_TEXT) {
            for (size_t i = 0; i < n; i++)
                keys[i] = rank_key(values[i], label[i]);
            auc = area(keys, spare, n);
        }
        if (columns[c].kind == STAT_TEXT ||
            (columns[c].kind == STAT_INTEGER && stats_distinct(&columns[c]) <= FEW_VALUES))
            auc = fmax(auc, grouped_area(values, label, n, keys, spare));
        (*ret)[(*ret_n)++] = (struct leak){c, auc};
    }
    free(values);
    free(keys);
    free(spare);
    free(label);
    qsort(*ret, *ret_n, sizeof **ret, compare_leaks);
}
