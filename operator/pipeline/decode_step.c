/* One step of the manifest → struct step. The schema has been checked, so types are as they should be. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/decode-internal.h"

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return v ? v->valuestring : NULL;
}

static int64_t int_or(const cJSON *object, const char *key, int64_t fallback)
{
    const cJSON *v = get(object, key);
    return v ? (int64_t)v->valuedouble : fallback;
}

/* Bytes, or millicores with `milli`; 0 when absent. */
static int64_t quantity_of(const struct decoder *d, size_t step, const char *field, const cJSON *v,
                           bool milli)
{
    if (!v)
        return 0;
    if (cJSON_IsNumber(v))
        return (int64_t)v->valuedouble * (milli ? 1000 : 1);
    int64_t n = 0;
    struct err err = ERR_INIT;
    if (text_parse_quantity(v->valuestring, milli, &n, &err) < 0)
        decoder_step_finding(d, step, field, v, false, "%s", err.msg);
    else if (n <= 0)
        decoder_step_finding(d, step, field, v, false, "expected more than 0, found \"%s\"", v->valuestring);
    return n;
}

/* --- what it waits for --------------------------------------------------------------------------------------- */

static bool has_output(const struct step *s, const char *output)
{
    for (const char *const *o = s->outputs; *o; o++) {
        if (strcmp(*o, output) == 0)
            return true;
    }
    return false;
}

static void unknown_output(const struct decoder *d, size_t i, const char *field, const cJSON *node,
                           const struct step *producer, const char *output)
{
    char hint[HINT_MAX], known[256] = "";
    decoder_hint(output, producer->outputs, hint);
    size_t n = 0;
    for (const char *const *o = producer->outputs; *o && n < sizeof known; o++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", o == producer->outputs ? "" : ", ", *o);
    if (!*known && producer->kind == STEP_CONTAINER)
        decoder_step_finding(d, i, field, node, false,
                             "the step \"%s\" declares no outputs: add container.outputs: [%s]",
                             producer->name, output);
    else
        decoder_step_finding(d, i, field, node, false, "the step \"%s\" has no output \"%s\", only: %s%s",
                             producer->name, output, *known ? known : "none", hint);
}

static void decode_inputs(struct decoder *d, size_t i, const cJSON *inputs)
{
    struct step *s = &d->p->steps[i];
    s->inputs = xcalloc((size_t)cJSON_GetArraySize(inputs) + 1, sizeof *s->inputs);
    size_t k = 0;
    for (const cJSON *in = inputs ? inputs->child : NULL; in; in = in->next, k++) {
        const cJSON *from = get(in, "from");
        const char *dot = strchr(from->valuestring, '.');
        char field[64];
        (void)snprintf(field, sizeof field, "inputs[%zu].from", k);
        _cleanup_free_ char *name = xstrndup(from->valuestring, (size_t)(dot - from->valuestring));
        long producer = decoder_find_step(d, i, field, from, name);
        if (producer < 0)
            continue;
        if ((size_t)producer == i)
            decoder_step_finding(d, i, field, from, false, "a step cannot take its own output");
        else if (!has_output(&d->p->steps[producer], dot + 1))
            unknown_output(d, i, field, from, &d->p->steps[producer], dot + 1);
        else
            s->inputs[s->n_inputs++] =
                (struct step_input){.name = text_of(in, "name"), .from = (size_t)producer, .output = dot + 1};
    }
}

void decoder_add_after(struct decoder *d, size_t i, size_t other)
{
    struct step *s = &d->p->steps[i];
    for (size_t k = 0; k < s->n_inputs; k++) {
        if (s->inputs[k].from == other)
            return;
    }
    for (size_t k = 0; k < s->n_after; k++) {
        if (s->after[k] == other)
            return;
    }
    s->after = xreallocarray(s->after, s->n_after + 1, sizeof *s->after);
    s->after[s->n_after++] = other;
}

static void decode_after(struct decoder *d, size_t i, const cJSON *after)
{
    size_t k = 0;
    for (const cJSON *name = after ? after->child : NULL; name; name = name->next, k++) {
        char field[64];
        (void)snprintf(field, sizeof field, "after[%zu]", k);
        long other = decoder_find_step(d, i, field, name, name->valuestring);
        if (other == (long)i)
            decoder_step_finding(d, i, field, name, false, "a step cannot wait for itself");
        else if (other >= 0)
            decoder_add_after(d, i, (size_t)other);
    }
}

/* --- fan-out and set ------------------------------------------------------------------------------------------ */

static void decode_foreach(struct step *s, const cJSON *foreach)
{
    static const char item_axis[] = "item";
    struct step_fanout *f = &s->fanout;
    f->n_axes = 1;
    f->axes = xcalloc(1, sizeof *f->axes);
    f->items = xcalloc(1, sizeof *f->items);
    f->axes[0] = item_axis;
    f->items[0] = get(foreach, "items");
    f->from = text_of(foreach, "from");
    f->parallelism = int_or(foreach, "parallelism", 0);
    f->min_success = int_or(foreach, "minSuccess", -1);
}

static void decode_matrix(struct step *s, const cJSON *matrix)
{
    const cJSON *axes = get(matrix, "axes");
    struct step_fanout *f = &s->fanout;
    size_t n = (size_t)cJSON_GetArraySize(axes);
    f->axes = xcalloc(n, sizeof *f->axes);
    f->items = xcalloc(n, sizeof *f->items);
    for (const cJSON *axis = axes->child; axis; axis = axis->next) {
        f->axes[f->n_axes] = axis->string;
        f->items[f->n_axes++] = axis;
    }
    f->parallelism = int_or(matrix, "parallelism", 0);
    f->min_success = int_or(matrix, "minSuccess", -1);
}

static void decode_set(struct step *s, const cJSON *set)
{
    s->set = xcalloc((size_t)cJSON_GetArraySize(set) + 1, sizeof *s->set);
    for (const cJSON *item = set ? set->child : NULL; item; item = item->next)
        s->set[s->n_set++] =
            (struct step_set){.field = text_of(item, "field"), .value = text_of(item, "value")};
}

/* --- resources, retry, cache -------------------------------------------------------------------------------------- */

static void decode_resources(const struct decoder *d, size_t i, const cJSON *json, struct step *s)
{
    const cJSON *resources = get(json, "resources");
    s->gpu = int_or(resources, "gpu", 0);
    s->cpu_milli = quantity_of(d, i, "resources.cpu", get(resources, "cpu"), true);
    s->memory_bytes = quantity_of(d, i, "resources.memory", get(resources, "memory"), false);
    s->scratch_bytes = quantity_of(d, i, "scratch.size", get(get(json, "scratch"), "size"), false);
    s->workers = int_or(json, "workers", 1);
    s->min_workers = int_or(json, "minWorkers", s->workers);
    s->timeout_ms = int_or(json, "timeoutSeconds", 0) * 1000;
}

static void decode_retry(const struct decoder *d, size_t i, const cJSON *retry, struct step_retry *r)
{
    const cJSON *memory = get(retry, "memory");
    r->application = int_or(retry, "application", 0);
    r->preemption = int_or(retry, "preemption", 0);
    r->infrastructure = int_or(retry, "infrastructure", 0);
    r->memory_budget = int_or(memory, "budget", 0);
    r->memory_factor = get(memory, "factor")->valuedouble;
    r->memory_max_bytes = quantity_of(d, i, "retry.memory.max", get(memory, "max"), false);
    r->backoff_ms = int_or(retry, "backoffSeconds", 0) * 1000;
    r->max_backoff_ms = int_or(retry, "maxBackoffSeconds", 0) * 1000;
}

static void decode_cache(const cJSON *cache, struct step *s)
{
    const cJSON *enabled = get(cache, "enabled");
    bool pure = s->kind == STEP_FEATURIZE || s->kind == STEP_TRAIN_DDP;
    s->cache_enabled = enabled ? cJSON_IsTrue(enabled) : pure;
    if (s->finally)
        s->cache_enabled = false;
    s->cache_ttl_ms = int_or(cache, "ttlSeconds", 0) * 1000;
}

/* First pass: what the step is, so that others can refer to it. */
static void introduce(struct decoder *d, const cJSON *json)
{
    struct step *s = &d->p->steps[d->p->n_steps];
    s->name = text_of(json, "name");
    if (step_kind_of(json, &s->kind, &s->body) < 0)
        BUG("the step %s has no body", s->name);
    step_describe_results(s);
    d->step_names[d->p->n_steps] = s->name;
    d->p->n_steps++;
    (void)map_set(d->step_index, s->name, (void *)(uintptr_t)d->p->n_steps);
}

static void decode_step(struct decoder *d, size_t i, const cJSON *json)
{
    struct step *s = &d->p->steps[i];
    s->when = text_of(json, "when");
    s->finally = cJSON_IsTrue(get(json, "finally"));
    decode_inputs(d, i, get(json, "inputs"));
    decode_after(d, i, get(json, "after"));
    if (get(json, "foreach"))
        decode_foreach(s, get(json, "foreach"));
    else if (get(json, "matrix"))
        decode_matrix(s, get(json, "matrix"));
    decode_set(s, get(json, "set"));
    decode_resources(d, i, json, s);
    decode_retry(d, i, get(json, "retry"), &s->retry);
    decode_cache(get(json, "cache"), s);
    s->queue_name = text_of(json, "queueName");
    s->priority_class = text_of(json, "priorityClassName");
    s->pod_template = get(json, "podTemplate");
}

void decode_steps(struct decoder *d, const cJSON *steps)
{
    d->p->steps = xcalloc((size_t)cJSON_GetArraySize(steps), sizeof *d->p->steps);
    for (const cJSON *json = steps->child; json; json = json->next)
        introduce(d, json);
    size_t i = 0;
    for (const cJSON *json = steps->child; json; json = json->next)
        decode_step(d, i++, json);
}
