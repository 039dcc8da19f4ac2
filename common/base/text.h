/* Small string work that several layers need: prefix and suffix tests, numbers, nearest word. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

bool text_starts_with(const char *s, const char *prefix);
bool text_ends_with(const char *s, const char *suffix);
bool text_equal(const char *a, const char *b); /* NULL-safe */
/* The whole text must be the number. */
int text_parse_int(const char *s, int64_t *ret, struct err *err);
int text_parse_double(const char *s, double *ret, struct err *err); /* locale-independent */
/* Kubernetes quantity "20Gi", "500M", "1.5", "250m" → units (bytes, cores × 1000 with `milli`). */
int text_parse_quantity(const char *s, bool milli, int64_t *ret, struct err *err);
bool text_valid_utf8(const char *s, size_t len);
/* Bytes of the well-formed UTF-8 sequence that s begins with; 0 if it is empty or begins with none. */
size_t text_utf8_length(const char *s, size_t len);
/* The candidate with the smallest edit distance if near enough to be a likely typo, else NULL. */
const char *text_nearest(const char *word, const char *const *candidates);
/* Pointer to the current part of a separator-delimited string, without copying; false at the end.
 * *cursor starts at the string and is NULL after its last part; "" has one empty part, "a," has two parts. */
bool text_next_part(const char **cursor, char separator, const char **ret_part, size_t *ret_len);
