/* What an answer of the API server that is no success means. Status objects: "Kubernetes API conventions", Response Status Kind. */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/* Sets err from an HTTP status and the Status object (NULL: there was none), as client.h says; what: "create jobs/x". Always
 * negative. Stands in a watch's stream as well, as an ERROR event. ERR_GONE also for a version that the server has not reached yet. */
int kube_answer_error(int http_status, const cJSON *status, const char *what, struct err *err);
/* details.retryAfterSeconds in milliseconds; -1: none. */
int64_t kube_answer_retry_after_ms(const cJSON *status);
/* Cuts members out of a JSON text, in place, before it is parsed, and ends it with NUL; the new length. "managedFields" always go: they are
 * a third to a half of an object, and nobody here reads them; so do members of these names (NULL-terminated; NULL: no more), at
 * any depth, whose value is a string, a list or an object. Text that is not JSON stays harmless: it is cut no further than its end. */
size_t kube_cut_members(char *text, size_t len, const char *const *names);
