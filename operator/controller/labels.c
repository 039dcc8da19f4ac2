/* See labels.h. */
#include "operator/controller/labels.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/limits.h"

char *label_cut(const char *name, const char *suffix, size_t max)
{
    enum { HASH = 8 };
    char hash[DIGEST_HEX];
    size_t n = strlen(name), tail = strlen(suffix);
    if (n + tail <= max)
        return xasprintf("%s%s", name, suffix);
    sha256_hex(name, n, hash);
    size_t keep = max > tail + HASH + 1 ? max - tail - HASH - 1 : 0;
    while (keep && (name[keep - 1] == '-' || name[keep - 1] == '.'))
        keep--;
    return xasprintf("%.*s-%.*s%s", (int)keep, name, HASH, hash, suffix);
}

char *label_value(const char *name)
{
    return label_cut(name, "", LIMIT_NAME);
}
