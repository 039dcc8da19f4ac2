/* Tables and advice for people: see describe.h. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/cli.h"
#include "common/base/json.h"
#include "operator/cli/describe.h"
#include "operator/cli/location.h"

static const char *text_of(const cJSON *o, const char *key)
{
    const char *v = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return v ? v : "";
}

static void add_padded(struct buf *out, const char *text, size_t columns)
{
    (void)buf_adds(out, text);
    for (size_t n = ui_columns(text); n < columns; n++)
        (void)buf_addc(out, ' ');
}

static size_t longest(const cJSON *steps, const char *key, size_t at_least)
{
    const cJSON *s;
    cJSON_ArrayForEach(s, steps)
    {
        size_t n = ui_columns(text_of(s, key));
        at_least = n > at_least ? n : at_least;
    }
    return at_least;
}

static const char *color_of(const char *state)
{
    return strcmp(state, "Failed") == 0                                      ? "31"
           : strcmp(state, "Succeeded") == 0 || strcmp(state, "Cached") == 0 ? "32"
                                                                             : "33";
}

void describe_steps(const cJSON *run, const struct ui_style *style, struct buf *out)
{
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(run, "steps"), *s;
    size_t name = longest(steps, "name", 4), state = longest(steps, "state", 5);
    add_padded(out, "STEP", name + 2);
    add_padded(out, "STATE", state + 2);
    (void)buf_adds(out, "TRIES  TIME     CACHED  VALUES\n");
    cJSON_ArrayForEach(s, steps)
    {
        char time[UI_TEXT_MAX] = "-", tries[24];
        const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(s, "seconds"),
                    *values = cJSON_GetObjectItemCaseSensitive(s, "values");
        const char *word = text_of(s, "state"), *message = text_of(s, "message");
        if (cJSON_IsNumber(seconds))
            ui_format_duration((int64_t)(seconds->valuedouble * 1000), time);
        (void)snprintf(tries, sizeof tries, "%.0f",
                       cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(s, "attempts")));
        add_padded(out, text_of(s, "name"), name + 2);
        if (style->color)
            (void)buf_addf(out, "\033[%sm", color_of(word));
        add_padded(out, word, state);
        (void)buf_adds(out, style->color ? "\033[0m  " : "  ");
        add_padded(out, tries, 7);
        add_padded(out, time, 9);
        add_padded(out, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(s, "cached")) ? "yes" : "no", 8);
        size_t used = name + state + 4 + 24, room = style->width > used + 1 ? style->width - used - 1 : 20;
        const cJSON *progress = cJSON_GetObjectItemCaseSensitive(s, "progress");
        if (cJSON_IsNumber(progress))
            (void)buf_addf(out, "%.0f %%%s", progress->valuedouble * 100, *message ? ": " : "");
        if (cJSON_GetArraySize(values) > 0)
            ui_add_values(out, values, room, style->unicode);
        else if (cJSON_GetObjectItemCaseSensitive(s, "items"))
            (void)buf_addf(out, "%d items", cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(s, "items")));
        else
            ui_add_cut(out, message, room, style->unicode);
        while (out->len > 0 && out->data[out->len - 1] == ' ')
            out->data[--out->len] = '\0';
        (void)buf_addc(out, '\n');
    }
}

/* Why the cache answered, or did not: of an item only what no item before it said. */
static void add_cache_notes(const cJSON *steps, struct buf *out)
{
    const cJSON *s, *item;
    cJSON_ArrayForEach(s, steps)
    {
        const char *said = text_of(s, "cacheNote");
        if (*said)
            (void)buf_addf(out, "cache of %s: %s\n", text_of(s, "name"), said);
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(s, "items"))
        {
            const char *note = text_of(item, "cacheNote");
            if (*note && strcmp(note, said) != 0)
                (void)buf_addf(out, "cache of %s[%.0f]: %s\n", text_of(s, "name"),
                               cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, "index")), note);
            said = *note ? note : said;
        }
    }
}

void describe_summary(const cJSON *run, const struct ui_style *style, struct buf *out)
{
    const cJSON *s, *report, *steps = cJSON_GetObjectItemCaseSensitive(run, "steps"),
                             *seconds = cJSON_GetObjectItemCaseSensitive(run, "seconds");
    char time[UI_TEXT_MAX];
    describe_steps(run, style, out);
    (void)buf_addc(out, '\n');
    cJSON_ArrayForEach(s, steps)
    {
        cJSON_ArrayForEach(report, cJSON_GetObjectItemCaseSensitive(s, "reports"))(void)
            buf_addf(out, "report of %s: %s\n", text_of(s, "name"), report->valuestring);
    }
    add_cache_notes(steps, out);
    cJSON_ArrayForEach(s, steps)
    {
        const char *model = text_of(s, "model");
        const cJSON *version =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(s, "values"), "version");
        const cJSON *created =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(s, "values"), "created");
        if (*model && cJSON_IsNumber(version))
            (void)buf_addf(out, "registered: %s version %.0f%s\n", model, version->valuedouble,
                           cJSON_IsFalse(created) ? " (it existed already)" : "");
    }
    if (cJSON_IsNumber(seconds))
        ui_format_duration((int64_t)(seconds->valuedouble * 1000), time);
    const char *ns = text_of(run, "namespace");
    (void)buf_addf(out, "run %s: %s%s%s, in %s%s%s%s\n", text_of(run, "name"), text_of(run, "phase"),
                   cJSON_IsNumber(seconds) ? " after " : "", cJSON_IsNumber(seconds) ? time : "",
                   *ns ? "namespace " : "", ns, *ns && *text_of(run, "store") ? ", store " : "",
                   text_of(run, "store"));
}

/* --- failure ------------------------------------------------------------------------------------------ */

char *describe_hint(const struct record *r)
{
    return xasprintf(" --store %s", location_url(r->options.store));
}

static void add_failed(const cJSON *step, const char *label, struct buf *out)
{
    const char *message = text_of(step, "message"), *reason = text_of(step, "reason"),
               *cls = text_of(step, "class");
    const cJSON *exit_code = cJSON_GetObjectItemCaseSensitive(step, "exitCode"), *report;
    (void)buf_addf(out, "step %s failed", label);
    if (*cls || *reason || exit_code) {
        (void)buf_addf(out, " (%s%s%s", cls, *cls && *reason ? ", " : "", reason);
        if (cJSON_IsNumber(exit_code) && exit_code->valuedouble != 0)
            (void)buf_addf(out, "%sexit %.0f", *cls || *reason ? ", " : "", exit_code->valuedouble);
        (void)buf_addc(out, ')');
    }
    (void)buf_addf(out, ":\n  %s\n", *message ? message : "it left no message");
    cJSON_ArrayForEach(report, cJSON_GetObjectItemCaseSensitive(step, "reports"))(void)
        buf_addf(out, "  report: %s\n", report->valuestring);
    if (*text_of(step, "log"))
        (void)buf_addf(out, "  log: %s\n", text_of(step, "log"));
}

static void add_failed_step(const struct record *r, const cJSON *step, const char *hint, struct buf *out)
{
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(step, "items"), *item;
    int shown = 0, failed = 0;
    const char *name = text_of(step, "name");
    cJSON_ArrayForEach(item, items)
    {
        if (strcmp(text_of(item, "state"), "Failed") != 0)
            continue;
        failed++;
        if (shown >= 5)
            continue;
        _cleanup_free_ char *label =
            xasprintf("%s[%.0f]", name,
                      cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, "index")));
        add_failed(item, label, out);
        shown++;
    }
    if (failed > shown)
        (void)buf_addf(out, "and %d more items of %s\n", failed - shown, name);
    if (!items || failed == 0)
        add_failed(step, name, out);
    (void)buf_addf(out, "  see:      %s logs %s %s%s\n", cli_program("trainyard"), r->spec.name, name, hint);
}

void describe_failure(const struct record *r, const cJSON *run, const char *hint, struct buf *out)
{
    const cJSON *s;
    const char *failed = NULL, *program = cli_program("trainyard");
    cJSON_ArrayForEach(s, cJSON_GetObjectItemCaseSensitive(run, "steps"))
    {
        if (strcmp(text_of(s, "state"), "Failed") != 0)
            continue;
        add_failed_step(r, s, hint, out);
        failed = failed ? failed : text_of(s, "name");
    }
    if (!failed) /* else the run's message repeats the step's */
        (void)buf_addf(out, "run %s %s: %s\n", r->spec.name,
                       r->status.phase == PHASE_STOPPED ? "was stopped" : "failed", text_of(run, "message"));
    if (!r->namespace_)
        (void)buf_addf(out, "  go on:    trainyard run --resume %s%s\n", r->spec.name, hint);
    if (failed)
        (void)buf_addf(out, "  do again: %s restart %s --from %s%s\n", program, r->spec.name, failed, hint);
}
