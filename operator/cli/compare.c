#include "operator/cli/compare.h"

#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/pipeline/params.h"

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

static void add_copy(cJSON *o, const char *key, const cJSON *value)
{
    if (value)
        json_add(o, key, cJSON_Duplicate(value, true));
}

/* --- trees ---------------------------------------------------------------------------------------------------- */

static const char *name_of(const cJSON *item)
{
    return cJSON_GetStringValue(get(item, "name"));
}

static bool is_named_list(const cJSON *list)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsObject(item) || !name_of(item))
            return false;
    }
    return cJSON_IsArray(list) && list->child;
}

static const cJSON *find_named(const cJSON *list, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (strcmp(name_of(item), name) == 0)
            return item;
    }
    return NULL;
}

static void compare_members(const char *path, const cJSON *a, const cJSON *b, cJSON *differences)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, a)
    {
        _cleanup_free_ char *below = xasprintf("%s%s%s", path, *path ? "." : "", m->string);
        compare_trees(below, m, get(b, m->string), differences);
    }
    cJSON_ArrayForEach(m, b)
    {
        _cleanup_free_ char *below = xasprintf("%s%s%s", path, *path ? "." : "", m->string);
        if (!get(a, m->string))
            compare_trees(below, NULL, m, differences);
    }
}

static void compare_named(const char *path, const cJSON *a, const cJSON *b, cJSON *differences)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, a)
    {
        _cleanup_free_ char *below = xasprintf("%s[%s]", path, name_of(item));
        compare_trees(below, item, find_named(b, name_of(item)), differences);
    }
    cJSON_ArrayForEach(item, b)
    {
        _cleanup_free_ char *below = xasprintf("%s[%s]", path, name_of(item));
        if (!find_named(a, name_of(item)))
            compare_trees(below, NULL, item, differences);
    }
}

static void compare_places(const char *path, const cJSON *a, const cJSON *b, cJSON *differences)
{
    int n = cJSON_GetArraySize(a), m = cJSON_GetArraySize(b);
    for (int i = 0; i < n || i < m; i++) {
        _cleanup_free_ char *below = xasprintf("%s[%d]", path, i);
        compare_trees(below, cJSON_GetArrayItem(a, i), cJSON_GetArrayItem(b, i), differences);
    }
}

void compare_trees(const char *path, const cJSON *a, const cJSON *b, cJSON *differences)
{
    if ((!a && !b) || (a && b && cJSON_Compare(a, b, true)))
        return;
    if (cJSON_IsObject(a) && cJSON_IsObject(b)) {
        compare_members(path, a, b, differences);
    } else if (is_named_list(a) && is_named_list(b)) {
        compare_named(path, a, b, differences);
    } else if (cJSON_IsArray(a) && cJSON_IsArray(b)) {
        compare_places(path, a, b, differences);
    } else {
        cJSON *d = json_object();
        json_add_string(d, "path", path);
        add_copy(d, "a", a);
        add_copy(d, "b", b);
        json_append(differences, d);
    }
}

/* --- runs ------------------------------------------------------------------------------------------------------ */

/* [{"name", "a"?, "b"?, "delta"?, "equal"}] of two objects. */
static cJSON *pair_members(const cJSON *a, const cJSON *b)
{
    cJSON *pairs = json_array();
    const cJSON *sides[] = {a, b}, *m;
    for (int side = 0; side < 2; side++) {
        cJSON_ArrayForEach(m, sides[side])
        {
            const cJSON *in_a = get(a, m->string), *in_b = get(b, m->string);
            if (side == 1 && in_a)
                continue;
            cJSON *pair = json_object();
            json_add_string(pair, "name", m->string);
            add_copy(pair, "a", in_a);
            add_copy(pair, "b", in_b);
            if (cJSON_IsNumber(in_a) && cJSON_IsNumber(in_b))
                json_add_double(pair, "delta", in_b->valuedouble - in_a->valuedouble);
            json_add_bool(pair, "equal", in_a && in_b && cJSON_Compare(in_a, in_b, true));
            json_append(pairs, pair);
        }
    }
    return pairs;
}

static cJSON *head(const cJSON *run)
{
    cJSON *o = cJSON_Duplicate(run, true);
    cJSON_DeleteItemFromObjectCaseSensitive(o, "steps");
    return o;
}

/* With defaults; as given where they cannot be resolved, as for a run whose revision is gone. Caller owns. */
static cJSON *parameters(const struct record *r, const cJSON *run)
{
    cJSON *resolved = NULL;
    struct err ignored = ERR_INIT;
    if (params_resolve(r->pipeline, &r->spec, &resolved, &ignored) == 0)
        return resolved;
    const cJSON *given = get(run, "parameters");
    return given ? cJSON_Duplicate(given, true) : json_object();
}

static const cJSON *find_step(const cJSON *run, const char *name)
{
    return find_named(get(run, "steps"), name);
}

/* As the manifest has it, defaults included; NULL where the manifest is not known. */
static const cJSON *spec_of_step(const struct record *r, const char *name)
{
    const cJSON *s;
    cJSON_ArrayForEach(s, get(r->pipeline->spec, "steps"))
    {
        if (name_of(s) && strcmp(name_of(s), name) == 0)
            return s;
    }
    return NULL;
}

static cJSON *outcome(const cJSON *step)
{
    static const char *const keys[] = {"state", "cached", "attempts", "seconds", "reason", "message", NULL};
    cJSON *o = json_object();
    for (const char *const *k = keys; *k; k++)
        add_copy(o, *k, get(step, *k));
    return o;
}

static cJSON *compare_step(const struct record *a, const cJSON *in_a, const struct record *b,
                           const cJSON *in_b)
{
    cJSON *o = json_object(), *config = json_array();
    const char *name = name_of(in_a ? in_a : in_b);
    json_add_string(o, "name", name);
    if (!in_a || !in_b)
        json_add_string(o, "only", in_a ? "a" : "b");
    if (in_a)
        json_add(o, "a", outcome(in_a));
    if (in_b)
        json_add(o, "b", outcome(in_b));
    const cJSON *spec_a = spec_of_step(a, name), *spec_b = spec_of_step(b, name);
    if (spec_a && spec_b)
        compare_trees("", spec_a, spec_b, config);
    json_add(o, "config", config);
    json_add(o, "outputs", pair_members(get(in_a, "outputs"), get(in_b, "outputs")));
    json_add(o, "values", pair_members(get(in_a, "values"), get(in_b, "values")));
    return o;
}

static cJSON *compare_settings(const struct record *a, const struct record *b)
{
    cJSON *settings = json_array();
    if (!get(a->pipeline->spec, "steps") || !get(b->pipeline->spec, "steps"))
        return settings;
    _cleanup_json_ cJSON *left = cJSON_Duplicate(a->pipeline->spec, true),
                         *right = cJSON_Duplicate(b->pipeline->spec, true);
    cJSON_DeleteItemFromObjectCaseSensitive(left, "steps");
    cJSON_DeleteItemFromObjectCaseSensitive(right, "steps");
    compare_trees("", left, right, settings);
    return settings;
}

cJSON *compare_runs(const struct record *a, const cJSON *run_a, const struct record *b, const cJSON *run_b)
{
    cJSON *o = json_object(), *runs = json_array(), *steps = json_array();
    _cleanup_json_ cJSON *params_a = parameters(a, run_a), *params_b = parameters(b, run_b);
    const cJSON *s;
    json_append(runs, head(run_a));
    json_append(runs, head(run_b));
    json_add(o, "runs", runs);
    json_add(o, "parameters", pair_members(params_a, params_b));
    cJSON_ArrayForEach(s, get(run_a, "steps"))
        json_append(steps, compare_step(a, s, b, find_step(run_b, name_of(s))));
    cJSON_ArrayForEach(s, get(run_b, "steps"))
    {
        if (!find_step(run_a, name_of(s)))
            json_append(steps, compare_step(a, NULL, b, s));
    }
    json_add(o, "steps", steps);
    json_add(o, "settings", compare_settings(a, b));
    return o;
}
