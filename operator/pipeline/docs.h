/* The reference of the manifest as Markdown, generated from the schema: docs/reference/manifest.md. */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"

/* Both kinds, a table for each mapping: field, type and bounds, default, meaning. `out` wants a maximum of SCHEMA_MARKDOWN_MAX. */
enum { SCHEMA_MARKDOWN_MAX = 1024 * 1024 };
int schema_markdown(struct buf *out, struct err *err);
