/* manifest.json: see artifact.h for the form. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/store/artifact-internal.h"

enum { MANIFEST_VERSION = 1 };

int artifact_manifest_format(const struct artifact *a, struct buf *out, struct err *err)
{
    _cleanup_json_ cJSON *doc = json_object();
    json_add(doc, "config", cJSON_Duplicate(a->config, true));
    cJSON *files = json_array();
    for (size_t i = 0; i < a->n_files; i++) {
        const struct artifact_file *f = &a->files[i];
        cJSON *file = json_object();
        json_add_string(file, "name", f->name);
        json_add_string(file, "sha256", f->sha256);
        if (f->shared)
            json_add_bool(file, "shared", true);
        json_add_int64_string(file, "size", f->size);
        json_append(files, file);
    }
    json_add(doc, "files", files);
    json_add(doc, "inputs", cJSON_Duplicate(a->inputs, true));
    json_add_string(doc, "type", a->type);
    json_add_int(doc, "version", MANIFEST_VERSION);
    if (json_canonical(doc, out, err) < 0)
        return err_wrap(err, "cannot describe the artifact of type %s", a->type);
    return buf_check(out, "the artifact's manifest", err);
}

static int parse_file(const cJSON *node, const struct json_path *path, const char *previous,
                      struct artifact_file *ret, struct err *err)
{
    static const char *const keys[] = {"name", "sha256", "shared", "size", NULL};
    const char *name, *sha256;
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(node, "size");
    if (json_only_keys(node, path, keys, err) < 0 || json_get_string(node, path, "name", &name, err) < 0 ||
        json_get_string(node, path, "sha256", &sha256, err) < 0 ||
        json_get_bool_or(node, path, "shared", false, &ret->shared, err) < 0)
        return -1;
    char where[JSON_PATH_MAX];
    json_path_format(path, where);
    if (!fs_safe_relative(name))
        return err_set(err, ERR_INVALID, "%s: \"%s\" is not a safe relative name", where, name);
    if (previous && strcmp(previous, name) >= 0)
        return err_set(err, ERR_INVALID, "%s: \"%s\" does not sort after \"%s\"", where, name, previous);
    if (!digest_valid(sha256))
        return err_set(err, ERR_INVALID, "%s.sha256: expected 64 lower-case hex digits, found \"%s\"", where,
                       sha256);
    if (!cJSON_IsString(size))
        return err_set(err, ERR_INVALID, "%s.size: expected a number of bytes as a string", where);
    if (text_parse_int(size->valuestring, &ret->size, err) < 0)
        return err_wrap(err, "%s.size", where);
    if (ret->size < 0)
        return err_set(err, ERR_INVALID, "%s.size: expected 0 or more, found %" PRId64, where, ret->size);
    memcpy(ret->sha256, sha256, DIGEST_HEX);
    ret->name = xstrdup(name);
    return 0;
}

static int parse_files(const cJSON *files, struct artifact *a, struct err *err)
{
    struct json_path list = {.key = "files"};
    int n = cJSON_GetArraySize(files);
    if (n > LIMIT_ARTIFACT_FILES)
        return err_set(err, ERR_INVALID, "files: %d files, more than the maximum of %d", n,
                       LIMIT_ARTIFACT_FILES);
    a->files = xcalloc(n > 0 ? (size_t)n : 1, sizeof *a->files);
    const cJSON *node;
    cJSON_ArrayForEach(node, files)
    {
        struct json_path here = {.parent = &list, .index = a->n_files};
        const char *previous = a->n_files ? a->files[a->n_files - 1].name : NULL;
        if (!cJSON_IsObject(node))
            return err_set(err, ERR_INVALID, "files[%zu]: expected an object", a->n_files);
        if (parse_file(node, &here, previous, &a->files[a->n_files], err) < 0)
            return -1;
        a->n_files++;
    }
    return 0;
}

int artifact_manifest_parse(const char *text, size_t len, struct artifact **ret, struct err *err)
{
    _cleanup_json_ cJSON *doc = NULL;
    if (json_parse(text, len, LIMIT_ARTIFACT_MANIFEST_BYTES, &doc, err) < 0)
        return -1;
    if (!cJSON_IsObject(doc))
        return err_set(err, ERR_INVALID, "the manifest is not a JSON object");
    static const char *const keys[] = {"config", "files", "inputs", "type", "version", NULL};
    const cJSON *config, *files, *inputs;
    const char *type;
    int64_t version;
    if (json_get_int(doc, NULL, "version", &version, err) < 0)
        return -1;
    if (version != MANIFEST_VERSION)
        return err_set(err, ERR_INVALID,
                       "version: expected %d, found %" PRId64 ": it was written by a newer release",
                       MANIFEST_VERSION, version);
    if (json_only_keys(doc, NULL, keys, err) < 0 || json_get_object(doc, NULL, "config", &config, err) < 0 ||
        json_get_array(doc, NULL, "files", &files, err) < 0 ||
        json_get_object(doc, NULL, "inputs", &inputs, err) < 0 ||
        json_get_string(doc, NULL, "type", &type, err) < 0)
        return -1;
    _cleanup_artifact_ struct artifact *a = xcalloc(1, sizeof *a);
    a->type = xstrdup(type);
    a->config = cJSON_Duplicate(config, true);
    a->inputs = cJSON_Duplicate(inputs, true);
    if (parse_files(files, a, err) < 0)
        return -1;
    /* One content, one text, one digest: anything not canonical was not written by us. */
    _cleanup_buf_ struct buf canonical = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    if (artifact_manifest_format(a, &canonical, err) < 0)
        return -1;
    if (canonical.len != len || memcmp(buf_str(&canonical), text, len) != 0)
        return err_set(err, ERR_INVALID, "the manifest is not in canonical form (RFC 8785)");
    sha256_hex(text, len, a->digest);
    *ret = steal_ptr(a);
    return 0;
}
