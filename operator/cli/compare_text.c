/* Two runs side by side, for people: see compare.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/cli/columns.h"
#include "operator/cli/compare.h"

enum { VALUE_COLUMNS = 40, TEXT_COLUMNS = 60, VALUE_BYTES_MAX = 64 * 1024 };

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

static const char *text_of(const cJSON *o, const char *key)
{
    const char *v = cJSON_GetStringValue(get(o, key));
    return v ? v : "";
}

/* A scalar as it is, anything else as JSON; cut. */
static void add_value(struct columns *table, const cJSON *v, const struct ui_style *style)
{
    _cleanup_buf_ struct buf cell = BUF_INIT(VALUE_BYTES_MAX);
    _cleanup_free_ char *printed = !v || cJSON_IsString(v) ? NULL : cJSON_PrintUnformatted(v);
    char number[32];
    if (cJSON_IsNumber(v)) {
        json_format_double(v->valuedouble, number);
        columns_add(table, number);
        return;
    }
    ui_add_cut(&cell, printed ? printed : v ? v->valuestring : "", VALUE_COLUMNS, style->unicode);
    columns_add(table, buf_str(&cell));
}

static void add_seconds(struct columns *table, const cJSON *o)
{
    const cJSON *seconds = get(o, "seconds");
    char text[UI_TEXT_MAX] = "";
    if (cJSON_IsNumber(seconds))
        ui_format_duration((int64_t)(seconds->valuedouble * 1000), text);
    columns_add(table, text);
}

static const char *place_of(const cJSON *run)
{
    return *text_of(run, "namespace") ? text_of(run, "namespace") : text_of(run, "store");
}

static void add_text(struct columns *table, const char *text, const struct ui_style *style)
{
    _cleanup_buf_ struct buf cell = BUF_INIT(VALUE_BYTES_MAX);
    ui_add_cut(&cell, text, TEXT_COLUMNS, style->unicode);
    columns_add(table, buf_str(&cell));
}

static void add_runs(const cJSON *runs, const struct ui_style *style, struct buf *out)
{
    const cJSON *a = cJSON_GetArrayItem(runs, 0), *b = cJSON_GetArrayItem(runs, 1);
    static const char *const keys[] = {"pipeline", "phase", "message", "scheduledTime", NULL};
    const char *const titles[] = {"RUN", text_of(a, "name"), text_of(b, "name"), NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    columns_add(table, "in");
    columns_add(table, place_of(a));
    columns_add(table, place_of(b));
    for (const char *const *k = keys; *k; k++) {
        if (!*text_of(a, *k) && !*text_of(b, *k))
            continue;
        columns_add(table, *k);
        add_text(table, text_of(a, *k), style);
        add_text(table, text_of(b, *k), style);
    }
    columns_add(table, "took");
    add_seconds(table, a);
    add_seconds(table, b);
    columns_print(table, out);
}

/* Rows of {"name" or "path", "a"?, "b"?}; with `all` also the equal ones. */
static void add_pairs(const char *title, const char *key, const cJSON *pairs, bool all,
                      const struct ui_style *style, struct buf *out)
{
    const char *const titles[] = {title, "A", "B", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    const cJSON *p;
    size_t equal = 0;
    cJSON_ArrayForEach(p, pairs)
    {
        if (!all && cJSON_IsTrue(get(p, "equal"))) {
            equal++;
            continue;
        }
        columns_add(table, text_of(p, key));
        add_value(table, get(p, "a"), style);
        add_value(table, get(p, "b"), style);
    }
    if (columns_rows(table) == 0 && equal == 0)
        return;
    (void)buf_addc(out, '\n');
    if (columns_rows(table) > 0)
        columns_print(table, out);
    if (columns_rows(table) > 0 && equal > 0)
        (void)buf_addf(out, "(%zu more: equal)\n", equal);
    else if (equal > 0)
        (void)buf_addf(out, "%s: all %zu are equal\n", title, equal);
}

static void add_outcome(struct columns *table, const cJSON *step, const char *side)
{
    const cJSON *o = get(step, side);
    bool cached = cJSON_IsTrue(get(o, "cached")) && strcmp(text_of(o, "state"), "Cached") != 0;
    if (!o)
        columns_add(table, NULL);
    else
        columns_addf(table, "%s%s", text_of(o, "state"), cached ? ", cached" : "");
    add_seconds(table, o);
}

/* "equal", "differ", or "" where at most one run has outputs. */
static const char *outputs_of(const cJSON *step)
{
    const cJSON *o;
    const char *word = "";
    cJSON_ArrayForEach(o, get(step, "outputs"))
    {
        if (!get(o, "a") || !get(o, "b"))
            continue;
        if (!cJSON_IsTrue(get(o, "equal")))
            return "differ";
        word = "equal";
    }
    return word;
}

static void add_steps(const cJSON *steps, struct buf *out)
{
    static const char *const titles[] = {"STEP", "A", "TIME", "B", "TIME", "CONFIG", "OUTPUTS", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    const cJSON *s;
    cJSON_ArrayForEach(s, steps)
    {
        columns_add(table, text_of(s, "name"));
        add_outcome(table, s, "a");
        add_outcome(table, s, "b");
        columns_add(table, get(s, "only")                             ? ""
                           : cJSON_GetArraySize(get(s, "config")) > 0 ? "differs"
                                                                      : "equal");
        columns_add(table, outputs_of(s));
    }
    (void)buf_addc(out, '\n');
    columns_print(table, out);
}

static void add_config(const cJSON *steps, const struct ui_style *style, struct buf *out)
{
    const cJSON *s, *d;
    _cleanup_json_ cJSON *all = json_array();
    cJSON_ArrayForEach(s, steps)
    {
        cJSON_ArrayForEach(d, get(s, "config"))
        {
            cJSON *copy = cJSON_Duplicate(d, true);
            _cleanup_free_ char *path = xasprintf("%s: %s", text_of(s, "name"), text_of(d, "path"));
            cJSON_ReplaceItemInObjectCaseSensitive(copy, "path", cJSON_CreateString(path));
            json_append(all, copy);
        }
    }
    add_pairs("CONFIG", "path", all, true, style, out);
}

static void add_values(const cJSON *steps, const struct ui_style *style, struct buf *out)
{
    static const char *const titles[] = {"VALUE", "A", "B", "B - A", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    const cJSON *s, *v;
    cJSON_ArrayForEach(s, steps)
    {
        cJSON_ArrayForEach(v, get(s, "values"))
        {
            const cJSON *delta = get(v, "delta");
            columns_addf(table, "%s.%s", text_of(s, "name"), text_of(v, "name"));
            add_value(table, get(v, "a"), style);
            add_value(table, get(v, "b"), style);
            if (cJSON_IsNumber(delta) && delta->valuedouble != 0)
                columns_addf(table, "%+.6g", delta->valuedouble);
            else
                columns_add(table, cJSON_IsTrue(get(v, "equal")) ? "=" : "");
        }
    }
    if (columns_rows(table) == 0)
        return;
    (void)buf_addc(out, '\n');
    columns_print(table, out);
}

void compare_text(const cJSON *comparison, const struct ui_style *style, struct buf *out)
{
    const cJSON *steps = get(comparison, "steps");
    add_runs(get(comparison, "runs"), style, out);
    add_pairs("PARAMETER", "name", get(comparison, "parameters"), false, style, out);
    add_steps(steps, out);
    add_config(steps, style, out);
    add_pairs("SETTING", "path", get(comparison, "settings"), true, style, out);
    add_values(steps, style, out);
}
