/* The strict gate before cJSON, which is lenient: it takes control characters in strings, duplicate
 * keys, leading zeros, numbers that overflow, trailing bytes, and cuts strings at \u0000. */
#pragma once

#include <stddef.h>

#include "common/base/err.h"

/* Accepts exactly one RFC 8259 document in UTF-8 without a byte-order mark, nested at most LIMIT_JSON_DEPTH
 * deep, without duplicate keys, NUL characters, lone surrogates, or numbers outside the range of a double.
 * Errors are ERR_INVALID and give the byte offset. */
int json_scan(const char *text, size_t len, struct err *err);
