/* What holds for steps of every kind: inputs, fan-out, finally, workers, pods, caching. See validate.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/validate-internal.h"

/* --- inputs --------------------------------------------------------------------------------------------------------- */

/* What a stage takes, and which stage's output fits; a container's output fits anywhere. */
static const struct expected_input {
    enum step_kind consumer;
    const char *name;
    enum step_kind producer;
    const char *output;
    bool required;
} expected_inputs[] = {
    {STEP_FEATURIZE, "snapshot", STEP_DATA_VALIDATE, "snapshot", true},
    {STEP_TRAIN_DDP, "features", STEP_FEATURIZE, "features", true},
    {STEP_EVALUATE, "features", STEP_FEATURIZE, "features", true},
    {STEP_EVALUATE, "model", STEP_TRAIN_DDP, "model", true},
    {STEP_REGISTER, "model", STEP_TRAIN_DDP, "model", true},
    {STEP_REGISTER, "evaluation", STEP_EVALUATE, "report", true},
};

static const cJSON *input_node(const struct decoder *d, size_t step, const char *name, size_t *ret_index)
{
    *ret_index = 0;
    const cJSON *inputs = field(decoder_step_json(d, step), "inputs");
    for (const cJSON *in = inputs ? inputs->child : NULL; in; in = in->next, (*ret_index)++) {
        const char *found = text_field(in, "name");
        if (found && strcmp(found, name) == 0)
            return in;
    }
    return NULL;
}

static void check_producer(const struct decoder *d, size_t step, const struct step_input *in,
                           const struct expected_input *e)
{
    const struct step *producer = &d->p->steps[in->from];
    size_t k;
    const cJSON *node = input_node(d, step, in->name, &k);
    char path[64];
    (void)snprintf(path, sizeof path, "inputs[%zu].from", k);
    bool fits = producer->kind == STEP_CONTAINER ||
                (producer->kind == e->producer && strcmp(in->output, e->output) == 0);
    if (!fits)
        decoder_step_finding(
            d, step, path, node, false,
            "the input \"%s\" takes the output \"%s\" of a %s step, but \"%s.%s\" is the output of a %s step",
            in->name, e->output, step_kind_body_key(e->producer), producer->name, in->output,
            step_kind_body_key(producer->kind));
    else if (producer->fanout.n_axes)
        decoder_step_finding(
            d, step, path, node, false,
            "the input \"%s\" takes one artifact, but \"%s\" fans out and gives a list: only container steps take lists",
            in->name, producer->name);
}

static void unknown_input(const struct decoder *d, size_t step, const struct step_input *in)
{
    const struct step *s = &d->p->steps[step];
    const char *names[ARRAY_SIZE(expected_inputs) + 1] = {NULL};
    char known[128] = "none";
    size_t n = 0, len = 0, k;
    for (size_t i = 0; i < ARRAY_SIZE(expected_inputs); i++) {
        if (expected_inputs[i].consumer != s->kind)
            continue;
        len +=
            (size_t)snprintf(known + len, sizeof known - len, "%s%s", n ? ", " : "", expected_inputs[i].name);
        names[n++] = expected_inputs[i].name;
    }
    const cJSON *node = input_node(d, step, in->name, &k);
    char path[64], hint[HINT_MAX];
    (void)snprintf(path, sizeof path, "inputs[%zu].name", k);
    decoder_hint(in->name, names, hint);
    decoder_step_finding(d, step, path, node, false, "%s steps take no input \"%s\" (known: %s)%s%s",
                         step_kind_body_key(s->kind), in->name, known, hint,
                         n ? "" : "; to wait for a step, use after");
}

static const struct step_input *find_input(const struct step *s, const char *name)
{
    for (size_t i = 0; i < s->n_inputs; i++) {
        if (strcmp(s->inputs[i].name, name) == 0)
            return &s->inputs[i];
    }
    return NULL;
}

static void check_inputs(const struct decoder *d, size_t step)
{
    const struct step *s = &d->p->steps[step];
    if (s->kind == STEP_CONTAINER)
        return;
    for (size_t i = 0; i < s->n_inputs; i++) {
        const struct expected_input *e = expected_inputs;
        const struct expected_input *end = e + ARRAY_SIZE(expected_inputs);
        while (e < end && !(e->consumer == s->kind && strcmp(e->name, s->inputs[i].name) == 0))
            e++;
        if (e < end)
            check_producer(d, step, &s->inputs[i], e);
        else
            unknown_input(d, step, &s->inputs[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(expected_inputs); i++) {
        const struct expected_input *e = &expected_inputs[i];
        size_t k;
        if (e->consumer == s->kind && e->required && !input_node(d, step, e->name, &k))
            decoder_step_finding(d, step, "inputs", NULL, false,
                                 "%s steps need the input \"%s\": add {name: %s, from: <a %s step>.%s}",
                                 step_kind_body_key(s->kind), e->name, e->name,
                                 step_kind_body_key(e->producer), e->output);
    }
}

const struct step *validate_features_of(const struct decoder *d, size_t step)
{
    const struct step_input *in = find_input(&d->p->steps[step], "features");
    const struct step *producer = in ? &d->p->steps[in->from] : NULL;
    return producer && producer->kind == STEP_FEATURIZE ? producer : NULL;
}

/* --- fan-out, finally, workers ---------------------------------------------------------------------------------------- */

static bool valid_axis(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= LIMIT_NAME && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static void check_fanout(const struct decoder *d, size_t step, const cJSON *json)
{
    const struct step *s = &d->p->steps[step];
    const cJSON *foreach = field(json, "foreach"), *matrix = field(json, "matrix");
    if (foreach && matrix)
        decoder_step_finding(
            d, step, "matrix", matrix, false,
            "foreach and matrix exclude each other: write the items of foreach as an axis of matrix");
    if (s->kind == STEP_APPROVAL && (foreach || matrix))
        decoder_step_finding(d, step, foreach ? "foreach" : "matrix", foreach ? foreach : matrix, false,
                             "an approval cannot fan out");
    int64_t items = 1;
    for (size_t a = 0; a < s->fanout.n_axes; a++) {
        items *= s->fanout.items[a] ? cJSON_GetArraySize(s->fanout.items[a]) : 1;
        items = items > 1000000 ? 1000000 : items;
        char path[JSON_PATH_MAX];
        (void)snprintf(path, sizeof path, "matrix.axes.%.300s", s->fanout.axes[a]);
        if (!valid_axis(s->fanout.axes[a]))
            decoder_step_finding(
                d, step, path, s->fanout.items[a], false,
                "expected an axis name of lower-case letters, digits and underscores that begins with a letter, found \"%.80s\"",
                s->fanout.axes[a]);
    }
    if (items > LIMIT_FANOUT_ITEMS)
        decoder_step_finding(d, step, "matrix", matrix, false,
                             "the axes make %lld combinations: at most %d are possible", (long long)items,
                             LIMIT_FANOUT_ITEMS);
    if (s->fanout.n_axes && !s->fanout.from && s->fanout.min_success > items)
        decoder_step_finding(d, step, foreach ? "foreach.minSuccess" : "matrix.minSuccess",
                             field(foreach ? foreach : matrix, "minSuccess"), false,
                             "expected at most %lld, the number of items, found %lld", (long long)items,
                             (long long)s->fanout.min_success);
}

/* "x-1" for the step "x": what item 1 of a fan-out is called, too (plan_job_name()). */
static bool named_like_item(const char *name, const char *fanout)
{
    size_t n = strlen(fanout);
    if (!text_starts_with(name, fanout) || name[n] != '-')
        return false;
    const char *digits = name + n + 1;
    return *digits && digits[strspn(digits, "0123456789")] == '\0' && (digits[0] != '0' || !digits[1]);
}

/* Two steps must not ask for Jobs of one name: the second would wait for the first one's to go away, for ever. */
static void check_job_names(const struct decoder *d, size_t step, const cJSON *json)
{
    const struct step *s = &d->p->steps[step];
    for (size_t i = 0; i < d->p->n_steps && !s->fanout.n_axes; i++) {
        const struct step *other = &d->p->steps[i];
        if (other->fanout.n_axes && named_like_item(s->name, other->name))
            decoder_step_finding(
                d, step, "name", field(json, "name"), false,
                "the Jobs of the step \"%s\" and of item %s of the fan-out \"%s\" would have equal names: give one of the steps another name",
                s->name, s->name + strlen(other->name) + 1, other->name);
    }
}

static void check_finally(const struct decoder *d, size_t step, const cJSON *json)
{
    const struct step *s = &d->p->steps[step];
    if (s->finally)
        return;
    for (size_t i = 0; i < s->n_inputs; i++) {
        const struct step *producer = &d->p->steps[s->inputs[i].from];
        if (producer->finally)
            decoder_step_finding(d, step, "inputs", field(json, "inputs"), false,
                                 "\"%s\" is a finally step: only finally steps can take its outputs",
                                 producer->name);
    }
    for (size_t i = 0; i < s->n_after; i++) {
        const struct step *other = &d->p->steps[s->after[i]];
        if (other->finally)
            decoder_step_finding(d, step, "after", field(json, "after"), false,
                                 "\"%s\" is a finally step: only finally steps can wait for it", other->name);
    }
}

static void check_workers(const struct decoder *d, size_t step, const cJSON *json)
{
    const struct step *s = &d->p->steps[step];
    bool gang = s->kind == STEP_TRAIN_DDP || s->kind == STEP_CONTAINER;
    if (s->workers > 1 && !gang)
        decoder_step_finding(d, step, "workers", field(json, "workers"), false,
                             "%s steps work alone: expected 1, found %lld", step_kind_body_key(s->kind),
                             (long long)s->workers);
    if (s->min_workers != s->workers)
        decoder_step_finding(
            d, step, "minWorkers", field(json, "minWorkers"), false,
            "expected the number of workers, %lld, found %lld: elastic training does not exist yet",
            (long long)s->workers, (long long)s->min_workers);
    if (s->gpu > 0 && !gang)
        decoder_step_finding(d, step, "resources.gpu", field(field(json, "resources"), "gpu"), true,
                             "%s steps do not use GPUs: they would be held idle",
                             step_kind_body_key(s->kind));
}

/* --- retry and cache ------------------------------------------------------------------------------------------------------ */

static bool pinned(const struct step *s)
{
    const char *image = text_field(s->body, "image");
    return image && strstr(image, "@sha256:");
}

static void check_cache(const struct decoder *d, size_t step, const cJSON *json)
{
    const struct step *s = &d->p->steps[step];
    const cJSON *enabled = field(field(json, "cache"), "enabled");
    if (!enabled)
        return;
    if (s->finally && cJSON_IsTrue(enabled))
        decoder_step_finding(d, step, "cache.enabled", enabled, true,
                             "has no effect: finally steps are never cached");
    else if (s->kind == STEP_CONTAINER && cJSON_IsTrue(enabled) && !pinned(s))
        decoder_step_finding(d, step, "cache.enabled", enabled, true,
                             "has no effect: the image is not pinned by digest (name@sha256:…)");
    else if (s->kind == STEP_DATA_VALIDATE || s->kind == STEP_EVALUATE || s->kind == STEP_REGISTER ||
             s->kind == STEP_APPROVAL)
        decoder_step_finding(
            d, step, "cache.enabled", enabled, true,
            "has no effect: %s steps always look at the world outside; what they found before is reused by themselves",
            step_kind_body_key(s->kind));
}

static void check_retry(const struct decoder *d, size_t step, const cJSON *json)
{
    const struct step *s = &d->p->steps[step];
    const cJSON *retry = field(json, "retry");
    if (s->retry.max_backoff_ms < s->retry.backoff_ms)
        decoder_step_finding(d, step, "retry.maxBackoffSeconds", field(retry, "maxBackoffSeconds"), false,
                             "expected at least backoffSeconds, %lld, found %lld",
                             (long long)(s->retry.backoff_ms / 1000),
                             (long long)(s->retry.max_backoff_ms / 1000));
    if (s->retry.memory_max_bytes && s->memory_bytes > s->retry.memory_max_bytes)
        decoder_step_finding(d, step, "retry.memory.max", field(field(retry, "memory"), "max"), false,
                             "expected at least resources.memory, \"%s\", found \"%s\"",
                             text_field(field(json, "resources"), "memory"),
                             text_field(field(retry, "memory"), "max"));
}

/* --- pods --------------------------------------------------------------------------------------------------------------------- */

static void check_reserved_keys(const struct decoder *d, size_t step, const cJSON *map, const char *name)
{
    static const char *const prefixes[] = {"trainyard.dev/", "batch.kubernetes.io/",
                                           "kubectl.kubernetes.io/default-container"};
    for (const cJSON *entry = map ? map->child : NULL; entry; entry = entry->next) {
        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
            char path[JSON_PATH_MAX];
            (void)snprintf(path, sizeof path, "podTemplate.%s.%.300s", name, entry->string);
            if (text_starts_with(entry->string, prefixes[i]))
                decoder_step_finding(d, step, path, entry, false, "%s is reserved: choose a key of your own",
                                     prefixes[i]);
        }
    }
}

static void check_env(const struct decoder *d, size_t step, const cJSON *env, const char *where)
{
    size_t k = 0;
    for (const cJSON *e = env ? env->child : NULL; e; e = e->next, k++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s[%zu]", where, k);
        if (text_starts_with(text_field(e, "name"), "TRAINYARD_"))
            decoder_step_finding(d, step, path, e, false,
                                 "names that begin with TRAINYARD_ are reserved, found \"%s\"",
                                 text_field(e, "name"));
        if (field(e, "value") && field(e, "valueFrom"))
            decoder_step_finding(d, step, path, e, false, "value and valueFrom exclude each other");
    }
}

static bool has_volume(const cJSON *volumes, const char *name)
{
    for (const cJSON *v = volumes ? volumes->child : NULL; v; v = v->next) {
        if (text_equal(text_field(v, "name"), name))
            return true;
    }
    return false;
}

static void check_mounts(const struct decoder *d, size_t step, const cJSON *mounts, const cJSON *volumes,
                         const char *where)
{
    size_t k = 0;
    for (const cJSON *m = mounts ? mounts->child : NULL; m; m = m->next, k++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s[%zu]", where, k);
        const char *at = text_field(m, "mountPath");
        if (!has_volume(volumes, text_field(m, "name")))
            decoder_step_finding(d, step, path, m, false, "there is no volume \"%s\" in podTemplate.volumes",
                                 text_field(m, "name"));
        if (text_equal(at, "/trainyard") || text_starts_with(at, "/trainyard/"))
            decoder_step_finding(d, step, path, m, false,
                                 "/trainyard is reserved, found the mountPath \"%s\"", at);
    }
}

static void check_pod(const struct decoder *d, size_t step)
{
    static const char *const ours[] = {"step", "fetch", "publish", "checkpoint"};
    const cJSON *pod = d->p->steps[step].pod_template;
    const cJSON *volumes = field(pod, "volumes"), *sidecars = field(pod, "sidecars");
    check_reserved_keys(d, step, field(pod, "labels"), "labels");
    check_reserved_keys(d, step, field(pod, "annotations"), "annotations");
    check_env(d, step, field(pod, "env"), "podTemplate.env");
    check_mounts(d, step, field(pod, "volumeMounts"), volumes, "podTemplate.volumeMounts");
    size_t k = 0;
    for (const cJSON *sidecar = sidecars ? sidecars->child : NULL; sidecar; sidecar = sidecar->next, k++) {
        char path[96];
        (void)snprintf(path, sizeof path, "podTemplate.sidecars[%zu].env", k);
        check_env(d, step, field(sidecar, "env"), path);
        (void)snprintf(path, sizeof path, "podTemplate.sidecars[%zu].volumeMounts", k);
        check_mounts(d, step, field(sidecar, "volumeMounts"), volumes, path);
        (void)snprintf(path, sizeof path, "podTemplate.sidecars[%zu].name", k);
        for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
            if (text_equal(text_field(sidecar, "name"), ours[i]))
                decoder_step_finding(d, step, path, sidecar, false,
                                     "\"%s\" is the name of a container of ours: choose another", ours[i]);
        }
    }
}

static void check_size(const struct decoder *d, size_t step)
{
    const struct step *s = &d->p->steps[step];
    _cleanup_free_ char *text = cJSON_PrintUnformatted(s->body);
    size_t n = text ? strlen(text) : 0;
    if (n > LIMIT_CONFIG_BYTES)
        decoder_step_finding(d, step, step_kind_body_key(s->kind), s->body, false,
                             "the step's config has %zu bytes as JSON: at most %d travel to its pod", n,
                             LIMIT_CONFIG_BYTES);
}

void validate_step(struct decoder *d, size_t step)
{
    const cJSON *json = decoder_step_json(d, step);
    check_inputs(d, step);
    check_fanout(d, step, json);
    check_job_names(d, step, json);
    check_finally(d, step, json);
    check_workers(d, step, json);
    check_retry(d, step, json);
    check_cache(d, step, json);
    check_pod(d, step);
    check_size(d, step);
    if (d->p->steps[step].kind == STEP_CONTAINER)
        check_env(d, step, field(d->p->steps[step].body, "env"), "container.env");
}
