/* Checksums that are not cryptographic: CRC32C (Castagnoli) and XXH64; declared in digest.h. */
#include <pthread.h>
#include <string.h>

#include "common/base/digest.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read in little-endian order");

static inline uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t read32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* --- CRC32C: reflected polynomial 0x82f63b78, initial value and final xor all ones ------------------ */

static uint32_t crc_table[8][256];

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
        crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int t = 1; t < 8; t++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
    }
}

/* Eight bytes a step by eight tables ("slicing by 8", Kounavis and Berry 2005). */
static uint32_t crc_by_table(uint32_t c, const uint8_t *p, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_crc_table);
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v = read64(p) ^ c;
        c = 0;
        for (int t = 0; t < 8; t++)
            c ^= crc_table[7 - t][v >> 8 * t & 255];
    }
    for (; len; p++, len--)
        c = c >> 8 ^ crc_table[0][(c ^ *p) & 255];
    return c;
}

#if defined(__x86_64__)
/* The instruction takes three cycles but can start every cycle: so three lanes at once, joined by what CRC_LANE zero
 * bytes would do to a lane's value, which is a linear map. */
enum { CRC_LANE = 4096 };
static uint32_t crc_lane_table[4][256];

__attribute__((target("sse4.2"))) static void make_crc_lane_table(void)
{
    for (int bit = 0; bit < 32; bit++) {
        uint64_t moved = 1ull << bit;
        for (int i = 0; i < CRC_LANE / 8; i++)
            moved = _mm_crc32_u64(moved, 0);
        uint32_t *row = crc_lane_table[bit / 8];
        uint32_t half = 1u << bit % 8; /* entries below it are done: the others add this bit to them */
        for (uint32_t i = 0; i < half; i++)
            row[half + i] = row[i] ^ (uint32_t)moved;
    }
}

static inline uint32_t after_zero_lane(uint32_t c)
{
    return crc_lane_table[0][c & 255] ^ crc_lane_table[1][c >> 8 & 255] ^ crc_lane_table[2][c >> 16 & 255] ^
           crc_lane_table[3][c >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc_by_sse42(uint32_t c, const uint8_t *p, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (len >= 3 * CRC_LANE)
        (void)pthread_once(&once, make_crc_lane_table);
    for (; len >= 3 * CRC_LANE; p += 3 * CRC_LANE, len -= 3 * CRC_LANE) {
        uint64_t x = c, y = 0, z = 0;
        for (size_t i = 0; i < CRC_LANE; i += 8) {
            x = _mm_crc32_u64(x, read64(p + i));
            y = _mm_crc32_u64(y, read64(p + CRC_LANE + i));
            z = _mm_crc32_u64(z, read64(p + 2 * (size_t)CRC_LANE + i));
        }
        c = after_zero_lane(after_zero_lane((uint32_t)x) ^ (uint32_t)y) ^ (uint32_t)z;
    }
    uint64_t wide = c;
    for (; len >= 8; p += 8, len -= 8)
        wide = _mm_crc32_u64(wide, read64(p));
    c = (uint32_t)wide;
    for (; len; p++, len--)
        c = _mm_crc32_u8(c, *p);
    return c;
}
#endif

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    return ~crc_by_table(~crc, data, len);
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_by_sse42(~crc, data, len);
#endif
    return crc32c_portable(crc, data, len);
}

/* --- XXH64, after the public "xxHash fast digest algorithm" specification ------------------------------- */

static const uint64_t PRIME1 = 0x9e3779b185ebca87, PRIME2 = 0xc2b2ae3d27d4eb4f, PRIME3 = 0x165667b19e3779f9,
                      PRIME4 = 0x85ebca77c2b2ae63, PRIME5 = 0x27d4eb2f165667c5;

static inline uint64_t rotate(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static inline uint64_t xxh_round(uint64_t acc, uint64_t lane)
{
    return rotate(acc + lane * PRIME2, 31) * PRIME1;
}

static inline uint64_t xxh_merge(uint64_t acc, uint64_t lane_acc)
{
    return (acc ^ xxh_round(0, lane_acc)) * PRIME1 + PRIME4;
}

uint64_t xxh64(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *p = data;
    size_t left = len;
    uint64_t acc = seed + PRIME5;
    if (left >= 32) {
        uint64_t a[4] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
        for (; left >= 32; p += 32, left -= 32) {
            for (int i = 0; i < 4; i++)
                a[i] = xxh_round(a[i], read64(p + 8 * i));
        }
        acc = rotate(a[0], 1) + rotate(a[1], 7) + rotate(a[2], 12) + rotate(a[3], 18);
        for (int i = 0; i < 4; i++)
            acc = xxh_merge(acc, a[i]);
    }
    acc += len;
    for (; left >= 8; p += 8, left -= 8)
        acc = rotate(acc ^ xxh_round(0, read64(p)), 27) * PRIME1 + PRIME4;
    if (left >= 4) {
        acc = rotate(acc ^ read32(p) * PRIME1, 23) * PRIME2 + PRIME3;
        p += 4;
        left -= 4;
    }
    for (; left; p++, left--)
        acc = rotate(acc ^ *p * PRIME5, 11) * PRIME1;
    acc = (acc ^ acc >> 33) * PRIME2;
    acc = (acc ^ acc >> 29) * PRIME3;
    return acc ^ acc >> 32;
}
