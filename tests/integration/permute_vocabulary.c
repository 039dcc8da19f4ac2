/* Permutes a model's vocabulary ids, and with them the rows of its tables and the ids in its golden rows: another model by its bytes,
 * the same one by its scores. Evaluating it against the original must give a delta of 0.
 *
 * usage: permute-vocabulary IN-DIR OUT-DIR SEED      prints how many features were permuted */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "stages/tensor/featurehash.h"
#include "stages/tensor/featurespec.h"
#include "stages/tensor/safetensors.h"

enum { FILE_MAX = 1 << 30 };

struct permutation {
    const char *feature; /* NULL: none */
    size_t first, n;     /* ids first … first + n − 1 change places */
    size_t *to;          /* of id first + i */
};

static void shuffle(struct permutation *p, uint64_t seed)
{
    p->to = xcalloc(p->n + 1, sizeof *p->to);
    for (size_t i = 0; i < p->n; i++)
        p->to[i] = p->first + i;
    for (size_t i = p->n; i > 1; i--) {
        size_t k = featurehash_below(featurehash_i64((int64_t)i, seed), i), t = p->to[i - 1];
        p->to[i - 1] = p->to[k];
        p->to[k] = t;
    }
}

/* The features with a vocabulary, by the document. */
static size_t find_permutations(const struct featurespec *spec, uint64_t seed, struct permutation *ret)
{
    size_t n = 0, at = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(featurespec_document(spec), "features"))
    {
        const cJSON *categorical = cJSON_GetObjectItemCaseSensitive(item, "categorical");
        if (!categorical)
            continue;
        struct permutation *p = &ret[at++];
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(categorical, "vocabulary");
        if (!v)
            continue;
        p->feature = cJSON_GetObjectItemCaseSensitive(item, "name")->valuestring;
        p->n = (size_t)cJSON_GetObjectItemCaseSensitive(v, "size")->valuedouble;
        p->first = 1 + (size_t)cJSON_GetObjectItemCaseSensitive(v, "oovBuckets")->valuedouble;
        shuffle(p, seed + at);
        n++;
    }
    return n;
}

static const struct permutation *permutation_for(const struct permutation *all, size_t n, const char *tensor,
                                                 const char *prefix, const char *suffix)
{
    for (size_t i = 0; i < n; i++) {
        if (!all[i].feature)
            continue;
        _cleanup_free_ char *name = xasprintf("%s.%s.%s", prefix, all[i].feature, suffix);
        if (strcmp(name, tensor) == 0)
            return &all[i];
    }
    return NULL;
}

static void permute_ids(const struct permutation *p, int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)p->to[(size_t)ids[i] - p->first];
}

static int permute_rows(const struct permutation *p, const struct safetensors_tensor *t, char *to,
                        struct err *err)
{
    if (t->rank < 1 || (size_t)t->shape[0] != p->first + p->n)
        return err_set(err, ERR_INVALID, "tensor '%s': expected %zu rows", t->name, p->first + p->n);
    size_t width = t->bytes / (size_t)t->shape[0];
    for (size_t i = 0; i < p->n; i++)
        memcpy(to + p->to[i] * width, (const char *)t->data + (p->first + i) * width, width);
    return 0;
}

static int permute_file(const char *in, const char *out, const char *name, const struct permutation *all,
                        size_t n, struct err *err)
{
    _cleanup_free_ char *from = fs_join(in, name), *to = fs_join(out, name);
    _cleanup_safetensors_ struct safetensors *f = NULL;
    if (safetensors_open(from, &f, err) < 0)
        return -1;
    size_t count = safetensors_count(f);
    struct safetensors_tensor *tensors = xcalloc(count + 1, sizeof *tensors);
    char **copies = xcalloc(count + 1, sizeof *copies);
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        tensors[i] = *safetensors_at(f, i);
        copies[i] = xmalloc(tensors[i].bytes + 1);
        memcpy(copies[i], tensors[i].data, tensors[i].bytes);
        const struct permutation *p = permutation_for(all, n, tensors[i].name, "vocabulary", "ids");
        if (p)
            permute_ids(p, (int32_t *)(void *)copies[i], tensors[i].bytes / sizeof(int32_t));
        p = permutation_for(all, n, tensors[i].name, "embedding", "weight");
        p = p ? p : permutation_for(all, n, tensors[i].name, "linear", "weight");
        if (p)
            r = permute_rows(p, &tensors[i], copies[i], err);
        tensors[i].data = copies[i];
    }
    if (r == 0)
        r = safetensors_write(to, tensors, count, safetensors_metadata(f), err);
    for (size_t i = 0; i < count; i++)
        free(copies[i]);
    free(copies);
    free(tensors);
    return r;
}

static int permute_golden(const char *in, const char *out, const struct permutation *all, struct err *err)
{
    _cleanup_free_ char *from = fs_join(in, "golden.json"), *to = fs_join(out, "golden.json");
    _cleanup_json_ cJSON *doc = NULL;
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
    if (!fs_exists(from))
        return 0;
    if (json_parse_file(from, FILE_MAX, &doc, err) < 0)
        return -1;
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(doc, "rows"))
    {
        cJSON *id = cJSON_GetObjectItemCaseSensitive(row, "cat")
                        ? cJSON_GetObjectItemCaseSensitive(row, "cat")->child
                        : NULL;
        for (size_t i = 0; id; id = id->next, i++) {
            size_t old = (size_t)id->valuedouble;
            if (all[i].feature && old >= all[i].first)
                cJSON_SetNumberValue(id, (double)all[i].to[old - all[i].first]);
        }
    }
    (void)json_pretty(doc, &text);
    return fs_write_atomic(to, buf_str(&text), text.len, err);
}

/* But for the manifest, whose digests are the original's. */
static int copy_rest(const char *in, const char *out, struct err *err)
{
    struct fs_list files = {0};
    int r = fs_list_tree(in, &files, err);
    for (size_t i = 0; i < files.n && r == 0; i++) {
        _cleanup_free_ char *from = fs_join(in, files.names[i]), *to = fs_join(out, files.names[i]),
                            *data = NULL;
        size_t len;
        if (!strchr(files.names[i], '/') && strcmp(files.names[i], "manifest.json") != 0 && !fs_exists(to)) {
            r = fs_read_file(from, FILE_MAX, &data, &len, err);
            if (r == 0)
                r = fs_write_atomic(to, data, len, err);
        }
    }
    fs_list_release(&files);
    return r;
}

/* The manifest of the new files, where there was one. */
static int renew_manifest(const char *in, const char *out, struct err *err)
{
    _cleanup_free_ char *from = fs_join(in, "manifest.json"), *to = fs_join(out, "manifest.json");
    _cleanup_json_ cJSON *doc = NULL;
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
    if (!fs_exists(from))
        return 0;
    if (json_parse_file(from, FILE_MAX, &doc, err) < 0)
        return -1;
    cJSON *file;
    cJSON_ArrayForEach(file, cJSON_GetObjectItemCaseSensitive(doc, "files"))
    {
        _cleanup_free_ char *path = fs_join(out, cJSON_GetObjectItemCaseSensitive(file, "name")->valuestring);
        char digest[DIGEST_HEX], number[24];
        int64_t size;
        if (sha256_file(path, digest, &size, err) < 0)
            return -1;
        (void)snprintf(number, sizeof number, "%" PRId64, size);
        cJSON_ReplaceItemInObjectCaseSensitive(file, "sha256", cJSON_CreateString(digest));
        cJSON_ReplaceItemInObjectCaseSensitive(file, "size", cJSON_CreateString(number));
    }
    if (json_canonical(doc, &text, err) < 0)
        return -1;
    return fs_write_atomic(to, buf_str(&text), text.len, err);
}

static int run(const char *in, const char *out, uint64_t seed, struct err *err)
{
    _cleanup_featurespec_ struct featurespec *spec = NULL;
    if (featurespec_load(in, &spec, err) < 0 || fs_mkdir_p(out, err) < 0)
        return -1;
    size_t n = featurespec_cat_width(spec);
    struct permutation *all = xcalloc(n + 1, sizeof *all);
    size_t permuted = find_permutations(spec, seed, all);
    int r = permute_file(in, out, "vocabularies.safetensors", all, n, err);
    if (r == 0)
        r = permute_file(in, out, "model.safetensors", all, n, err);
    if (r == 0)
        r = permute_golden(in, out, all, err);
    if (r == 0)
        r = copy_rest(in, out, err);
    if (r == 0)
        r = renew_manifest(in, out, err);
    for (size_t i = 0; i < n; i++)
        free(all[i].to);
    free(all);
    if (r == 0)
        (void)printf("%zu\n", permuted);
    return r;
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    int64_t seed = 0;
    if (argc != 4) {
        (void)fprintf(stderr, "usage: permute-vocabulary IN-DIR OUT-DIR SEED\n");
        return EXITCODE_USAGE;
    }
    if (text_parse_int(argv[3], &seed, &err) < 0 || run(argv[1], argv[2], (uint64_t)seed, &err) < 0) {
        (void)fprintf(stderr, "permute-vocabulary: %s\n", err.msg);
        return err_exit_code(&err);
    }
    return 0;
}
