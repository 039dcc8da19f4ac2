/* Rows to shards: see shardwriter.h. */
#include "stages/featurize/shardwriter.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"

struct shardwriter {
    struct shardwriter_config config;
    char *directory;
    size_t n, files;
    int64_t total;
    float *dense, *label, *weight;
    int32_t *cat;
    int64_t *group, *row_key;
    struct shard_carry *carry;
    int32_t **codes;
};

int shardwriter_new(const struct shardwriter_config *config, struct shardwriter **ret, struct err *err)
{
    if (fs_mkdir_p(config->directory, err) < 0)
        return -1;
    struct shardwriter *w = xcalloc(1, sizeof *w);
    size_t rows = config->rows;
    w->config = *config;
    w->directory = xstrdup(config->directory);
    w->dense = xreallocarray(NULL, rows * config->dense_width + 1, sizeof *w->dense);
    w->cat = xreallocarray(NULL, rows * config->cat_width + 1, sizeof *w->cat);
    w->label = config->label ? xreallocarray(NULL, rows, sizeof *w->label) : NULL;
    w->weight = config->weight ? xreallocarray(NULL, rows, sizeof *w->weight) : NULL;
    w->group = config->group ? xreallocarray(NULL, rows, sizeof *w->group) : NULL;
    w->row_key = config->row_key ? xreallocarray(NULL, rows, sizeof *w->row_key) : NULL;
    w->carry = xcalloc(config->n_carry + 1, sizeof *w->carry);
    w->codes = xcalloc(config->n_carry + 1, sizeof *w->codes);
    for (size_t i = 0; i < config->n_carry; i++) {
        w->codes[i] = xreallocarray(NULL, rows, sizeof *w->codes[i]);
        w->carry[i] = (struct shard_carry){.name = config->carry[i], .codes = w->codes[i]};
    }
    *ret = w;
    return 0;
}

struct shardwriter *shardwriter_free(struct shardwriter *w)
{
    if (!w)
        return NULL;
    for (size_t i = 0; i < w->config.n_carry; i++)
        free(w->codes[i]);
    free(w->codes);
    free(w->carry);
    free(w->dense);
    free(w->cat);
    free(w->label);
    free(w->weight);
    free(w->group);
    free(w->row_key);
    free(w->directory);
    free(w);
    return NULL;
}

int shardwriter_finish(struct shardwriter *w, struct err *err)
{
    if (w->n == 0)
        return 0;
    _cleanup_free_ char *path = xasprintf("%s/%05zu.safetensors", w->directory, w->files++);
    const struct shard s = {.n = w->n,
                            .dense_width = w->config.dense_width,
                            .cat_width = w->config.cat_width,
                            .label_width = w->label ? 1 : 0,
                            .dense = w->dense,
                            .cat = w->cat,
                            .label = w->label,
                            .weight = w->weight,
                            .group = w->group,
                            .row_key = w->row_key,
                            .carry = w->carry,
                            .n_carry = w->config.n_carry};
    w->n = 0;
    return shard_write(path, &s, err);
}

int shardwriter_add(struct shardwriter *w, const struct shardwriter_row *row, struct err *err)
{
    size_t at = w->n++;
    memcpy(w->dense + at * w->config.dense_width, row->dense, w->config.dense_width * sizeof *w->dense);
    memcpy(w->cat + at * w->config.cat_width, row->cat, w->config.cat_width * sizeof *w->cat);
    if (w->label)
        w->label[at] = row->label;
    if (w->weight)
        w->weight[at] = row->weight;
    if (w->group)
        w->group[at] = row->group;
    if (w->row_key)
        w->row_key[at] = row->row_key;
    for (size_t i = 0; i < w->config.n_carry; i++)
        w->codes[i][at] = row->carry[i];
    w->total++;
    return w->n == w->config.rows ? shardwriter_finish(w, err) : 0;
}

int64_t shardwriter_rows(const struct shardwriter *w)
{
    return w->total;
}
