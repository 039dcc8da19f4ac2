/* Progress reports: the latest one, posted at most twice a second by a thread of its own. Losing one loses nothing, so nothing
 * here fails or blocks. `url` is http(s)://…, or file:///path, which is then replaced atomically by each report (local runs).
 *
 * Body: {"fraction": 0.5, "message": "…", "metrics": {name: number}}, at most LIMIT_PROGRESS_BYTES;
 * a fraction below 0 and a NULL message are not said. */
#pragma once

#include <cjson/cJSON.h>

struct progress; /* opaque */

/* token may be NULL. Strings are copied. NULL url: reports go nowhere. */
struct progress *progress_new(const char *url, const char *token);
void progress_report(struct progress *p, double fraction, const char *message, const cJSON *metrics);
/* Posts what is pending (waiting at most a second) and ends the thread. NULL allowed. */
struct progress *progress_free(struct progress *p);
