/* A features artifact with a known pattern, for tests of train-ddp that need no featurize: shards, feature spec, golden
 * rows. Click logit = −0.5 + item effect + group × bucket interaction + 0.6·price, all drawn from the seed.
 *
 * usage: synthetic-features DIR TRAIN_ROWS VALIDATION_ROWS SHARD_ROWS SEED [broken]     (broken: one label is 3) */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/text.h"
#include "stages/tensor/shard.h"

enum { DENSE = 2, CATS = 3, ITEMS = 200, GROUPS = 8, BUCKETS = 16, GOLDEN = 32 };

static const char spec[] =
    "{\"version\":1,\"raw\":[{\"name\":\"price\",\"sql\":\"price\",\"type\":\"f64\"},{\"name\":\"item\",\"sql\":\"item\",\"type\":\"i64\"},"
    "{\"name\":\"segment\",\"sql\":\"segment\",\"type\":\"i64\"},{\"name\":\"bucket\",\"sql\":\"bucket\",\"type\":\"i64\",\"servingSql\":\"1\"}],\"features\":["
    "{\"name\":\"price\",\"raw\":\"price\",\"numeric\":{\"fill\":0,\"missingFlag\":true,\"transform\":\"none\",\"offset\":0,\"scale\":1}},"
    "{\"name\":\"item\",\"raw\":\"item\",\"categorical\":{\"values\":{\"from\":0,\"to\":199}}},"
    "{\"name\":\"segment\",\"raw\":\"segment\",\"categorical\":{\"values\":{\"from\":0,\"to\":7}}},"
    "{\"name\":\"bucket\",\"raw\":\"bucket\",\"categorical\":{\"values\":{\"from\":0,\"to\":15}}}],"
    "\"label\":{\"column\":\"clicked\",\"type\":\"binary\"},\"newestTrainTime\":\"1700000000000\"}";

struct row {
    float dense[DENSE], label;
    int32_t cat[CATS];
};

/* Uniform in [0, 1) from a hash of what it is for. */
static double uniform(uint64_t seed, uint64_t what, uint64_t index)
{
    uint64_t key[2] = {what, index};
    return (double)(xxh64(key, sizeof key, seed) >> 11) * 0x1p-53;
}

static struct row make_row(uint64_t seed, uint64_t index)
{
    uint64_t item = (uint64_t)(uniform(seed, 1, index) * uniform(seed, 2, index) * ITEMS),
             group = (uint64_t)(uniform(seed, 3, index) * GROUPS),
             bucket = (uint64_t)(uniform(seed, 4, index) * BUCKETS);
    double price = 2 * uniform(seed, 5, index) - 1;
    double logit = -0.5 + 2 * (uniform(seed, 6, item) - 0.5) +
                   3 * (uniform(seed, 7, group * BUCKETS + bucket) - 0.5) + 0.6 * price;
    struct row r = {.dense = {(float)price, 0},
                    .cat = {(int32_t)item + 2, (int32_t)group + 2, (int32_t)bucket + 2}};
    r.label = uniform(seed, 8, index) < 1 / (1 + exp(-logit)) ? 1 : 0;
    return r;
}

static int write_split(const char *dir, const char *split, uint64_t seed, uint64_t first, int64_t rows,
                       int64_t per_shard, bool broken, struct err *err)
{
    _cleanup_free_ char *folder = fs_join(dir, split);
    if (fs_mkdir_p(folder, err) < 0)
        return -1;
    float *dense = xcalloc((size_t)per_shard * DENSE, sizeof *dense),
          *label = xcalloc((size_t)per_shard, sizeof *label);
    int32_t *cat = xcalloc((size_t)per_shard * CATS, sizeof *cat);
    int64_t *key = xcalloc((size_t)per_shard, sizeof *key);
    int r = 0;
    for (int64_t at = 0, k = 0; at < rows && r == 0; at += per_shard, k++) {
        int64_t n = rows - at < per_shard ? rows - at : per_shard;
        for (int64_t i = 0; i < n; i++) {
            struct row x = make_row(seed, first + (uint64_t)(at + i));
            memcpy(dense + i * DENSE, x.dense, sizeof x.dense);
            memcpy(cat + i * CATS, x.cat, sizeof x.cat);
            label[i] = broken && at + i == 7 ? 3 : x.label;
            key[i] = (int64_t)first + at + i;
        }
        struct shard s = {.n = (size_t)n,
                          .dense_width = DENSE,
                          .cat_width = CATS,
                          .label_width = 1,
                          .dense = dense,
                          .cat = cat,
                          .label = label,
                          .row_key = key};
        _cleanup_free_ char *name = xasprintf("%05" PRId64 ".safetensors", k), *path = fs_join(folder, name);
        r = shard_write(path, &s, err);
    }
    free(dense);
    free(label);
    free(cat);
    free(key);
    return r;
}

static int write_documents(const char *dir, uint64_t seed, struct err *err)
{
    _cleanup_free_ char *spec_path = fs_join(dir, "feature-spec.json"),
                        *golden_path = fs_join(dir, "golden.json");
    _cleanup_buf_ struct buf b = BUF_INIT(1 << 20);
    (void)buf_adds(&b, "{\"version\":1,\"rows\":[");
    for (uint64_t i = 0; i < GOLDEN; i++) {
        struct row r = make_row(seed, 1000000000 + i);
        (void)buf_addf(
            &b,
            "%s{\"row_key\":\"%" PRIu64
            "\",\"raw\":{\"price\":%.9g,\"item\":\"%d\",\"segment\":\"%d\",\"bucket\":\"%d\"},\"dense\":[%.9g,0],\"cat\":[%d,%d,%d]}",
            i ? "," : "", i, (double)r.dense[0], r.cat[0] - 2, r.cat[1] - 2, r.cat[2] - 2, (double)r.dense[0],
            r.cat[0], r.cat[1], r.cat[2]);
    }
    (void)buf_adds(&b, "]}");
    if (buf_check(&b, "golden.json", err) < 0 || fs_write_atomic(golden_path, b.data, b.len, err) < 0)
        return -1;
    return fs_write_atomic(spec_path, spec, strlen(spec), err);
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    int64_t n[4];
    if (argc < 6)
        return fprintf(stderr, "usage: %s DIR TRAIN_ROWS VALIDATION_ROWS SHARD_ROWS SEED [broken]\n",
                       argv[0]),
               64;
    for (int i = 0; i < 4; i++)
        if (text_parse_int(argv[2 + i], &n[i], &err) < 0 || n[i] < 0)
            return fprintf(stderr, "%s: expected a number, found %s\n", argv[0], argv[2 + i]), 64;
    uint64_t seed = (uint64_t)n[3];
    if (n[2] < 1 || n[2] > SHARD_ROWS ||
        write_split(argv[1], "train", seed, 0, n[0], n[2], argc > 6, &err) < 0 ||
        write_split(argv[1], "validation", seed, 500000000, n[1], n[2], false, &err) < 0 ||
        write_documents(argv[1], seed, &err) < 0)
        return fprintf(stderr, "%s: %s\n", argv[0], err.msg), 1;
    return 0;
}
