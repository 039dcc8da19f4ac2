/* Two runs side by side: parameters, what their steps were told, how these went, what came out. Pure: records in, document out. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/buf.h"
#include "operator/cli/record.h"
#include "operator/cli/ui.h"

/* {"runs": [a, b] as describe_run() gives them but without steps,
 *  "parameters": [{"name", "a"?, "b"?, "equal"}], defaults included,
 *  "steps": [{"name", "only"?: "a" | "b", "a"?: {"state", "cached", "attempts", "seconds"?, "message"?}, "b"?: {…},
 *             "config": [{"path", "a"?, "b"?}]: where the manifests differ, "outputs": [{"name", "a"?, "b"?, "equal"}],
 *             "values": [{"name", "a"?, "b"?, "delta"?: b - a, "equal"}]}],
 *  "settings": [{"path", "a"?, "b"?}]: where the rest of the specs differs}.
 * run_a, run_b: from describe_run(). Caller owns. */
cJSON *compare_runs(const struct record *a, const cJSON *run_a, const struct record *b, const cJSON *run_b);
/* The same for people: what differs, and the values of both. */
void compare_text(const cJSON *comparison, const struct ui_style *style, struct buf *out);

/* Appends {"path", "a"?, "b"?} for every leaf in which two trees differ. Lists of objects with a name are matched by it ("features[price].scale"),
 * others by place. Either tree may be NULL. */
void compare_trees(const char *path, const cJSON *a, const cJSON *b, cJSON *differences);
