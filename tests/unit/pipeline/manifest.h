/* Manifests for the tests of the decoder: the one of the documentation, as it stands or with a text replaced. */
#pragma once

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "operator/pipeline/pipeline.h"
#include "tests/unit/unit.h"

#define CLICK_RANKER "tests/vectors/manifest/click-ranker.yaml"

/* The file with the first `from` replaced by `to`; caller frees. */
static inline char *manifest_with(const char *file, const char *from, const char *to)
{
    char *text;
    size_t len;
    struct err err = ERR_INIT;
    assert_ok(fs_read_file(file, 1 << 20, &text, &len, &err), &err);
    if (!from)
        return text;
    char *at = strstr(text, from);
    if (!at)
        fail_msg("%s does not contain \"%s\"", file, from);
    char *changed = xasprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(text);
    return changed;
}

/* Findings as lines "line: path: message", warnings with "warning: " before the message; caller frees. */
static inline char *findings_text(const struct findings *f)
{
    char *text = xstrdup("");
    for (size_t i = 0; i < f->n; i++) {
        char *longer = xasprintf("%s%d: %s: %s%s\n", text, f->items[i].line, f->items[i].path,
                                 f->items[i].warning ? "warning: " : "", f->items[i].message);
        free(text);
        text = longer;
    }
    return text;
}

/* Decodes a text that must be right. */
static inline struct pipeline *manifest_decode(const char *text)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    struct pipeline *p = NULL;
    assert_ok(pipeline_decode_yaml(text, strlen(text), "test.yaml", &p, &findings, &err), &err);
    findings_release(&findings);
    return p;
}
