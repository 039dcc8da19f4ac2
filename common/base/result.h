/* The result a step leaves in its termination message, and the larger result.json in the store.
 *
 * Message: {"outputs": {name: digest}, "values": {…}, "cached": true?, "error": {class, reason, message}}, at most
 * LIMIT_RESULT_BYTES. Exactly one of outputs/values or error counts. A message that does not parse, or holds a
 * digest that is none, is ERR_INVALID with reason result-truncated. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct result {
    cJSON *outputs; /* object: name → 64 hex digits; never NULL after init */
    cJSON *values;  /* object: name → string, number or boolean */
    bool cached;    /* a memo hit republished an earlier result */
    bool failed;    /* error_* are set */
    char error_class[32];
    char error_reason[ERR_REASON_MAX];
    char error_message[1024];
    char folder[256]; /* result.json only: the attempt's folder relative to g<restart>/ */
};

void result_init(struct result *r);
void result_release(struct result *r);
void result_set_error(struct result *r, const struct err *cause);
/* Too large is ERR_INVALID, exit 65, reason result-too-large; error messages are shortened to fit instead. */
int result_format(const struct result *r, struct buf *out, struct err *err);
int result_parse(const char *text, size_t len, struct result *ret, struct err *err);

static inline void result_cleanup_func(struct result *r)
{
    result_release(r);
}
#define _cleanup_result_ CLEANUP(result_cleanup_func)
