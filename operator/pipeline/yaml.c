/* libyaml's events → cJSON: see yaml.h. */
#include "operator/pipeline/yaml.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"

/* --- lines: a hash table by address ------------------------------------------------------------------- */

struct yaml_lines {
    struct line {
        const cJSON *node;
        int line;
    } * slots;
    size_t n, size; /* size is a power of two */
};

static size_t slot_of(const struct yaml_lines *l, const cJSON *node)
{
    uint64_t h = (uint64_t)(uintptr_t)node * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(h >> 20) & (l->size - 1);
    while (l->slots[i].node && l->slots[i].node != node)
        i = (i + 1) & (l->size - 1);
    return i;
}

static void remember(struct yaml_lines *l, const cJSON *node, int line)
{
    if (2 * (l->n + 1) > l->size) {
        struct yaml_lines bigger = {.size = l->size ? 2 * l->size : 256};
        bigger.slots = xcalloc(bigger.size, sizeof *bigger.slots);
        for (size_t i = 0; i < l->size; i++) {
            if (l->slots[i].node)
                bigger.slots[slot_of(&bigger, l->slots[i].node)] = l->slots[i];
        }
        free(l->slots);
        l->slots = bigger.slots;
        l->size = bigger.size;
    }
    size_t i = slot_of(l, node);
    l->n += !l->slots[i].node;
    l->slots[i] = (struct line){node, line};
}

int yaml_line(const struct yaml_lines *lines, const cJSON *node)
{
    return lines && lines->size && node ? lines->slots[slot_of(lines, node)].line : 0;
}

struct yaml_lines *yaml_lines_free(struct yaml_lines *lines)
{
    if (lines) {
        free(lines->slots);
        free(lines);
    }
    return NULL;
}

/* --- reading ---------------------------------------------------------------------------------------------- */

struct reader {
    yaml_parser_t parser;
    struct findings *findings;
    struct yaml_lines *lines;
    struct map *anchors; /* name → node, borrowed from the tree under construction */
    size_t nodes;
    bool refused; /* a scalar was refused; reading went on */
};

static int line_of(const yaml_event_t *event)
{
    return (int)event->start_mark.line + 1;
}

/* An error that ends reading. */
__attribute__((format(printf, 4, 5))) static int fail(struct reader *r, int line,
                                                      const struct json_path *path, const char *fmt, ...)
{
    char where[JSON_PATH_MAX], text[512];
    json_path_format(path, where);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    findings_add(r->findings, where, line, false, "%s", text);
    return -1;
}

static int next_event(struct reader *r, yaml_event_t *event, const struct json_path *path)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_READER_ERROR)
        return fail(r, 0, path, "not readable as UTF-8 text: %s at byte %zu", p->problem, p->problem_offset);
    if (p->error == YAML_MEMORY_ERROR)
        return fail(r, 0, path, "out of memory while reading YAML");
    return fail(r, (int)p->problem_mark.line + 1, path, "not valid YAML: %s%s%s (column %zu)",
                p->context ? p->context : "", p->context ? ", " : "",
                p->problem ? p->problem : "unexpected text", p->problem_mark.column + 1);
}

static int count_node(struct reader *r, size_t n, int line, const struct json_path *path)
{
    r->nodes += n;
    return r->nodes <= LIMIT_YAML_NODES
               ? 0
               : fail(r, line, path, "more than %d values (aliases expanded)", LIMIT_YAML_NODES);
}

static cJSON *made(cJSON *node)
{
    if (!node)
        BUG("out of memory");
    return node;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, const struct json_path *path, cJSON **ret)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return fail(r, line_of(event), path, "text with a NUL character");
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        *ret = made(cJSON_CreateString(text));
        return 0;
    }
    double value = 0;
    char advice[YAML_ADVICE_MAX];
    switch (yaml_classify(text, &value, advice)) {
    case YAML_KIND_NUMBER:
        *ret = made(cJSON_CreateNumber(value));
        return 0;
    case YAML_KIND_TRUE:
        *ret = made(cJSON_CreateTrue());
        return 0;
    case YAML_KIND_FALSE:
        *ret = made(cJSON_CreateFalse());
        return 0;
    case YAML_KIND_NULL:
        *ret = made(cJSON_CreateNull());
        return 0;
    case YAML_KIND_REFUSED:
        (void)fail(r, line_of(event), path, "%s", advice);
        r->refused = true;
        break;
    case YAML_KIND_STRING:
        break;
    }
    *ret = made(cJSON_CreateString(text));
    return 0;
}

static int read_node(struct reader *r, const yaml_event_t *event, const struct json_path *path, size_t depth,
                     cJSON **ret);

static int read_sequence(struct reader *r, const struct json_path *path, size_t depth, cJSON *array)
{
    for (size_t i = 0;; i++) {
        struct json_path here = {.parent = path, .index = i};
        yaml_event_t event;
        if (next_event(r, &event, &here) < 0)
            return -1;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        cJSON *item = NULL;
        int rc = end ? 0 : read_node(r, &event, &here, depth + 1, &item);
        int line = line_of(&event);
        yaml_event_delete(&event);
        if (rc < 0 || end)
            return rc;
        remember(r->lines, item, line);
        cJSON_AddItemToArray(array, item);
    }
}

/* A key: text that no reader takes for something else. */
static int read_key(struct reader *r, const yaml_event_t *event, const struct json_path *path,
                    const struct map *seen, char **ret)
{
    int line = line_of(event);
    if (event->type == YAML_ALIAS_EVENT)
        return fail(r, line, path, "an alias cannot be a key: write the key out");
    if (event->type != YAML_SCALAR_EVENT)
        return fail(r, line, path, "a key must be text, not a mapping or a sequence");
    if (event->data.scalar.tag)
        return fail(r, line, path, "tags are not supported: remove %s", (const char *)event->data.scalar.tag);
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return fail(r, line, path, "a key with a NUL character");
    struct json_path key_path = {.parent = path, .key = text};
    double value;
    char advice[YAML_ADVICE_MAX];
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        enum yaml_kind kind = yaml_classify(text, &value, advice);
        if (kind == YAML_KIND_REFUSED) {
            (void)fail(r, line, &key_path, "key %s", advice);
            r->refused = true;
        } else if (kind != YAML_KIND_STRING) {
            return fail(r, line, path, "the key %s is not text: write \"%s\"", text, text);
        }
    }
    if (map_has(seen, text))
        return fail(r, line, &key_path, "the key \"%s\" occurs twice in this mapping: remove one", text);
    *ret = xstrdup(text);
    return 0;
}

static int read_mapping(struct reader *r, const struct json_path *path, size_t depth, cJSON *object)
{
    _cleanup_map_ struct map *seen = map_new(LIMIT_YAML_NODES, NULL);
    for (;;) {
        yaml_event_t event;
        if (next_event(r, &event, path) < 0)
            return -1;
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return 0;
        }
        _cleanup_free_ char *key = NULL;
        int line = line_of(&event);
        int rc = read_key(r, &event, path, seen, &key);
        yaml_event_delete(&event);
        struct json_path here = {.parent = path, .key = key};
        if (rc < 0 || next_event(r, &event, &here) < 0)
            return -1;
        cJSON *value = NULL;
        rc = read_node(r, &event, &here, depth + 1, &value);
        yaml_event_delete(&event);
        if (rc < 0)
            return -1;
        (void)map_set(seen, key, value);
        remember(r->lines, value, line);
        cJSON_AddItemToObject(object, key, value);
    }
}

static size_t measure(const cJSON *node, size_t *ret_height)
{
    size_t count = 1, height = 0;
    for (const cJSON *child = node->child; child; child = child->next) {
        size_t h;
        count += measure(child, &h);
        height = h > height ? h : height;
    }
    *ret_height = height + 1;
    return count;
}

static void remember_all(struct yaml_lines *lines, const cJSON *node, int line)
{
    remember(lines, node, line);
    for (const cJSON *child = node->child; child; child = child->next)
        remember_all(lines, child, line);
}

static int read_alias(struct reader *r, const yaml_event_t *event, const struct json_path *path, size_t depth,
                      cJSON **ret)
{
    const char *name = (const char *)event->data.alias.anchor;
    const cJSON *target = map_get(r->anchors, name);
    if (!target)
        return fail(r, line_of(event), path, "the alias *%s has no finished anchor &%s before it", name,
                    name);
    size_t height;
    size_t n = measure(target, &height);
    if (depth + height > LIMIT_JSON_DEPTH)
        return fail(r, line_of(event), path, "nested deeper than %d levels (aliases expanded)",
                    LIMIT_JSON_DEPTH);
    if (count_node(r, n, line_of(event), path) < 0)
        return -1;
    *ret = made(cJSON_Duplicate(target, true));
    remember_all(r->lines, *ret, line_of(event));
    return 0;
}

/* On failure *ret may hold a partial tree, which the caller's owner frees. */
static int read_content(struct reader *r, const yaml_event_t *event, const struct json_path *path,
                        size_t depth, cJSON **ret)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, event, path, ret);
    case YAML_SEQUENCE_START_EVENT:
        *ret = made(cJSON_CreateArray());
        return read_sequence(r, path, depth, *ret);
    case YAML_MAPPING_START_EVENT:
        *ret = made(cJSON_CreateObject());
        return read_mapping(r, path, depth, *ret);
    default:
        return fail(r, line_of(event), path, "expected a value");
    }
}

static const char *tag_of(const yaml_event_t *event)
{
    const yaml_char_t *tag = event->type == YAML_SCALAR_EVENT           ? event->data.scalar.tag
                             : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.tag
                             : event->type == YAML_MAPPING_START_EVENT  ? event->data.mapping_start.tag
                                                                        : NULL;
    return (const char *)tag;
}

static const char *anchor_of(const yaml_event_t *event)
{
    const yaml_char_t *anchor = event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
                                : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
                                : event->type == YAML_MAPPING_START_EVENT  ? event->data.mapping_start.anchor
                                                                           : NULL;
    return (const char *)anchor;
}

/* The node that begins with `event`; *ret is written only on success. */
static int read_node(struct reader *r, const yaml_event_t *event, const struct json_path *path, size_t depth,
                     cJSON **ret)
{
    int line = line_of(event);
    if (depth > LIMIT_JSON_DEPTH)
        return fail(r, line, path, "nested deeper than %d levels", LIMIT_JSON_DEPTH);
    if (event->type == YAML_ALIAS_EVENT)
        return read_alias(r, event, path, depth, ret);
    if (tag_of(event))
        return fail(r, line, path, "tags are not supported: remove %s", tag_of(event));
    if (count_node(r, 1, line, path) < 0)
        return -1;
    _cleanup_json_ cJSON *node = NULL;
    if (read_content(r, event, path, depth, &node) < 0)
        return -1;
    const char *anchor = anchor_of(event);
    if (anchor) /* a second use of the name replaces the first, as YAML says */
        (void)map_set(r->anchors, anchor, node);
    *ret = steal_ptr(node);
    return 0;
}

/* Stream start, one document, stream end. */
static int read_stream(struct reader *r, cJSON **ret)
{
    _cleanup_json_ cJSON *tree = NULL;
    for (;;) {
        yaml_event_t event;
        if (next_event(r, &event, NULL) < 0)
            return -1;
        yaml_event_type_t type = event.type;
        int rc = 0;
        if (type == YAML_DOCUMENT_START_EVENT && tree)
            rc = fail(r, line_of(&event), NULL, "a second document begins here: one file holds one manifest");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                 type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT) {
            rc = read_node(r, &event, NULL, 1, &tree);
            if (rc == 0)
                remember(r->lines, tree, line_of(&event));
        }
        yaml_event_delete(&event);
        if (rc < 0)
            return -1;
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    if (!tree)
        return fail(r, 1, NULL, "the file is empty: expected one manifest");
    *ret = steal_ptr(tree);
    return 0;
}

int yaml_parse(const char *text, size_t len, const char *file_name, struct findings *findings, cJSON **ret,
               struct yaml_lines **ret_lines, struct err *err)
{
    struct reader r = {.findings = findings};
    size_t before = findings->n;
    _cleanup_json_ cJSON *tree = NULL;
    int rc = 0;
    if (len > LIMIT_MANIFEST_FILE_BYTES) {
        rc = fail(&r, 0, NULL, "%zu bytes: larger than the maximum of %d", len, LIMIT_MANIFEST_FILE_BYTES);
    } else {
        if (!yaml_parser_initialize(&r.parser))
            BUG("out of memory");
        r.lines = xcalloc(1, sizeof *r.lines);
        r.anchors = map_new(LIMIT_YAML_NODES, NULL);
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
        rc = read_stream(&r, &tree);
        yaml_parser_delete(&r.parser);
        map_free(r.anchors);
    }
    if (rc < 0 || r.refused) {
        yaml_lines_free(r.lines);
        return findings_error(findings, before, file_name, err);
    }
    *ret = steal_ptr(tree);
    *ret_lines = r.lines;
    return 0;
}
