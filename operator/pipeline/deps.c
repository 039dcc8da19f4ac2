/* Dependencies between steps: see deps.h. */
#include "operator/pipeline/deps.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/text.h"

static void add_dep(struct deps *d, size_t of, size_t on, bool data)
{
    for (size_t i = 0; i < d->of[of].n; i++) {
        struct dep *known = &d->of[of].items[i];
        if (known->step == on) {
            known->data = known->data || data;
            return;
        }
    }
    d->of[of].items = xreallocarray(d->of[of].items, d->of[of].n + 1, sizeof *d->of[of].items);
    d->of[of].items[d->of[of].n++] = (struct dep){.step = on, .data = data};
}

/* --- names in texts ------------------------------------------------------------------------------------- */

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* After "steps": ".name" (no hyphens) or "['name']"; NULL if it is neither. */
static const char *step_name_at(const char *p, size_t *ret_len)
{
    const char *begin;
    if (*p == '.') {
        begin = p + 1;
        for (p = begin; is_word_char(*p); p++)
            ;
    } else if (p[0] == '[' && (p[1] == '\'' || p[1] == '"')) {
        char quote = p[1];
        begin = p + 2;
        for (p = begin; *p && *p != quote; p++)
            ;
    } else {
        return NULL;
    }
    *ret_len = (size_t)(p - begin);
    return *ret_len > 0 ? begin : NULL;
}

static void add_named_steps(struct deps *d, const struct pipeline *p, size_t of, const char *text, const char *end, bool data)
{
    for (const char *at = text; (at = strstr(at, "steps")) != NULL && at < end; at += strlen("steps")) {
        if (at > text && (is_word_char(at[-1]) || at[-1] == '-' || at[-1] == '.'))
            continue;
        size_t len;
        const char *begin = step_name_at(at + strlen("steps"), &len);
        if (!begin || len > LIMIT_NAME)
            continue;
        _cleanup_free_ char *name = xstrndup(begin, len);
        long on = pipeline_find_step(p, name);
        if (on >= 0)
            add_dep(d, of, (size_t)on, data);
    }
}

/* References stand in $( … ); anything else is plain text that may well speak of steps. */
static void add_references(struct deps *d, const struct pipeline *p, size_t of, const char *text)
{
    for (const char *at = text; at && (at = strstr(at, "$(")) != NULL; at += 2) {
        if (at > text && at[-1] == '$')
            continue;
        int depth = 0;
        const char *end = at + 1;
        for (; *end; end++) {
            depth += *end == '(' ? 1 : *end == ')' ? -1 : 0;
            if (depth == 0)
                break;
        }
        add_named_steps(d, p, of, at, end, true);
    }
}

static void add_json_references(struct deps *d, const struct pipeline *p, size_t of, const cJSON *node)
{
    if (cJSON_IsString(node))
        add_references(d, p, of, node->valuestring);
    const cJSON *child;
    cJSON_ArrayForEach(child, node) add_json_references(d, p, of, child);
}

static void add_step(struct deps *d, const struct pipeline *p, size_t s)
{
    const struct step *step = &p->steps[s];
    for (size_t i = 0; i < step->n_inputs; i++)
        add_dep(d, s, step->inputs[i].from, true);
    for (size_t i = 0; i < step->n_after; i++)
        add_dep(d, s, step->after[i], false);
    if (step->when)
        add_named_steps(d, p, s, step->when, step->when + strlen(step->when), false);
    if (step->fanout.from) { /* with or without $( ) */
        add_named_steps(d, p, s, step->fanout.from, step->fanout.from + strlen(step->fanout.from), true);
    }
    for (size_t a = 0; step->fanout.items && a < step->fanout.n_axes; a++)
        add_json_references(d, p, s, step->fanout.items[a]);
    for (size_t i = 0; i < step->n_set; i++)
        add_references(d, p, s, step->set[i].value);
    add_json_references(d, p, s, step->body);
}

/* --- order ------------------------------------------------------------------------------------------------ */

static int fail_cycle(const struct pipeline *p, const bool *placed, struct err *err)
{
    _cleanup_buf_ struct buf names = BUF_INIT(ERR_MSG_MAX / 2);
    for (size_t i = 0; i < p->n_steps; i++)
        if (!placed[i])
            (void)buf_addf(&names, "%s%s", names.len ? ", " : "", p->steps[i].name);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "cycle", "steps wait for each other in a circle, or for one that does: %s",
                    buf_failed(&names) ? "(too many to name)" : buf_str(&names));
}

static bool ready(const struct deps *d, size_t s, const bool *placed)
{
    for (size_t i = 0; i < d->of[s].n; i++)
        if (!placed[d->of[s].items[i].step])
            return false;
    return true;
}

/* Rounds over the steps as written: at most one round per level of the graph. */
static int sort(struct deps *d, const struct pipeline *p, struct err *err)
{
    _cleanup_free_ bool *placed = xcalloc(d->n + 1, sizeof *placed);
    size_t n = 0;
    for (bool progress = true; progress && n < d->n;) {
        progress = false;
        for (size_t s = 0; s < d->n; s++) {
            if (placed[s] || !ready(d, s, placed))
                continue;
            placed[s] = progress = true;
            d->order[n++] = s;
        }
    }
    return n == d->n ? 0 : fail_cycle(p, placed, err);
}

int deps_new(const struct pipeline *p, struct deps **ret, struct err *err)
{
    _cleanup_deps_ struct deps *d = xcalloc(1, sizeof *d);
    d->n = p->n_steps;
    d->of = xcalloc(d->n + 1, sizeof *d->of);
    d->order = xcalloc(d->n + 1, sizeof *d->order);
    for (size_t s = 0; s < d->n; s++)
        add_step(d, p, s);
    if (sort(d, p, err) < 0)
        return -1;
    *ret = steal_ptr(d);
    return 0;
}

struct deps *deps_free(struct deps *d)
{
    if (!d)
        return NULL;
    for (size_t s = 0; d->of && s < d->n; s++)
        free(d->of[s].items);
    free(d->of);
    free(d->order);
    free(d);
    return NULL;
}

void deps_mark_downstream(const struct deps *d, bool *marks)
{
    for (size_t k = 0; k < d->n; k++) {
        size_t s = d->order[k];
        for (size_t i = 0; i < d->of[s].n && !marks[s]; i++)
            marks[s] = marks[d->of[s].items[i].step];
    }
}
