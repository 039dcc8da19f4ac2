/* Shards of transformed rows: see shard.h. */
#include "stages/tensor/shard.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/text.h"

static const char carry_prefix[] = "carry.";

/* The number of rows is what the first tensor present says; every other must agree. */
static int rows_of(const struct safetensors *f, const char *path, size_t *ret, struct err *err)
{
    static const char *const names[] = {"dense", "cat", "label", "weight", "group", "row_key"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct safetensors_tensor *t = safetensors_find(f, names[i]);
        if (t && t->rank >= 1) {
            if (t->shape[0] > SHARD_ROWS_MAX)
                return err_fail(err, ERR_INVALID, EXITCODE_DATA, "shard",
                                "%s: %lld rows, a shard has at most %d", path, (long long)t->shape[0],
                                SHARD_ROWS_MAX);
            *ret = (size_t)t->shape[0];
            return 0;
        }
    }
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "shard",
                    "%s: none of dense, cat, label, weight, group, row_key is in it: no shard of ours", path);
}

/* Absent is fine: NULL. rank 2 also gives the width. */
static int view(const struct safetensors *f, const char *name, enum safetensors_dtype dtype, size_t n,
                size_t *ret_width, const void **ret, struct err *err)
{
    if (!safetensors_find(f, name))
        return 0;
    const struct safetensors_tensor *t;
    const int64_t shape[] = {(int64_t)n, -1};
    if (safetensors_get(f, name, dtype, ret_width ? 2 : 1, shape, &t, err) < 0)
        return -1;
    if (ret_width)
        *ret_width = (size_t)t->shape[1];
    *ret = t->data;
    return 0;
}

static int carry_views(struct shard *s, struct err *err)
{
    const struct safetensors *f = s->file;
    s->carry = xcalloc(safetensors_count(f) + 1, sizeof *s->carry);
    for (size_t i = 0; i < safetensors_count(f); i++) {
        const struct safetensors_tensor *t = safetensors_at(f, i);
        if (!text_starts_with(t->name, carry_prefix))
            continue;
        const void *codes = NULL;
        if (view(f, t->name, SAFETENSORS_I32, s->n, NULL, &codes, err) < 0)
            return -1;
        s->carry[s->n_carry++] =
            (struct shard_carry){.name = t->name + sizeof carry_prefix - 1, .codes = codes};
    }
    return 0;
}

int shard_open(const char *path, struct shard **ret, struct err *err)
{
    _cleanup_shard_ struct shard *s = xcalloc(1, sizeof *s);
    if (safetensors_open(path, &s->file, err) < 0 || rows_of(s->file, path, &s->n, err) < 0)
        return -1;
    const struct safetensors *f = s->file;
    const void *dense = NULL, *cat = NULL, *label = NULL, *weight = NULL, *group = NULL, *row_key = NULL;
    if (view(f, "dense", SAFETENSORS_F32, s->n, &s->dense_width, &dense, err) < 0 ||
        view(f, "cat", SAFETENSORS_I32, s->n, &s->cat_width, &cat, err) < 0 ||
        view(f, "label", SAFETENSORS_F32, s->n, &s->label_width, &label, err) < 0 ||
        view(f, "weight", SAFETENSORS_F32, s->n, NULL, &weight, err) < 0 ||
        view(f, "group", SAFETENSORS_I64, s->n, NULL, &group, err) < 0 ||
        view(f, "row_key", SAFETENSORS_I64, s->n, NULL, &row_key, err) < 0 || carry_views(s, err) < 0)
        return -1;
    s->dense = dense;
    s->cat = cat;
    s->label = label;
    s->weight = weight;
    s->group = group;
    s->row_key = row_key;
    *ret = steal_ptr(s);
    return 0;
}

struct shard *shard_free(struct shard *s)
{
    if (!s)
        return NULL;
    /* A shard to write belongs to its maker, on the stack or not; only opened ones come here. */
    free(s->carry);
    safetensors_free(s->file);
    free(s);
    return NULL;
}

static void add(struct safetensors_tensor *tensors, size_t *n, const char *name, enum safetensors_dtype dtype,
                const void *data, size_t rows, size_t width, size_t rank)
{
    if (!data || width == 0)
        return;
    tensors[(*n)++] = (struct safetensors_tensor){.name = name,
                                                  .dtype = dtype,
                                                  .rank = rank,
                                                  .shape = {(int64_t)rows, (int64_t)width},
                                                  .data = data};
}

int shard_write(const char *path, const struct shard *s, struct err *err)
{
    if (s->n > SHARD_ROWS_MAX)
        BUG("shard of %zu rows", s->n);
    _cleanup_free_ struct safetensors_tensor *tensors = xcalloc(6 + s->n_carry, sizeof *tensors);
    char **names = xcalloc(s->n_carry + 1, sizeof *names);
    size_t n = 0;
    add(tensors, &n, "dense", SAFETENSORS_F32, s->dense, s->n, s->dense_width, 2);
    add(tensors, &n, "cat", SAFETENSORS_I32, s->cat, s->n, s->cat_width, 2);
    add(tensors, &n, "label", SAFETENSORS_F32, s->label, s->n, s->label_width, 2);
    add(tensors, &n, "weight", SAFETENSORS_F32, s->weight, s->n, 1, 1);
    add(tensors, &n, "group", SAFETENSORS_I64, s->group, s->n, 1, 1);
    add(tensors, &n, "row_key", SAFETENSORS_I64, s->row_key, s->n, 1, 1);
    for (size_t i = 0; i < s->n_carry; i++) {
        names[i] = xasprintf("%s%s", carry_prefix, s->carry[i].name);
        add(tensors, &n, names[i], SAFETENSORS_I32, s->carry[i].codes, s->n, 1, 1);
    }
    int r = safetensors_write(path, tensors, n, NULL, err);
    for (size_t i = 0; i < s->n_carry; i++)
        free(names[i]);
    free(names);
    return r;
}

int shard_list_open(const char *dir, struct shard_list *ret, struct err *err)
{
    struct fs_list files = {0};
    struct shard_list list = {0};
    if (fs_list_inputs(dir, &files, err) < 0)
        return -1;
    list.paths = xcalloc(files.n + 1, sizeof *list.paths);
    list.rows = xcalloc(files.n + 1, sizeof *list.rows);
    int r = 0;
    for (size_t i = 0; i < files.n && r == 0; i++) {
        if (!text_ends_with(files.names[i], ".safetensors"))
            continue;
        _cleanup_shard_ struct shard *s = NULL;
        list.paths[list.n] = fs_join(dir, files.names[i]);
        r = shard_open(list.paths[list.n++], &s, err);
        if (r == 0) {
            list.rows[list.n - 1] = (int64_t)s->n;
            list.total_rows += (int64_t)s->n;
        }
    }
    fs_list_release(&files);
    if (r == 0 && list.n == 0)
        r = err_fail(err, ERR_INVALID, EXITCODE_DATA, "shard",
                     "%s: expected shards 00000.safetensors, 00001.safetensors, …, found none", dir);
    if (r < 0)
        shard_list_release(&list);
    else
        *ret = list;
    return r;
}

void shard_list_release(struct shard_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->paths[i]);
    free(l->paths);
    free(l->rows);
    *l = (struct shard_list){0};
}
