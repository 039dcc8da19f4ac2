/* The list of findings. */
#include "stages/data-validate/findings.h"

#include <stdarg.h>

#include "common/base/alloc.h"
#include "common/base/json.h"

enum { MESSAGE_MAX = 1500 };

const char *const finding_kind_names[] = {"schema",  "nulls",   "range",     "values", "pattern",
                                          "check",   "unique",  "reference", "volume", "drift",
                                          "leakage", "serving", "freshness"};

struct finding *findings_add(struct findings *f, enum finding_kind kind, enum level level, const char *column,
                             double severity, const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    f->items = grow_array(f->items, &f->capacity, f->n, sizeof *f->items);
    struct finding *item = &f->items[f->n];
    *item = (struct finding){.kind = kind,
                             .level = level,
                             .column = column ? xstrdup(column) : NULL,
                             .message = xstrdup(text),
                             .severity = severity,
                             .order = f->n};
    f->n++;
    return item;
}

static int compare(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    if (x->level != y->level)
        return x->level < y->level ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->severity != y->severity)
        return x->severity > y->severity ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

void findings_sort(struct findings *f)
{
    if (f->n)
        qsort(f->items, f->n, sizeof *f->items, compare);
}

size_t findings_count(const struct findings *f, enum level level)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += f->items[i].level == level;
    return n;
}

void findings_summary(const struct findings *f, char *ret, size_t max)
{
    size_t used = 0, told = 0, errors = findings_count(f, LEVEL_ERROR);
    ret[0] = '\0';
    for (size_t i = 0; i < f->n && f->items[i].level == LEVEL_ERROR; i++) {
        size_t len = strlen(f->items[i].message);
        if (told && used + len + 32 > max)
            break;
        int n = snprintf(ret + used, max - used, "%s%s", told ? "; " : "", f->items[i].message);
        used += n > 0 && (size_t)n < max - used ? (size_t)n : strlen(ret + used);
        told++;
    }
    if (told < errors)
        (void)snprintf(ret + used, max - used, "; and %zu more", errors - told);
}

cJSON *findings_to_json(const struct findings *f)
{
    static const char *const levels[] = {"error", "warn"};
    cJSON *list = json_array();
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *item = &f->items[i];
        cJSON *o = json_object();
        json_add_string(o, "rule", finding_kind_names[item->kind]);
        json_add_string(o, "level", levels[item->level]);
        if (item->column)
            json_add_string(o, "column", item->column);
        json_add_string(o, "message", item->message);
        if (item->samples)
            json_add(o, "rows", cJSON_Duplicate(item->samples, true));
        json_append(list, o);
    }
    return list;
}

void findings_release(struct findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->items[i].column);
        free(f->items[i].message);
        cJSON_Delete(f->items[i].samples);
    }
    free(f->items);
    *f = (struct findings){0};
}
