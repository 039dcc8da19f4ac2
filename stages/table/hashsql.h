/* The named hashes of stages/tensor/featurehash.h as SQL functions, registered on every connection, so that a key computed
 * in a query and one computed in C are the same number:
 *
 *   trainyard_xxh64(value BIGINT, seed BIGINT) → BIGINT        over 8 bytes little-endian
 *   trainyard_xxh64_text(value VARCHAR, seed BIGINT) → BIGINT  over the UTF-8 bytes
 *
 * Seeds and results are the 64 bits read as a signed integer. NULL gives NULL. */
#pragma once

#include <duckdb.h>

#include "common/base/err.h"

int hashsql_register(duckdb_connection connection, struct err *err);
