/* CRC32C of concatenations, and its S3 text form. */
#include "common/base/cleanup.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"

enum { CRC32C_POLYNOMIAL_REFLECTED = (int)0x82f63b78 };

/* 32×32 bit matrices over GF(2), a column a word. */
static uint32_t times(const uint32_t matrix[static 32], uint32_t vector)
{
    uint32_t sum = 0;
    for (int i = 0; vector; vector >>= 1, i++)
        if (vector & 1)
            sum ^= matrix[i];
    return sum;
}

static void square(uint32_t ret[static 32], const uint32_t matrix[static 32])
{
    for (int i = 0; i < 32; i++)
        ret[i] = times(matrix, matrix[i]);
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t len_b)
{
    uint32_t odd[32], even[32]; /* the maps for one zero bit, then 2, 4, 8, … */
    odd[0] = (uint32_t)CRC32C_POLYNOMIAL_REFLECTED;
    for (int i = 1; i < 32; i++)
        odd[i] = 1u << (i - 1);
    square(even, odd); /* 2 bits */
    square(odd, even); /* 4 bits */
    for (uint64_t left = len_b; left; left >>= 1) {
        square(even, odd); /* the first time: 8 bits, one byte */
        if (left & 1)
            a = times(even, a);
        memcpy(odd, even, sizeof odd);
    }
    return a ^ b;
}

void s3_crc32c_format(uint32_t crc, char ret[static S3_CRC_TEXT_MAX])
{
    uint8_t bytes[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    _cleanup_free_ char *text = base64_encode(bytes, sizeof bytes);
    (void)snprintf(ret, S3_CRC_TEXT_MAX, "%s", text);
}

bool s3_crc32c_of(const struct http_response *response, uint32_t *ret)
{
    _cleanup_free_ char *text = http_header_dup(response, "x-amz-checksum-crc32c");
    _cleanup_free_ char *type = http_header_dup(response, "x-amz-checksum-type");
    if (!text || strchr(text, '-') || (type && text_equal(type, "COMPOSITE")))
        return false; /* composite: a checksum of the parts' checksums */
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t len;
    struct err ignored = ERR_INIT;
    if (base64_decode(text, &bytes, &len, &ignored) < 0 || len != 4)
        return false;
    *ret = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    return true;
}
