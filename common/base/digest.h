/* SHA-256, HMAC-SHA-256, CRC32C, XXH64, hexadecimal, random bytes. Digests travel as 64 lower-case hex digits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { SHA256_LEN = 32, DIGEST_HEX = 65 /* 64 digits and NUL */ };

struct sha256; /* opaque, streaming */
struct sha256 *sha256_new(void);
void sha256_update(struct sha256 *s, const void *data, size_t len);
/* Finishes and frees. */
void sha256_final(struct sha256 *s, uint8_t ret[static SHA256_LEN]);
void sha256_free(struct sha256 *s); /* abandons; NULL allowed */

void sha256_bytes(const void *data, size_t len, uint8_t ret[static SHA256_LEN]);
void sha256_hex(const void *data, size_t len, char ret[static DIGEST_HEX]);
/* Whole file, and its size (ret_size may be NULL). */
int sha256_file(const char *path, char ret_hex[static DIGEST_HEX], int64_t *ret_size, struct err *err);

void hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                 uint8_t ret[static SHA256_LEN]);

uint32_t crc32c(uint32_t crc, const void *data, size_t len); /* start with 0; hardware where present */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len); /* the same without it */
uint64_t xxh64(const void *data, size_t len, uint64_t seed);          /* XXH64, public specification */

void hex_encode(const void *data, size_t len, char *ret /* 2·len+1 */);
/* -1 on odd length, bad digit, or size mismatch. */
int hex_decode(const char *hex, void *ret, size_t len);
bool digest_valid(const char *hex); /* exactly 64 lower-case hex digits */
/* Equal in constant time. */
bool bytes_equal_ct(const void *a, const void *b, size_t len);

/* From the kernel; aborts if it has none. */
void random_bytes(void *ret, size_t len);
/* n lower-case letters and digits + NUL. */
void random_name(char *ret, size_t n);

/* Standard alphabet with padding; decoding is strict (no white space, no stray bits). The caller frees. */
char *base64_encode(const void *data, size_t len) __attribute__((warn_unused_result));
int base64_decode(const char *text, uint8_t **ret, size_t *ret_len, struct err *err);
