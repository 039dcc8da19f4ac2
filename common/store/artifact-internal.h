/* manifest.json of an artifact: text ↔ struct. Apart from artifact.c because it is pure, and fuzzed. */
#pragma once

#include "common/base/buf.h"
#include "common/store/artifact.h"

#define ARTIFACT_MANIFEST "manifest.json"

/* The canonical text, whose SHA-256 is the artifact's digest. */
int artifact_manifest_format(const struct artifact *a, struct buf *out, struct err *err);
/* Accepts canonical text only: names safe, sorted and unique, sizes and digests well formed, nothing unknown. Fills ret's digest. */
int artifact_manifest_parse(const char *text, size_t len, struct artifact **ret, struct err *err);
