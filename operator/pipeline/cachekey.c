/* Cache keys of pure steps: see cachekey.h. */
#include "operator/pipeline/cachekey.h"

#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/contract.h"
#include "common/base/json.h"
#include "common/base/text.h"

enum { PART_HEX = 12, NAMES_MAX = 3 };

bool cachekey_is_pure(const struct step *step)
{
    return !step->finally &&
           (step->kind == STEP_FEATURIZE || step->kind == STEP_TRAIN_DDP || step->kind == STEP_CONTAINER);
}

bool cachekey_image_pinned(const char *image)
{
    static const char at[] = "@sha256:";
    const char *p = image ? strstr(image, at) : NULL;
    return p && digest_valid(p + strlen(at));
}

static bool is_location(const char *key)
{
    static const char *const fields[] = {LOCATION_FIELDS, NULL};
    for (size_t i = 0; fields[i]; i++)
        if (text_equal(key, fields[i]))
            return true;
    return false;
}

/* Whatever a container was told may matter to it; our own stages know their location fields. */
static cJSON *config_that_matters(const struct step *step, const cJSON *config)
{
    cJSON *copy = config ? cJSON_Duplicate(config, true) : json_object();
    if (step->kind == STEP_CONTAINER)
        return copy;
    for (cJSON *child = copy->child, *next; child; child = next) {
        next = child->next;
        if (is_location(child->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(copy, child));
    }
    return copy;
}

/* The inputs document without places: a digest, or a list of them. */
static cJSON *input_digests(const cJSON *inputs)
{
    cJSON *o = json_object();
    const cJSON *input, *one;
    cJSON_ArrayForEach(input, inputs)
    {
        if (!cJSON_IsArray(input)) {
            json_add(o, input->string,
                     cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(input, "digest"), true));
            continue;
        }
        cJSON *list = json_array();
        cJSON_ArrayForEach(one, input)
            json_append(list, cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(one, "digest"), true));
        json_add(o, input->string, list);
    }
    return o;
}

static const char *text_of(const cJSON *o, const char *key, const char *fallback)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return text ? text : fallback;
}

/* A pinned level is part of the config as well; native means the machine's. */
static const char *isa_class(const cJSON *config, const struct plan_options *options)
{
    const char *pinned = text_of(cJSON_GetObjectItemCaseSensitive(config, "determinism"), "isa", "native");
    return text_equal(pinned, "native") && options->isa ? options->isa : pinned;
}

static int add_parts(cJSON *parts, const char *prefix, const cJSON *object, struct err *err)
{
    const cJSON *field;
    cJSON_ArrayForEach(field, object)
    {
        char hex[DIGEST_HEX];
        if (json_digest(field, hex, err) < 0)
            return -1;
        hex[PART_HEX] = '\0';
        _cleanup_free_ char *name = xasprintf("%s.%s", prefix, field->string);
        json_add_string(parts, name, hex);
    }
    return 0;
}

static void add_number_text(cJSON *o, const char *key, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    json_add_string(o, key, text);
}

int cachekey_compute(const struct step *step, const struct job *job, const struct plan_options *options,
                     char ret_key[static DIGEST_HEX], cJSON **ret_parts, struct err *err)
{
    _cleanup_json_ cJSON *config = config_that_matters(step, job->config);
    _cleanup_json_ cJSON *inputs = input_digests(job->inputs);
    _cleanup_json_ cJSON *parts = json_object(), *whole = json_object();
    json_add_string(parts, "algorithm", jobspec_algorithm_version(options, step->kind));
    add_number_text(parts, "workers", job->workers);
    add_number_text(parts, "threads", job->threads);
    json_add_string(parts, "device", job->device);
    json_add_string(parts, "precision", text_of(config, "precision", "fp32"));
    json_add_string(parts, "isa", isa_class(config, options));

    json_add(whole, "parts", cJSON_Duplicate(parts, true));
    json_add_string(whole, "kind", step_kind_body_key(step->kind));
    json_add(whole, "config", cJSON_Duplicate(config, true));
    json_add(whole, "inputs", cJSON_Duplicate(inputs, true));
    if (json_digest(whole, ret_key, err) < 0 || add_parts(parts, "config", config, err) < 0 ||
        add_parts(parts, "inputs", inputs, err) < 0)
        return err_wrap(err, "cache key of step %s", step->name);
    *ret_parts = steal_ptr(parts);
    return 0;
}

static void add_difference(struct buf *names, size_t *n, const cJSON *part, const cJSON *other)
{
    const cJSON *match = cJSON_GetObjectItemCaseSensitive(other, part->string);
    if (match && text_equal(cJSON_GetStringValue(match), cJSON_GetStringValue(part)))
        return;
    if ((*n)++ < NAMES_MAX)
        (void)buf_addf(names, "%s%s", names->len ? ", " : "", part->string);
}

char *cachekey_difference(const cJSON *parts, const cJSON *earlier)
{
    _cleanup_buf_ struct buf names = BUF_INIT(1024);
    size_t n = 0;
    const cJSON *part;
    cJSON_ArrayForEach(part, parts) add_difference(&names, &n, part, earlier);
    cJSON_ArrayForEach(part, earlier)
    {
        if (!cJSON_HasObjectItem(parts, part->string))
            add_difference(&names, &n, part, parts);
    }
    if (n > NAMES_MAX)
        (void)buf_addf(&names, " and %zu more", n - NAMES_MAX);
    return buf_failed(&names) ? xstrdup("many parts") : buf_take(&names);
}
