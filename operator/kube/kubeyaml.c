/* libyaml's document tree → cJSON. */
#include "operator/kube/kubeyaml.h"

#include <yaml.h>

#include "common/base/json.h"
#include "common/base/limits.h"

struct converter {
    yaml_document_t *document;
    const char *file_name;
    size_t nodes;
};

static cJSON *convert(struct converter *c, int index, int depth, struct err *err)
{
    yaml_node_t *node = yaml_document_get_node(c->document, index);
    if (depth > LIMIT_JSON_DEPTH || ++c->nodes > LIMIT_YAML_NODES) {
        (void)err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "kubeconfig", "%s: too deep or too large",
                       c->file_name);
        return NULL;
    }
    if (node->type == YAML_SCALAR_NODE)
        return cJSON_CreateString((const char *)node->data.scalar.value);
    cJSON *all = node->type == YAML_SEQUENCE_NODE ? json_array() : json_object();
    if (node->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
            cJSON *item = convert(c, *i, depth + 1, err);
            if (!item)
                goto failed;
            json_append(all, item);
        }
        return all;
    }
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(c->document, p->key);
        if (key->type != YAML_SCALAR_NODE) {
            (void)err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "kubeconfig", "%s:%zu: expected a text as key",
                           c->file_name, key->start_mark.line + 1);
            goto failed;
        }
        cJSON *value = convert(c, p->value, depth + 1, err);
        if (!value)
            goto failed;
        json_add(all, (const char *)key->data.scalar.value, value);
    }
    return all;
failed:
    cJSON_Delete(all);
    return NULL;
}

int kubeyaml_parse(const char *text, size_t len, const char *file_name, cJSON **ret, struct err *err)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser))
        return err_set(err, ERR_TERMINAL, "%s: libyaml gives no parser", file_name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (!yaml_parser_load(&parser, &document)) {
        int r = err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "kubeconfig", "%s:%zu: %s", file_name,
                         parser.problem_mark.line + 1, parser.problem ? parser.problem : "not YAML");
        yaml_parser_delete(&parser);
        return r;
    }
    struct converter c = {.document = &document, .file_name = file_name};
    *ret = yaml_document_get_root_node(&document) ? convert(&c, 1, 0, err) : json_object();
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    return *ret ? 0 : -1;
}
