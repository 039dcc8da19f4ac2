/* Store URLs: file:///absolute/path and s3://bucket[/prefix], and the percent-encoding S3 signs with.
 * A file path is taken as it stands (no percent-decoding), since people paste paths. */
#pragma once

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"

struct uri {
    bool local;
    char *path;   /* file: absolute, without trailing slash ("/" stays) */
    char *bucket; /* s3 */
    char *prefix; /* s3: "" or "a/b", without slashes around */
};

/* Anything else than these two forms is ERR_INVALID, exit 78, naming the two. */
int uri_parse(const char *text, struct uri *ret, struct err *err);
void uri_release(struct uri *u);

/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ (and "/" when kept), hexadecimal in upper case, as SigV4 wants it. */
int uri_encode(struct buf *out, const char *s, bool keep_slash);

#define _cleanup_uri_ CLEANUP(uri_release)
