/* What every API object has around its spec. */
#include <string.h>

#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/decode-internal.h"

static const char *const top_keys[] = {"apiVersion", "kind", "metadata", "spec", "status", NULL};
/* ObjectMeta. */
static const char *const metadata_keys[] = {"name",
                                            "namespace",
                                            "labels",
                                            "annotations",
                                            "uid",
                                            "resourceVersion",
                                            "generation",
                                            "creationTimestamp",
                                            "deletionTimestamp",
                                            "deletionGracePeriodSeconds",
                                            "generateName",
                                            "managedFields",
                                            "ownerReferences",
                                            "finalizers",
                                            "selfLink",
                                            NULL};

struct envelope {
    const struct yaml_lines *lines;
    struct findings *findings;
};

static void add(const struct envelope *e, const cJSON *node, const char *path, const char *message)
{
    findings_add(e->findings, path, yaml_line(e->lines, node), false, "%s", message);
}

static void only(const struct envelope *e, const cJSON *object, const char *prefix, const char *const *keys)
{
    for (const cJSON *child = object->child; child; child = child->next) {
        bool known = false;
        for (const char *const *k = keys; *k && !known; k++)
            known = strcmp(*k, child->string) == 0;
        if (known)
            continue;
        char path[JSON_PATH_MAX], hint[HINT_MAX], message[HINT_MAX + 32];
        (void)snprintf(path, sizeof path, "%s%s", prefix, child->string);
        decoder_hint(child->string, keys, hint);
        (void)snprintf(message, sizeof message, "unknown field%s", hint);
        add(e, child, path, message);
    }
}

static void expect_text(const struct envelope *e, const cJSON *tree, const char *key, const char *expected)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(tree, key);
    if (cJSON_IsString(found) && strcmp(found->valuestring, expected) == 0)
        return;
    char message[256];
    (void)snprintf(message, sizeof message, "expected %s, found %s%.80s%s", expected,
                   cJSON_IsString(found) ? "\"" : "",
                   cJSON_IsString(found) ? found->valuestring
                   : found               ? "something else"
                                         : "nothing",
                   cJSON_IsString(found) ? "\"" : "");
    add(e, found ? found : tree, key, message);
}

static bool valid_name(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= LIMIT_NAME && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n &&
           s[0] != '-' && s[n - 1] != '-';
}

static void check_name(const struct envelope *e, const cJSON *metadata, const char *key, bool required)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(metadata, key);
    if (!name && !required)
        return;
    if (cJSON_IsString(name) && valid_name(name->valuestring))
        return;
    char path[64], message[256];
    (void)snprintf(path, sizeof path, "metadata.%s", key);
    (void)snprintf(message, sizeof message,
                   "expected 1 to %d lower-case letters, digits and hyphens, found %s%.80s%s", LIMIT_NAME,
                   cJSON_IsString(name) ? "\"" : "",
                   cJSON_IsString(name) ? name->valuestring
                   : name               ? "something else"
                                        : "nothing",
                   cJSON_IsString(name) ? "\"" : "");
    add(e, name ? name : metadata, path, message);
}

static void check_texts(const struct envelope *e, const cJSON *metadata, const char *key)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(metadata, key);
    char path[JSON_PATH_MAX];
    (void)snprintf(path, sizeof path, "metadata.%s", key);
    if (object && !cJSON_IsObject(object))
        add(e, object, path, "expected a mapping of text to text");
    for (const cJSON *child = cJSON_IsObject(object) ? object->child : NULL; child; child = child->next) {
        (void)snprintf(path, sizeof path, "metadata.%s.%s", key, child->string);
        if (!cJSON_IsString(child))
            add(e, child, path, "expected text: put quotes around it");
    }
}

void decode_envelope(const cJSON *tree, const char *kind, const struct yaml_lines *lines,
                     struct findings *findings)
{
    struct envelope e = {.lines = lines, .findings = findings};
    if (!cJSON_IsObject(tree)) {
        add(&e, tree, "", "expected a mapping with apiVersion, kind, metadata and spec");
        return;
    }
    only(&e, tree, "", top_keys);
    expect_text(&e, tree, "apiVersion", "trainyard.dev/v1alpha1");
    expect_text(&e, tree, "kind", kind);
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(tree, "metadata");
    if (!cJSON_IsObject(metadata)) {
        add(&e, metadata ? metadata : tree, "metadata",
            "expected a mapping with a name, such as {name: my-pipeline}");
        return;
    }
    only(&e, metadata, "metadata.", metadata_keys);
    check_name(&e, metadata, "name", true);
    check_name(&e, metadata, "namespace", false);
    check_texts(&e, metadata, "labels");
    check_texts(&e, metadata, "annotations");
    if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(tree, "spec")))
        add(&e, tree, "spec", "required field is missing or not a mapping");
}
