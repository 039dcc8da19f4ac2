/* profile.json and violations.json. */
#include "stages/data-validate/output.h"

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"

static cJSON *columns_json(const struct judge *j, struct stats *s, bool whole)
{
    cJSON *o = json_object();
    for (size_t i = 0; i < j->d->schema->n; i++)
        json_add(o, j->d->schema->columns[i].name, stats_to_json(&s[i], whole));
    return o;
}

static int write_json(const char *dir, const char *name, const cJSON *o, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REPORT_BYTES);
    if (json_canonical(o, &text, err) < 0)
        return err_wrap(err, "%s", name);
    _cleanup_free_ char *path = fs_join(dir, name);
    return fs_write_atomic(path, text.data, text.len, err);
}

static cJSON *schema_json(const struct schema *s)
{
    cJSON *list = json_array();
    for (size_t i = 0; i < s->n; i++) {
        cJSON *o = json_object();
        json_add_string(o, "name", s->columns[i].name);
        json_add_string(o, "type", s->columns[i].type);
        json_append(list, o);
    }
    return list;
}

int output_profile(const struct judge *j, struct err *err)
{
    const struct dataset *d = j->d;
    _cleanup_json_ cJSON *o = json_object();
    json_add_int(o, "version", 1);
    json_add(o, "columns", schema_json(d->schema));
    cJSON *partitions = json_array();
    for (size_t p = d->first_window; p <= d->newest; p++) {
        cJSON *part = json_object();
        json_add_string(part, "name", d->source->partitions[p].name);
        json_add_int(part, "rows", dataset_rows(d, p));
        json_add(part, "columns", columns_json(j, j->by_partition[p], false));
        json_append(partitions, part);
    }
    json_add(o, "partitions", partitions);
    cJSON *newest = json_object();
    json_add_string(newest, "name", d->source->partitions[d->newest].name);
    json_add_int(newest, "rows", dataset_rows(d, d->newest));
    json_add(newest, "columns", columns_json(j, j->by_partition[d->newest], true));
    json_add(o, "newest", newest);
    struct stats *total = judge_window_stats(j);
    cJSON *window = json_object();
    json_add_int(window, "rows", dataset_rows(d, SIZE_MAX));
    json_add(window, "columns", columns_json(j, total, true));
    json_add(o, "window", window);
    dataset_stats_free(d, total);

    cJSON *rows = json_object();
    json_add_int64_string(rows, "rows", dataset_rows(d, SIZE_MAX));
    stage_artifact_config(d->run, "snapshot", "rows", cJSON_DetachItemFromObject(rows, "rows"));
    cJSON_Delete(rows);
    stage_artifact_config(d->run, "snapshot", "partitions",
                          cJSON_CreateNumber((double)(d->newest - d->first_window + 1)));
    stage_artifact_config(d->run, "snapshot", "columns", schema_json(d->schema));
    return write_json(stage_output(d->run, "profile"), "profile.json", o, err);
}

int output_violations(const struct judge *j, const char *dir, struct err *err)
{
    _cleanup_json_ cJSON *o = json_object();
    json_add_int(o, "version", 1);
    json_add(o, "findings", findings_to_json(&j->findings));
    return write_json(dir, "violations.json", o, err);
}
