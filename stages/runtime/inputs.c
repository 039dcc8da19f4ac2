/* Inputs: from the producers' results to verified files. */
#include "stages/runtime/inputs.h"

#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/store/artifact.h"
#include "stages/runtime/commit.h"

/* One reference of the document. Strings are borrowed from it. */
struct reference {
    const char *digest, *run, *step, *index; /* index NULL: no fan-out */
    int64_t restart;
    char number[24]; /* what index points to when the document has a number */
};

static int decode(const cJSON *o, const struct json_path *path, struct reference *ret, struct err *err)
{
    if (json_get_string(o, path, "digest", &ret->digest, err) < 0 ||
        json_get_string(o, path, "run", &ret->run, err) < 0 ||
        json_get_string(o, path, "step", &ret->step, err) < 0 ||
        json_get_int_or(o, path, "restart", 0, &ret->restart, err) < 0)
        return -1;
    const cJSON *index = cJSON_GetObjectItemCaseSensitive(o, "index");
    if (cJSON_IsNumber(index)) {
        (void)snprintf(ret->number, sizeof ret->number, "%" PRId64, (int64_t)index->valuedouble);
        ret->index = ret->number;
    } else if (index && json_get_string(o, path, "index", &ret->index, err) < 0) {
        return -1;
    }
    if (!digest_valid(ret->digest))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs",
                        "%s: \"%.80s\" is not a digest of 64 hex digits", path->key, ret->digest);
    /* The producer's place must be a safe one before anything is read there. */
    _cleanup_commit_place_ struct commit_place place = {0};
    return commit_place_init(&place, ret->run, ret->step, ret->index, ret->restart, 0, err);
}

/* The name of the producer's output that has the digest. */
static const char *output_with_digest(const struct result *r, const char *digest)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, r->outputs)
    {
        if (cJSON_IsString(item) && text_equal(item->valuestring, digest))
            return item->string;
    }
    return NULL;
}

static int producer_missing(const char *input, const struct reference *ref, const char *why, struct err *err)
{
    return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, REASON_ARTIFACT_MISSING,
                    "input %s: step %s of run %s must run again: %s", input, ref->step, ref->run, why);
}

static int fetch_one(struct store *s, const char *input, const struct reference *ref, const char *dir,
                     struct err *err)
{
    _cleanup_free_ char *step_prefix = commit_step_prefix(ref->run, ref->step, ref->index, ref->restart);
    _cleanup_result_ struct result result = {0};
    bool found;
    if (commit_find(s, step_prefix, &found, &result, err) < 0)
        return err_wrap(err, "input %s", input);
    if (!found)
        return producer_missing(input, ref, "it has no result in the store", err);
    const char *output = output_with_digest(&result, ref->digest);
    if (!output)
        return producer_missing(input, ref, "its result names no output with the expected digest", err);
    _cleanup_free_ char *prefix = commit_output_prefix(step_prefix, result.folder, output);
    _cleanup_artifact_ struct artifact *a = NULL;
    struct err why = ERR_INIT;
    if (fs_mkdir_p(dir, err) < 0)
        return -1;
    if (artifact_load(s, prefix, ref->digest, &a, &why) == 0 &&
        artifact_fetch(s, prefix, a, NULL, dir, &why) == 0)
        return 0;
    if (text_equal(why.reason, REASON_ARTIFACT_MISSING))
        return producer_missing(input, ref, why.msg, err);
    *err = why;
    return err_wrap(err, "input %s", input);
}

/* "model?" accepts "model". */
static bool is_accepted(const char *const *accepted, const char *name)
{
    for (size_t i = 0; accepted && accepted[i]; i++) {
        size_t n = strcspn(accepted[i], "?");
        if (strlen(name) == n && memcmp(accepted[i], name, n) == 0)
            return true;
    }
    return !accepted;
}

static int check_names(const struct inputs *in, const char *const *accepted, struct err *err)
{
    for (size_t i = 0; i < in->n; i++) {
        if (is_accepted(accepted, in->items[i].name))
            continue;
        _cleanup_buf_ struct buf names = BUF_INIT(4096);
        for (size_t k = 0; accepted[k]; k++)
            (void)buf_addf(&names, "%s%.*s", k ? ", " : "", (int)strcspn(accepted[k], "?"), accepted[k]);
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs",
                        "unknown input \"%s\": this stage takes %s", in->items[i].name,
                        names.len ? buf_str(&names) : "none");
    }
    for (size_t k = 0; accepted && accepted[k]; k++) {
        if (!strchr(accepted[k], '?') && !inputs_get(in, accepted[k]))
            return err_fail(
                err, ERR_INVALID, EXITCODE_USAGE, "inputs",
                "the input \"%s\" is missing: give it under the step's inputs, or by hand as --input %s=DIR",
                accepted[k], accepted[k]);
    }
    return 0;
}

static int fetch_input(struct store *s, const cJSON *value, const char *dir, struct input *ret,
                       struct err *err)
{
    ret->dir = fs_join(dir, ret->name);
    ret->list = cJSON_IsArray(value);
    struct json_path path = {.key = ret->name};
    struct reference ref = {0};
    if (!ret->list) {
        if (decode(value, &path, &ref, err) < 0)
            return -1;
        ret->digest = cJSON_CreateString(ref.digest);
        return fetch_one(s, ret->name, &ref, ret->dir, err);
    }
    ret->digest = json_array();
    if (fs_mkdir_p(ret->dir, err) < 0)
        return -1;
    size_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, value)
    {
        struct json_path here = {.parent = &path, .index = i};
        ref = (struct reference){0};
        if (decode(item, &here, &ref, err) < 0)
            return -1;
        _cleanup_free_ char *place = xasprintf("%s/%zu", ret->dir, i++);
        json_append(ret->digest, cJSON_CreateString(ref.digest));
        if (fetch_one(s, ret->name, &ref, place, err) < 0)
            return -1;
    }
    return 0;
}

static int begin(struct inputs *in, size_t n, struct err *err)
{
    if (n > LIMIT_STEP_INPUTS)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs", "%zu inputs: at most %d are allowed", n,
                        (int)LIMIT_STEP_INPUTS);
    in->items = xcalloc(n ? n : 1, sizeof *in->items);
    return 0;
}

int inputs_fetch(struct store *s, const cJSON *document, const char *const *accepted, const char *dir,
                 struct inputs *ret, struct err *err)
{
    _cleanup_inputs_ struct inputs in = {0};
    if (document && !cJSON_IsObject(document))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs", "%s: expected an object of inputs",
                        ENV_INPUTS);
    if (begin(&in, (size_t)cJSON_GetArraySize(document), err) < 0 || fs_mkdir_p(dir, err) < 0)
        return -1;
    const cJSON *value;
    cJSON_ArrayForEach(value, document)
    {
        if (!fs_safe_relative(value->string) || strchr(value->string, '/'))
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs",
                            "\"%.80s\" is not the name of an input", value->string);
        in.items[in.n++].name = xstrdup(value->string);
    }
    /* Before anything is fetched. */
    if (check_names(&in, accepted, err) < 0)
        return -1;
    size_t i = 0;
    cJSON_ArrayForEach(value, document)
    {
        if (fetch_input(s, value, dir, &in.items[i++], err) < 0)
            return -1;
    }
    *ret = in;
    in = (struct inputs){0};
    return 0;
}

/* A directory that describes itself is held to its description. */
static int verify_local(const char *dir, char ret_digest[static DIGEST_HEX], struct err *err)
{
    _cleanup_free_ char *manifest = fs_join(dir, "manifest.json");
    ret_digest[0] = '\0';
    if (!fs_exists(manifest))
        return 0;
    _cleanup_free_ char *real = realpath(dir, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    if (!slash || slash == real)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs",
                        "%s: expected a directory below another one", dir);
    _cleanup_free_ char *parent = xstrndup(real, (size_t)(slash - real));
    _cleanup_free_ char *url = xasprintf("file://%s", parent);
    _cleanup_store_ struct store *s = NULL;
    _cleanup_artifact_ struct artifact *a = NULL;
    if (store_open(&(struct store_config){.url = url}, &s, err) < 0 ||
        artifact_load(s, slash + 1, NULL, &a, err) < 0)
        return -1;
    for (size_t i = 0; i < a->n_files; i++) {
        _cleanup_free_ char *path = fs_join(dir, a->files[i].name);
        char digest[DIGEST_HEX];
        int64_t size;
        if (sha256_file(path, digest, &size, err) < 0)
            return -1;
        if (!text_equal(digest, a->files[i].sha256))
            return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, REASON_ARTIFACT_MISSING,
                            "%s has the digest %s, but %s says %s", path, digest, manifest,
                            a->files[i].sha256);
    }
    (void)snprintf(ret_digest, DIGEST_HEX, "%s", a->digest);
    return 0;
}

int inputs_local(const char *const *pairs, size_t n, const char *const *accepted, struct inputs *ret,
                 struct err *err)
{
    _cleanup_inputs_ struct inputs in = {0};
    if (begin(&in, n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *eq = strchr(pairs[i], '=');
        if (!eq || eq == pairs[i] || !eq[1])
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "inputs",
                            "--input: expected NAME=DIR, found \"%s\"", pairs[i]);
        struct input *item = &in.items[in.n++];
        item->name = xstrndup(pairs[i], (size_t)(eq - pairs[i]));
        item->dir = realpath(eq + 1, NULL);
        if (!item->dir)
            return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "inputs",
                            "--input %s: there is no directory %s", item->name, eq + 1);
        char digest[DIGEST_HEX];
        if (verify_local(item->dir, digest, err) < 0)
            return -1;
        item->digest = cJSON_CreateString(digest);
    }
    if (check_names(&in, accepted, err) < 0)
        return -1;
    *ret = in;
    in = (struct inputs){0};
    return 0;
}

const struct input *inputs_get(const struct inputs *in, const char *name)
{
    for (size_t i = 0; i < in->n; i++) {
        if (text_equal(in->items[i].name, name))
            return &in->items[i];
    }
    return NULL;
}

cJSON *inputs_digests(const struct inputs *in)
{
    cJSON *o = json_object();
    for (size_t i = 0; i < in->n; i++) {
        if (in->items[i].digest)
            json_add(o, in->items[i].name, cJSON_Duplicate(in->items[i].digest, true));
    }
    return o;
}

void inputs_release(struct inputs *in)
{
    for (size_t i = 0; i < in->n; i++) {
        free(in->items[i].name);
        free(in->items[i].dir);
        cJSON_Delete(in->items[i].digest);
    }
    free(in->items);
    *in = (struct inputs){0};
}
