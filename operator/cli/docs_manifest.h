/* The reference of both kinds as Markdown, from the CRDs' own schema: every field with type, default, bounds and description. */
#pragma once

#include "common/base/buf.h"

int docs_manifest(struct buf *out);
