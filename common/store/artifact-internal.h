/* manifest.json of an artifact: text ↔ struct. Apart from artifact.c because it is pure, and fuzzed. */
#pragma once

#include "common/base/buf.h"
#include "common/store/artifact.h"

#define ARTIFACT_MANIFEST "manifest.json"

/* The canonical text, whose SHA-256 is the artifact's digest. */
int artifact_manifest_format(const struct artifact *a, struct buf *out, struct err *err);
/* Accepts canonical text only: names safe, sorted and unique, sizes and digests well formed, nothing unknown. Fills ret's digest. */
int artifact_manifest_parse(const char *text, size_t len, struct artifact **ret, struct err *err);

/* Does work(store, 0 … n-1): one after the other on a local store, else several at once, each thread with a store of its
 * own. The first failure stops the rest and is the answer. work() runs in several threads. */
int artifact_each(struct store *s, size_t n,
                  int (*work)(void *ctx, struct store *s, size_t i, struct err *err), void *ctx,
                  struct err *err);
