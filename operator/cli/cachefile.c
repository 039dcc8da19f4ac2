#include "operator/cli/cachefile.h"

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/cli/lock.h"
#include "operator/pipeline/cache.h"

struct cachefile {
    char *path, *lock_path;
    cJSON *entries;
};

static void cachefile_read(struct cachefile *c)
{
    struct err err = ERR_INIT;
    cJSON *entries = NULL;
    if (json_parse_file(c->path, LIMIT_CACHE_BYTES * 2, &entries, &err) < 0 || !cJSON_IsObject(entries)) {
        cJSON_Delete(entries);
        entries = json_object();
    }
    cJSON_Delete(c->entries);
    c->entries = entries;
}

int cachefile_look(const char *state_dir, const char *pipeline, struct cachefile **ret, struct err *err)
{
    _cleanup_cachefile_ struct cachefile *c = xcalloc(1, sizeof *c);
    if (!fs_safe_relative(pipeline) || strchr(pipeline, '/'))
        return err_set(err, ERR_INVALID, "\"%s\" is no name of a pipeline", pipeline);
    c->path = xasprintf("%s/cache/%s.json", state_dir, pipeline);
    c->lock_path = xasprintf("%s/cache/%s.lock", state_dir, pipeline);
    cachefile_read(c);
    *ret = steal_ptr(c);
    return 0;
}

int cachefile_open(const char *state_dir, const char *pipeline, struct cachefile **ret, struct err *err)
{
    _cleanup_free_ char *dir = fs_join(state_dir, "cache");
    return fs_mkdir_p(dir, err) < 0 ? -1 : cachefile_look(state_dir, pipeline, ret, err);
}

struct cachefile *cachefile_free(struct cachefile *c)
{
    if (!c)
        return NULL;
    cJSON_Delete(c->entries);
    free(c->path);
    free(c->lock_path);
    free(c);
    return NULL;
}

const cJSON *cachefile_entries(const struct cachefile *c)
{
    return c->entries;
}

int cachefile_apply(struct cachefile *c, const struct plan *plan, struct err *err)
{
    if (plan->n_cache_updates == 0)
        return 0;
    _cleanup_close_ int lock = -1;
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_CACHE_BYTES * 2);
    if (lock_file(c->lock_path, &lock, err) < 0)
        return -1;
    cachefile_read(c); /* another run may have written since */
    if (!cache_apply(c->entries, plan))
        return 0;
    if (json_canonical(c->entries, &text, err) < 0 || buf_check(&text, c->path, err) < 0)
        return -1;
    return fs_write_atomic(c->path, buf_str(&text), text.len, err);
}
