/* The inputs document (TRAINYARD_INPUTS) and fetching what it names.
 *
 * {"<input>": {"digest", "run", "step", "index"?, "restart"?}} or, for a fan-out, a list of these. The producer's result.json
 * names the attempt's folder and the output that has the digest; the artifact is verified and brought to <dir>/<input>, a
 * list to <dir>/<input>/<0, 1, …>. Missing or altered: ERR_NOTFOUND, exit 66, reason artifact-missing, naming the
 * producer step, so that the planner can run it again. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/store/store.h"

struct input {
    char *name;
    char *dir;     /* where its files lie */
    cJSON *digest; /* string, or list of strings */
    bool list;
};
struct inputs {
    struct input *items;
    size_t n;
};

/* `document` may be NULL (no inputs). `accepted` (NULL: anything) are the stage's names, NULL-terminated, optional ones ending in
 * '?': unknown and missing names are ERR_INVALID, exit 64. Creates dir. */
int inputs_fetch(struct store *s, const cJSON *document, const char *const *accepted, const char *dir,
                 struct inputs *ret, struct err *err);
/* Hand-run: NAME=DIR texts; digests come from DIR/manifest.json where it exists, whose files are then verified. */
int inputs_local(const char *const *pairs, size_t n, const char *const *accepted, struct inputs *ret,
                 struct err *err);
const struct input *inputs_get(const struct inputs *in, const char *name); /* NULL: absent */
/* Object name → digest or list of digests, for the manifest of what is made from them; caller owns. */
cJSON *inputs_digests(const struct inputs *in);
void inputs_release(struct inputs *in);

static inline void inputs_cleanup_func(struct inputs *in)
{
    inputs_release(in);
}
#define _cleanup_inputs_ CLEANUP(inputs_cleanup_func)
