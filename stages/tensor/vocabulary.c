/* Vocabularies: see vocabulary.h. Look-up goes through a direct table for integers in a narrow range, else through an open-addressed
 * hash table over the sorted keys. */
#include "stages/tensor/vocabulary.h"

#include <string.h>

#include "common/base/alloc.h"

struct slot {
    uint32_t tag;   /* upper bits of the hash: most misses end here */
    uint32_t index; /* into the sorted keys, + 1; 0: empty */
};

struct vocabulary {
    enum column_type type;
    int32_t first_id;
    size_t n, capacity;
    int64_t *keys; /* I64 */
    char *text;    /* STR */
    int64_t *offsets;
    size_t text_len, text_capacity, offsets_capacity;
    int32_t *ids;
    /* Index. */
    struct slot *slots;
    size_t mask;
    int32_t *direct; /* id by key − direct_from, −1: none */
    int64_t direct_from;
    size_t direct_n;
    char *names[VOCABULARY_TENSORS];
};

struct vocabulary *vocabulary_new(enum column_type type, int32_t first_id)
{
    if (type == COLUMN_F64)
        BUG("a vocabulary of doubles");
    struct vocabulary *v = xcalloc(1, sizeof *v);
    v->type = type;
    v->first_id = first_id;
    return v;
}

struct vocabulary *vocabulary_free(struct vocabulary *v)
{
    if (!v)
        return NULL;
    free(v->keys);
    free(v->text);
    free(v->offsets);
    free(v->ids);
    free(v->slots);
    free(v->direct);
    for (size_t i = 0; i < VOCABULARY_TENSORS; i++)
        free(v->names[i]);
    free(v);
    return NULL;
}

void vocabulary_add_i64(struct vocabulary *v, int64_t key)
{
    v->keys = grow_array(v->keys, &v->capacity, v->n, sizeof *v->keys);
    v->keys[v->n++] = key;
}

void vocabulary_add_text(struct vocabulary *v, const char *text, size_t len)
{
    v->offsets = grow_array(v->offsets, &v->offsets_capacity, v->n + 1, sizeof *v->offsets);
    v->text = grow_array(v->text, &v->text_capacity, v->text_len + len, 1);
    v->offsets[0] = 0;
    memcpy(v->text + v->text_len, text, len);
    v->text_len += len;
    v->offsets[++v->n] = (int64_t)v->text_len;
}

/* --- index ----------------------------------------------------------------------------------------- */

static uint64_t mix(int64_t key)
{
    uint64_t h = (uint64_t)key * 0x9e3779b97f4a7c15ULL;
    return h ^ h >> 32;
}

/* For the index only: short texts, often looked up. */
static uint64_t text_hash(const char *text, size_t len)
{
    uint64_t h = len * 0xff51afd7ed558ccdULL, w;
    for (; len >= 8; text += 8, len -= 8) {
        memcpy(&w, text, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 29;
    }
    w = 0;
    for (size_t i = 0; i < len; i++)
        w |= (uint64_t)(unsigned char)text[i] << (8 * i);
    h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
    return h ^ h >> 32;
}

static uint64_t hash_at(const struct vocabulary *v, size_t i)
{
    if (v->type == COLUMN_I64)
        return mix(v->keys[i]);
    return text_hash(v->text + v->offsets[i], (size_t)(v->offsets[i + 1] - v->offsets[i]));
}

static bool index_direct(struct vocabulary *v)
{
    if (v->type != COLUMN_I64 || v->n == 0)
        return false;
    uint64_t range = (uint64_t)v->keys[v->n - 1] - (uint64_t)v->keys[0];
    if (range >= 8 * (uint64_t)v->n + 1024)
        return false;
    v->direct_from = v->keys[0];
    v->direct_n = (size_t)range + 1;
    v->direct = xreallocarray(NULL, v->direct_n, sizeof *v->direct);
    memset(v->direct, 0xff, v->direct_n * sizeof *v->direct);
    for (size_t i = 0; i < v->n; i++)
        v->direct[(uint64_t)v->keys[i] - (uint64_t)v->direct_from] = v->ids[i];
    return true;
}

static void index_build(struct vocabulary *v)
{
    if (index_direct(v))
        return;
    size_t size = 8;
    while (size < 2 * v->n)
        size *= 2;
    v->mask = size - 1;
    v->slots = xcalloc(size, sizeof *v->slots);
    for (size_t i = 0; i < v->n; i++) {
        uint64_t h = hash_at(v, i);
        size_t at = h & v->mask;
        while (v->slots[at].index)
            at = (at + 1) & v->mask;
        v->slots[at] = (struct slot){.tag = (uint32_t)(h >> 32), .index = (uint32_t)i + 1};
    }
}

int32_t vocabulary_find_i64(const struct vocabulary *v, int64_t key)
{
    if (v->direct) {
        uint64_t at = (uint64_t)key - (uint64_t)v->direct_from;
        return at < v->direct_n ? v->direct[at] : -1;
    }
    uint64_t h = mix(key);
    for (size_t at = h & v->mask; v->slots[at].index; at = (at + 1) & v->mask) {
        size_t i = v->slots[at].index - 1;
        if (v->keys[i] == key)
            return v->ids[i];
    }
    return -1;
}

int32_t vocabulary_find_text(const struct vocabulary *v, const char *text, size_t len)
{
    uint64_t h = text_hash(text, len);
    for (size_t at = h & v->mask; v->slots[at].index; at = (at + 1) & v->mask) {
        size_t i = v->slots[at].index - 1;
        if (v->slots[at].tag == (uint32_t)(h >> 32) && (size_t)(v->offsets[i + 1] - v->offsets[i]) == len &&
            memcmp(v->text + v->offsets[i], text, len) == 0)
            return v->ids[i];
    }
    return -1;
}

/* --- finishing and loading ---------------------------------------------------------------------------- */

struct sort_item {
    int64_t key;
    const char *text;
    size_t len;
    int32_t id;
};

static int by_key(const void *a, const void *b)
{
    const struct sort_item *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static int text_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return c ? c : a_len < b_len ? -1 : a_len > b_len;
}

static int by_text(const void *a, const void *b)
{
    const struct sort_item *x = a, *y = b;
    return text_compare(x->text, x->len, y->text, y->len);
}

/* keys[i − 1] < keys[i]? */
static bool in_order(const struct vocabulary *v, size_t i)
{
    if (v->type == COLUMN_I64)
        return v->keys[i - 1] < v->keys[i];
    const int64_t *o = v->offsets;
    return text_compare(v->text + o[i - 1], (size_t)(o[i] - o[i - 1]), v->text + o[i],
                        (size_t)(o[i + 1] - o[i])) < 0;
}

static int duplicate(const struct vocabulary *v, size_t i, struct err *err)
{
    if (v->type == COLUMN_I64)
        return err_set(err, ERR_INVALID, "value %lld stands twice (or out of order) in the vocabulary",
                       (long long)v->keys[i]);
    return err_set(err, ERR_INVALID, "value '%.*s' stands twice (or out of order) in the vocabulary",
                   (int)(v->offsets[i + 1] - v->offsets[i]), v->text + v->offsets[i]);
}

int vocabulary_finish(struct vocabulary *v, struct err *err)
{
    _cleanup_free_ struct sort_item *items = xcalloc(v->n + 1, sizeof *items);
    v->ids = xreallocarray(v->ids, v->n + 1, sizeof *v->ids);
    for (size_t i = 0; i < v->n; i++) {
        items[i].id = v->first_id + (int32_t)i;
        if (v->type == COLUMN_I64) {
            items[i].key = v->keys[i];
        } else {
            items[i].text = v->text + v->offsets[i];
            items[i].len = (size_t)(v->offsets[i + 1] - v->offsets[i]);
        }
    }
    qsort(items, v->n, sizeof *items, v->type == COLUMN_I64 ? by_key : by_text);
    if (v->type == COLUMN_STR) {
        if (!v->offsets)
            v->offsets = xcalloc(1, sizeof *v->offsets);
        char *sorted = xmalloc(v->text_len + 1);
        int64_t at = 0;
        for (size_t i = 0; i < v->n; i++) {
            memcpy(sorted + at, items[i].text, items[i].len);
            at += (int64_t)items[i].len;
            v->offsets[i + 1] = at;
        }
        free(v->text);
        v->text = sorted;
    }
    for (size_t i = 0; i < v->n; i++) {
        if (v->type == COLUMN_I64)
            v->keys[i] = items[i].key;
        v->ids[i] = items[i].id;
    }
    for (size_t i = 1; i < v->n; i++) {
        if (!in_order(v, i))
            return duplicate(v, i, err);
    }
    index_build(v);
    return 0;
}

size_t vocabulary_tensors(struct vocabulary *v, const char *feature,
                          struct safetensors_tensor ret[static VOCABULARY_TENSORS])
{
    static const char *const i64_parts[] = {"keys", "ids"}, *const text_parts[] = {"offsets", "ids", "text"};
    size_t n = v->type == COLUMN_I64 ? 2 : 3;
    for (size_t i = 0; i < n; i++) {
        free(v->names[i]);
        v->names[i] =
            xasprintf("vocabulary.%s.%s", feature, (v->type == COLUMN_I64 ? i64_parts : text_parts)[i]);
        ret[i] = (struct safetensors_tensor){.name = v->names[i], .rank = 1};
    }
    if (v->type == COLUMN_I64)
        ret[0] = (struct safetensors_tensor){.name = v->names[0],
                                             .dtype = SAFETENSORS_I64,
                                             .rank = 1,
                                             .shape = {(int64_t)v->n},
                                             .data = v->keys};
    else
        ret[0] = (struct safetensors_tensor){.name = v->names[0],
                                             .dtype = SAFETENSORS_I64,
                                             .rank = 1,
                                             .shape = {(int64_t)v->n + 1},
                                             .data = v->offsets};
    ret[1] = (struct safetensors_tensor){.name = v->names[1],
                                         .dtype = SAFETENSORS_I32,
                                         .rank = 1,
                                         .shape = {(int64_t)v->n},
                                         .data = v->ids};
    if (n == 3)
        ret[2] = (struct safetensors_tensor){.name = v->names[2],
                                             .dtype = SAFETENSORS_U8,
                                             .rank = 1,
                                             .shape = {(int64_t)v->text_len},
                                             .data = v->text};
    return n;
}

static int get(const struct safetensors *f, const char *feature, const char *part,
               enum safetensors_dtype dtype, int64_t n, const struct safetensors_tensor **ret,
               struct err *err)
{
    _cleanup_free_ char *name = xasprintf("vocabulary.%s.%s", feature, part);
    return safetensors_get(f, name, dtype, 1, &n, ret, err);
}

static int load_ids(struct vocabulary *v, const struct safetensors *f, const char *feature, struct err *err)
{
    const struct safetensors_tensor *t;
    if (get(f, feature, "ids", SAFETENSORS_I32, (int64_t)v->n, &t, err) < 0)
        return -1;
    v->ids = xreallocarray(NULL, v->n + 1, sizeof *v->ids);
    memcpy(v->ids, t->data, v->n * sizeof *v->ids);
    _cleanup_free_ uint8_t *seen = xcalloc(v->n + 1, 1);
    for (size_t i = 0; i < v->n; i++) {
        int64_t at = (int64_t)v->ids[i] - v->first_id;
        if (at < 0 || at >= (int64_t)v->n || seen[at]++)
            return err_set(err, ERR_INVALID, "id %d of key %zu: expected each of %d … %lld once", v->ids[i],
                           i, v->first_id, (long long)(v->first_id + (int64_t)v->n - 1));
    }
    return 0;
}

static int load_text(struct vocabulary *v, const struct safetensors *f, const char *feature, struct err *err)
{
    const struct safetensors_tensor *offsets, *text;
    if (get(f, feature, "offsets", SAFETENSORS_I64, -1, &offsets, err) < 0 ||
        get(f, feature, "text", SAFETENSORS_U8, -1, &text, err) < 0)
        return -1;
    if (offsets->shape[0] < 1)
        return err_set(err, ERR_INVALID, "no offsets: expected n + 1");
    v->n = (size_t)offsets->shape[0] - 1;
    v->text_len = text->bytes;
    v->text = xmalloc(text->bytes + 1);
    memcpy(v->text, text->data, text->bytes);
    v->offsets = xreallocarray(NULL, v->n + 1, sizeof *v->offsets);
    memcpy(v->offsets, offsets->data, (v->n + 1) * sizeof *v->offsets);
    for (size_t i = 0; i < v->n; i++) {
        if (v->offsets[i] > v->offsets[i + 1])
            return err_set(err, ERR_INVALID, "offset %zu decreases", i + 1);
    }
    if (v->offsets[0] != 0 || v->offsets[v->n] != (int64_t)v->text_len)
        return err_set(err, ERR_INVALID, "offsets run from %lld to %lld, the text has %zu bytes",
                       (long long)v->offsets[0], (long long)v->offsets[v->n], v->text_len);
    return 0;
}

static int load(struct vocabulary *v, const struct safetensors *f, const char *feature, struct err *err)
{
    if (v->type == COLUMN_I64) {
        const struct safetensors_tensor *keys;
        if (get(f, feature, "keys", SAFETENSORS_I64, -1, &keys, err) < 0)
            return -1;
        v->n = (size_t)keys->shape[0];
        v->keys = xreallocarray(NULL, v->n + 1, sizeof *v->keys);
        memcpy(v->keys, keys->data, v->n * sizeof *v->keys);
    } else if (load_text(v, f, feature, err) < 0) {
        return -1;
    }
    if (v->n > INT32_MAX / 2)
        return err_set(err, ERR_INVALID, "%zu values are too many", v->n);
    for (size_t i = 1; i < v->n; i++) {
        if (!in_order(v, i))
            return duplicate(v, i, err);
    }
    return load_ids(v, f, feature, err);
}

int vocabulary_load(const struct safetensors *f, const char *feature, enum column_type type, int32_t first_id,
                    struct vocabulary **ret, struct err *err)
{
    _cleanup_vocabulary_ struct vocabulary *v = vocabulary_new(type, first_id);
    if (load(v, f, feature, err) < 0)
        return err_wrap(err, "vocabulary of '%s'", feature);
    index_build(v);
    *ret = steal_ptr(v);
    return 0;
}

size_t vocabulary_size(const struct vocabulary *v)
{
    return v->n;
}
