/* Column statistics. */
#include "stages/data-validate/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/text.h"

enum { ARENA_MAX = 16 << 20, MANTISSA_SHIFT = 47, SCRATCH = 2 * STAT_BUCKETS + 1 };

const char *const stat_kind_names[] = {"integer", "number", "time", "text", "other", NULL};

/* --- log-histogram ----------------------------------------------------------------------------------- */

int32_t histogram_bucket(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x == 0)
        return 0;
    int32_t magnitude = (int32_t)(bits >> MANTISSA_SHIFT & 0xffff) + 1;
    return bits >> 63 ? -magnitude : magnitude;
}

static double edge(int32_t magnitude)
{
    uint64_t bits = (uint64_t)magnitude << MANTISSA_SHIFT;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

double histogram_edge(int32_t bucket)
{
    return bucket == 0 ? 0 : bucket > 0 ? edge(bucket - 1) : -edge(-bucket - 1);
}

double histogram_far_edge(int32_t bucket)
{
    return bucket == 0 ? 0 : bucket > 0 ? edge(bucket) : -edge(-bucket);
}

int64_t histogram_total(const struct histogram *h)
{
    int64_t n = 0;
    for (size_t i = 0; i < h->n; i++)
        n += h->count[i];
    return n;
}

static void histogram_append(struct histogram *h, int32_t bucket, int64_t count)
{
    size_t capacity = h->capacity;
    h->bucket = grow_array(h->bucket, &capacity, h->n, sizeof *h->bucket);
    h->count = grow_array(h->count, &h->capacity, h->n, sizeof *h->count);
    h->bucket[h->n] = bucket;
    h->count[h->n++] = count;
}

static void histogram_merge(struct histogram *into, const struct histogram *from)
{
    struct histogram out = {0};
    size_t i = 0, k = 0;
    while (i < into->n || k < from->n) {
        if (k == from->n || (i < into->n && into->bucket[i] < from->bucket[k])) {
            histogram_append(&out, into->bucket[i], into->count[i]);
            i++;
        } else if (i == into->n || from->bucket[k] < into->bucket[i]) {
            histogram_append(&out, from->bucket[k], from->count[k]);
            k++;
        } else {
            histogram_append(&out, into->bucket[i], into->count[i] + from->count[k]);
            i++;
            k++;
        }
    }
    free(into->bucket);
    free(into->count);
    *into = out;
}

/* --- texts --------------------------------------------------------------------------------------------- */

static void tally_grow(struct tally *t)
{
    size_t n = t->n_slots ? t->n_slots * 2 : 256;
    free(t->slots);
    t->slots = xcalloc(n, sizeof *t->slots);
    t->n_slots = n;
    for (size_t i = 0; i < t->n; i++) {
        size_t at = t->entries[i].hash & (n - 1);
        while (t->slots[at])
            at = (at + 1) & (n - 1);
        t->slots[at] = (uint32_t)i + 1;
    }
}

/* The slot of the key, or the empty one where it belongs. */
static size_t tally_slot(const struct tally *t, uint64_t hash, uint32_t kept, const char *key)
{
    size_t at = hash & (t->n_slots - 1);
    for (; t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
        const struct tally_entry *e = &t->entries[t->slots[at] - 1];
        if (e->hash == hash && e->length == kept && memcmp(t->arena + e->offset, key, kept) == 0)
            break;
    }
    return at;
}

/* Keys are kept up to TALLY_KEY_MAX bytes; the hash is of the whole text, so longer ones stay apart. */
static void tally_add(struct tally *t, uint64_t hash, const char *text, size_t len, int64_t count)
{
    uint32_t kept = (uint32_t)(len < TALLY_KEY_MAX ? len : TALLY_KEY_MAX);
    if (t->n * 2 >= t->n_slots)
        tally_grow(t);
    size_t at = tally_slot(t, hash, kept, text);
    if (t->slots[at]) {
        t->entries[t->slots[at] - 1].count += count;
        return;
    }
    if (t->n >= TALLY_MAX || t->arena_len + kept > ARENA_MAX) {
        t->other += count;
        return;
    }
    if (t->arena_len + kept > t->arena_capacity) {
        t->arena_capacity = t->arena_capacity ? t->arena_capacity * 2 : 4096;
        t->arena = xreallocarray(t->arena, t->arena_capacity, 1);
    }
    t->entries = grow_array(t->entries, &t->capacity, t->n, sizeof *t->entries);
    memcpy(t->arena + t->arena_len, text, kept);
    t->entries[t->n] =
        (struct tally_entry){.hash = hash, .offset = (uint32_t)t->arena_len, .length = kept, .count = count};
    t->arena_len += kept;
    t->slots[at] = (uint32_t)++t->n;
}

const struct tally_entry *tally_find(const struct tally *t, uint64_t hash, uint32_t length, const char *key)
{
    if (!t->n_slots)
        return NULL;
    size_t at = tally_slot(t, hash, length, key);
    return t->slots[at] ? &t->entries[t->slots[at] - 1] : NULL;
}

/* --- distinct values ------------------------------------------------------------------------------------- */

static void hll_add(uint8_t *registers, uint64_t hash)
{
    size_t at = hash >> 52;
    uint8_t rank = (uint8_t)(__builtin_clzll(hash << 12 | 1ull << 11) + 1);
    if (registers[at] < rank)
        registers[at] = rank;
}

/* The finaliser of splitmix64 (S. Vigna), for numbers. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

int64_t stats_distinct(const struct stats *s)
{
    if (s->kind == STAT_TEXT && s->tally.other == 0)
        return (int64_t)s->tally.n;
    double sum = 0;
    int zeros = 0;
    for (int i = 0; i < HLL_REGISTERS; i++) {
        sum += ldexp(1, -s->registers[i]);
        zeros += s->registers[i] == 0;
    }
    double m = HLL_REGISTERS, estimate = 0.7213 / (1 + 1.079 / m) * m * m / sum;
    if (estimate <= 2.5 * m && zeros)
        estimate = m * log(m / zeros);
    return (int64_t)floor(estimate + 0.5);
}

uint64_t stats_hash_integer(int64_t v)
{
    return mix((uint64_t)v);
}

uint64_t stats_hash_number(double v)
{
    uint64_t bits;
    v = v == 0 ? 0 : v; /* −0 equals 0 */
    memcpy(&bits, &v, sizeof bits);
    return mix(bits);
}

uint64_t stats_hash_text(const char *text, size_t len)
{
    return xxh64(text, len, 0);
}

/* --- one column -------------------------------------------------------------------------------------------- */

void stats_init(struct stats *s, enum stat_kind kind)
{
    *s = (struct stats){.kind = kind, .registers = xcalloc(HLL_REGISTERS, 1)};
    exactsum_init(&s->sum);
}

void stats_release(struct stats *s)
{
    free(s->histogram.bucket);
    free(s->histogram.count);
    free(s->tally.entries);
    free(s->tally.slots);
    free(s->tally.arena);
    free(s->registers);
    *s = (struct stats){0};
}

static void add_integer(struct stats *s, int64_t v, int64_t *scratch)
{
    if (!s->any) {
        s->any = true;
        s->int_min = s->int_max = v;
    } else if (v < s->int_min) {
        s->int_min = v;
    } else if (v > s->int_max) {
        s->int_max = v;
    }
    s->int_sum += v;
    scratch[histogram_bucket((double)v) + STAT_BUCKETS]++;
    hll_add(s->registers, mix((uint64_t)v));
}

static void add_number(struct stats *s, double v, int64_t *scratch)
{
    if (isnan(v)) {
        s->nans++;
        return;
    }
    hll_add(s->registers, stats_hash_number(v));
    if (isinf(v)) {
        s->infinities++;
        return;
    }
    if (!s->any) {
        s->any = true;
        s->min = s->max = v;
    } else if (v < s->min) {
        s->min = v;
    } else if (v > s->max) {
        s->max = v;
    }
    exactsum_add(&s->sum, v);
    scratch[histogram_bucket(v) + STAT_BUCKETS]++;
}

static void add_text(struct stats *s, const char *text, size_t len)
{
    uint64_t hash = xxh64(text, len, 0);
    hll_add(s->registers, mix(hash));
    tally_add(&s->tally, hash, text, len, 1);
}

void stats_add_batch(struct stats *s, const struct column *c, size_t n, int64_t *scratch)
{
    s->rows += (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        if (c->valid && !c->valid[i]) {
            s->nulls++;
            continue;
        }
        switch (s->kind) {
        case STAT_INTEGER:
        case STAT_TIME:
            add_integer(s, c->i64[i], scratch);
            break;
        case STAT_NUMBER:
            add_number(s, c->f64[i], scratch);
            break;
        case STAT_TEXT:
            add_text(s, c->text + c->offsets[i], c->offsets[i + 1] - c->offsets[i]);
            break;
        case STAT_OTHER:
            break;
        }
    }
}

void stats_collect(struct stats *s, int64_t *scratch)
{
    if (s->kind == STAT_TEXT || s->kind == STAT_OTHER || !s->any)
        return;
    bool number = s->kind == STAT_NUMBER;
    int32_t lo = histogram_bucket(number ? s->min : (double)s->int_min),
            hi = histogram_bucket(number ? s->max : (double)s->int_max);
    struct histogram h = {0};
    for (int32_t b = lo; b <= hi; b++) {
        int64_t *c = &scratch[b + STAT_BUCKETS];
        if (*c)
            histogram_append(&h, b, *c);
        *c = 0;
    }
    histogram_merge(&s->histogram, &h);
    free(h.bucket);
    free(h.count);
}

static void merge_range(struct stats *into, const struct stats *from)
{
    if (!from->any)
        return;
    if (!into->any) {
        into->any = true;
        into->int_min = from->int_min;
        into->int_max = from->int_max;
        into->min = from->min;
        into->max = from->max;
        return;
    }
    into->int_min = from->int_min < into->int_min ? from->int_min : into->int_min;
    into->int_max = from->int_max > into->int_max ? from->int_max : into->int_max;
    into->min = fmin(into->min, from->min);
    into->max = fmax(into->max, from->max);
}

void stats_merge(struct stats *into, struct stats *from)
{
    into->rows += from->rows;
    into->nulls += from->nulls;
    into->nans += from->nans;
    into->infinities += from->infinities;
    merge_range(into, from);
    into->int_sum += from->int_sum;
    exactsum_merge(&into->sum, &from->sum);
    histogram_merge(&into->histogram, &from->histogram);
    for (size_t i = 0; i < from->tally.n; i++) {
        const struct tally_entry *e = &from->tally.entries[i];
        tally_add(&into->tally, e->hash, from->tally.arena + e->offset, e->length, e->count);
    }
    into->tally.other += from->tally.other;
    for (int i = 0; i < HLL_REGISTERS; i++) {
        if (into->registers[i] < from->registers[i])
            into->registers[i] = from->registers[i];
    }
}

double stats_mean(struct stats *s)
{
    int64_t n = s->rows - s->nulls - s->nans - s->infinities;
    if (n <= 0 || (s->kind != STAT_INTEGER && s->kind != STAT_NUMBER))
        return NAN;
    return (s->kind == STAT_INTEGER ? (double)s->int_sum : exactsum_value(&s->sum)) / (double)n;
}

double stats_quantile(const struct stats *s, double q)
{
    int64_t total = histogram_total(&s->histogram), seen = 0;
    if (total == 0)
        return NAN;
    int64_t rank = (int64_t)ceil(q * (double)total);
    rank = rank < 1 ? 1 : rank > total ? total : rank;
    double lo = s->kind == STAT_NUMBER ? s->min : (double)s->int_min,
           hi = s->kind == STAT_NUMBER ? s->max : (double)s->int_max;
    for (size_t i = 0; i < s->histogram.n; i++) {
        seen += s->histogram.count[i];
        if (seen < rank)
            continue;
        double near = histogram_edge(s->histogram.bucket[i]),
               far = histogram_far_edge(s->histogram.bucket[i]);
        /* Small integers have a bucket each: its edge is the value. */
        double value = s->kind == STAT_NUMBER ? (near + far) / 2 : ceil(near);
        return fmin(fmax(value, lo), hi);
    }
    return hi;
}

static _Thread_local const struct tally *ranking; /* qsort() has no context */

static int compare_entries(const void *a, const void *b)
{
    const struct tally_entry *x = *(const struct tally_entry *const *)a,
                             *y = *(const struct tally_entry *const *)b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    size_t n = x->length < y->length ? x->length : y->length;
    int c = memcmp(ranking->arena + x->offset, ranking->arena + y->offset, n);
    if (c != 0)
        return c;
    return x->length < y->length ? -1 : x->length > y->length;
}

size_t stats_top(const struct stats *s, size_t max, const struct tally_entry **ret)
{
    const struct tally_entry **all = xcalloc(s->tally.n ? s->tally.n : 1, sizeof *all);
    for (size_t i = 0; i < s->tally.n; i++)
        all[i] = &s->tally.entries[i];
    ranking = &s->tally;
    qsort(all, s->tally.n, sizeof *all, compare_entries);
    size_t n = s->tally.n < max ? s->tally.n : max;
    memcpy(ret, all, n * sizeof *ret);
    free(all);
    return n;
}

/* --- JSON ------------------------------------------------------------------------------------------------- */

static void add_finite(cJSON *o, const char *key, double v)
{
    if (isfinite(v))
        json_add_double(o, key, v);
}

static void add_details(struct stats *s, cJSON *o)
{
    if (s->histogram.n) {
        cJSON *h = json_array();
        for (size_t i = 0; i < s->histogram.n; i++) {
            json_append(h, cJSON_CreateNumber(s->histogram.bucket[i]));
            json_append(h, cJSON_CreateNumber((double)s->histogram.count[i]));
        }
        json_add(o, "histogram", h);
        static const double levels[] = {0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999};
        cJSON *quantiles = json_array();
        for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
            cJSON *pair = json_array();
            json_append(pair, cJSON_CreateNumber(levels[i]));
            json_append(pair, cJSON_CreateNumber(stats_quantile(s, levels[i])));
            json_append(quantiles, pair);
        }
        json_add(o, "quantiles", quantiles);
    }
    if (s->kind == STAT_TEXT) {
        const struct tally_entry *top[TOP_VALUES];
        size_t n = stats_top(s, TOP_VALUES, top);
        cJSON *list = json_array();
        int64_t listed = 0;
        for (size_t i = 0; i < n; i++) {
            char key[TALLY_KEY_MAX + 1];
            memcpy(key, s->tally.arena + top[i]->offset, top[i]->length);
            key[top[i]->length] = '\0';
            /* A key cut in the middle of a character, or with a NUL inside, cannot be printed: it counts as other. */
            if (!text_valid_utf8(key, top[i]->length) || strlen(key) != top[i]->length)
                continue;
            cJSON *pair = json_array();
            json_append(pair, cJSON_CreateString(key));
            json_append(pair, cJSON_CreateNumber((double)top[i]->count));
            json_append(list, pair);
            listed += top[i]->count;
        }
        json_add(o, "top", list);
        json_add_int(o, "other", s->rows - s->nulls - listed);
    }
}

cJSON *stats_to_json(struct stats *s, bool whole)
{
    cJSON *o = json_object();
    json_add_string(o, "kind", stat_kind_names[s->kind]);
    json_add_int(o, "rows", s->rows);
    json_add_int(o, "nulls", s->nulls);
    if (s->kind == STAT_NUMBER) {
        json_add_int(o, "nans", s->nans);
        json_add_int(o, "infinities", s->infinities);
    }
    if (s->any && s->kind == STAT_NUMBER) {
        json_add_double(o, "min", s->min);
        json_add_double(o, "max", s->max);
    } else if (s->any) {
        json_add_int64_string(o, "min", s->int_min);
        json_add_int64_string(o, "max", s->int_max);
    }
    if (s->kind != STAT_OTHER)
        json_add_int(o, "distinct", stats_distinct(s));
    add_finite(o, "mean", stats_mean(s));
    if (whole)
        add_details(s, o);
    return o;
}

static int load_histogram(const cJSON *list, struct stats *s, const struct json_path *path, struct err *err)
{
    for (const cJSON *b = list ? list->child : NULL; b; b = b->next->next) {
        if (!b->next || !cJSON_IsNumber(b) || !cJSON_IsNumber(b->next) ||
            fabs(b->valuedouble) > STAT_BUCKETS || b->next->valuedouble < 0 ||
            (s->histogram.n && b->valueint <= s->histogram.bucket[s->histogram.n - 1]))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "profile",
                            "%s: histogram: expected bucket, count, … in ascending order", path->key);
        histogram_append(&s->histogram, b->valueint, (int64_t)b->next->valuedouble);
    }
    return 0;
}

static int load_top(const cJSON *list, struct stats *s, const struct json_path *path, struct err *err)
{
    const cJSON *pair;
    cJSON_ArrayForEach(pair, list)
    {
        const cJSON *key = cJSON_GetArrayItem(pair, 0), *count = cJSON_GetArrayItem(pair, 1);
        if (!cJSON_IsString(key) || !cJSON_IsNumber(count))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "profile",
                            "%s: top: expected pairs of text and count", path->key);
        size_t len = strlen(key->valuestring);
        tally_add(&s->tally, xxh64(key->valuestring, len, 0), key->valuestring, len,
                  (int64_t)count->valuedouble);
    }
    return 0;
}

int stats_from_json(const cJSON *o, struct stats *ret, struct err *err)
{
    struct json_path path = {.key = o && o->string ? o->string : "column"};
    const char *kind;
    if (json_get_string(o, &path, "kind", &kind, err) < 0)
        return -1;
    int k = 0;
    while (stat_kind_names[k] && !text_equal(stat_kind_names[k], kind))
        k++;
    if (!stat_kind_names[k])
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "profile", "%s: unknown kind \"%.40s\"", path.key,
                        kind);
    struct stats s;
    stats_init(&s, (enum stat_kind)k);
    const cJSON *histogram, *top;
    int64_t other;
    if (json_get_int(o, &path, "rows", &s.rows, err) < 0 ||
        json_get_int(o, &path, "nulls", &s.nulls, err) < 0 ||
        json_get_int_or(o, &path, "nans", 0, &s.nans, err) < 0 ||
        json_get_int_or(o, &path, "infinities", 0, &s.infinities, err) < 0 ||
        json_get_int_or(o, &path, "other", 0, &other, err) < 0 ||
        json_get_array_or(o, &path, "histogram", &histogram, err) < 0 ||
        json_get_array_or(o, &path, "top", &top, err) < 0 || load_histogram(histogram, &s, &path, err) < 0 ||
        load_top(top, &s, &path, err) < 0) {
        stats_release(&s);
        return -1;
    }
    s.tally.other = other;
    *ret = s;
    return 0;
}
