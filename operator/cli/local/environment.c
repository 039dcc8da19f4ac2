#include "operator/cli/local/environment.h"

#include <inttypes.h>
#include <stdbool.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

/* Variables with a meaning to stages or to torchrun. Those that tests use to place failures stay. */
static bool is_ours(const char *item)
{
    static const char *const names[] = {"RANK=",        "LOCAL_RANK=",  "WORLD_SIZE=",
                                        "MASTER_ADDR=", "MASTER_PORT=", NULL};
    if (text_starts_with(item, "TRAINYARD_FAILPOINT"))
        return false;
    for (const char *const *n = names; *n; n++) {
        if (text_starts_with(item, *n))
            return true;
    }
    return text_starts_with(item, "TRAINYARD_") || text_starts_with(item, "PET_");
}

static void add(struct environment *e, char *item)
{
    e->items = grow_array(e->items, &e->capacity, e->n + 1, sizeof *e->items);
    e->items[e->n++] = item;
    e->items[e->n] = NULL;
}

void environment_init(struct environment *e, char *const *inherited)
{
    *e = (struct environment){0};
    e->items = grow_array(NULL, &e->capacity, 0, sizeof *e->items);
    e->items[0] = NULL;
    for (; *inherited; inherited++) {
        if (!is_ours(*inherited))
            add(e, xstrdup(*inherited));
    }
}

void environment_release(struct environment *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->items[i]);
    free(e->items);
    *e = (struct environment){0};
}

static size_t find(const struct environment *e, const char *name)
{
    size_t len = strlen(name), i = 0;
    while (i < e->n && !(strncmp(e->items[i], name, len) == 0 && e->items[i][len] == '='))
        i++;
    return i;
}

void environment_set(struct environment *e, const char *name, const char *value)
{
    if (!value)
        return;
    size_t i = find(e, name);
    char *item = xasprintf("%s=%s", name, value);
    if (i == e->n) {
        add(e, item);
        return;
    }
    free(e->items[i]);
    e->items[i] = item;
}

void environment_set_int(struct environment *e, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    environment_set(e, name, text);
}

const char *environment_get(const struct environment *e, const char *name)
{
    size_t i = find(e, name);
    return i == e->n ? NULL : e->items[i] + strlen(name) + 1;
}
