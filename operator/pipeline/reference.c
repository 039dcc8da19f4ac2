/* Finding $(…) in text: see reference.h. */
#include "operator/pipeline/reference.h"

#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "operator/pipeline/expr-internal.h"

/* `s` stands behind "$(". */
static bool is_ours(const char *s)
{
    static const char *const prefixes[] = {"params.", "steps.",  "steps[", "run.",
                                           "item)",   "matrix.", "date("};
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (text_starts_with(s, prefixes[i]))
            return true;
    }
    return false;
}

/* The next "$(" or "$$(" of ours, or NULL. */
static const char *find_ours(const char *s)
{
    for (const char *p = strchr(s, '$'); p; p = strchr(p + 1, '$')) {
        if ((p[1] == '(' && is_ours(p + 2)) || (p[1] == '$' && p[2] == '(' && is_ours(p + 3)))
            return p;
    }
    return NULL;
}

int reference_next(const char **cursor, struct reference_piece *ret, struct err *err)
{
    const char *start = *cursor;
    if (!*start) {
        *ret = (struct reference_piece){.kind = REFERENCE_END};
        return 0;
    }
    const char *found = find_ours(start);
    if (found != start) {
        size_t len = found ? (size_t)(found - start) : strlen(start);
        *ret = (struct reference_piece){.kind = REFERENCE_TEXT, .text = start, .len = len};
        *cursor = start + len;
        return 0;
    }
    if (start[1] == '$') {
        *ret = (struct reference_piece){.kind = REFERENCE_ESCAPE, .text = start, .len = 3};
        *cursor = start + 3;
        return 0;
    }
    _cleanup_expr_ struct expr *e = NULL;
    size_t len;
    if (expr_parse_enclosed(start + 2, &len, &e, err) < 0)
        return -1;
    if (e->op != EXPR_OP_NAME && e->op != EXPR_OP_DATE)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression",
                        "\"$(%.*s)\": only a name or date(…) may stand in $(…)", (int)(len < 80 ? len : 80),
                        start + 2);
    *ret = (struct reference_piece){.kind = REFERENCE_VALUE,
                                    .text = start,
                                    .len = len + 3,
                                    .expr = steal_ptr(e)};
    *cursor = start + len + 3;
    return 0;
}

bool reference_any(const char *text)
{
    for (const char *p = find_ours(text); p; p = find_ours(p + 3)) {
        if (p[1] == '(')
            return true;
    }
    return false;
}

int reference_whole(const char *text, struct expr **ret, struct err *err)
{
    *ret = NULL;
    if (find_ours(text) != text || text[1] != '(')
        return 0;
    struct reference_piece piece;
    if (reference_next(&text, &piece, err) < 0)
        return -1;
    if (*text)
        expr_free(piece.expr);
    else
        *ret = piece.expr;
    return 0;
}

enum reference_use reference_use_of(bool container, const char *key)
{
    static const char *const expanded[] = {"command", "args", "env"};
    static const char *const sql[] = {"sql", "aggregate", "where", "weight"};
    for (size_t i = 0; container && i < ARRAY_SIZE(expanded); i++) {
        if (strcmp(key, expanded[i]) == 0)
            return REFERENCE_KUBERNETES;
    }
    for (size_t i = 0; !container && i < ARRAY_SIZE(sql); i++) {
        if (strcmp(key, sql[i]) == 0)
            return REFERENCE_SQL;
    }
    return REFERENCE_PLAIN;
}
