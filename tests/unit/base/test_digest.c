/* Digests on published vectors; hexadecimal, base64, random names. */
#include <stdlib.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "tests/unit/unit.h"

static void sha256_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        /* FIPS 180-4 examples */
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char hex[DIGEST_HEX];
        size_t len = strlen(cases[i].text);
        sha256_hex(cases[i].text, len, hex);
        assert_string_equal(hex, cases[i].hex);
        struct sha256 *s = sha256_new();
        for (size_t j = 0; j < len; j++)
            sha256_update(s, cases[i].text + j, 1);
        uint8_t raw[SHA256_LEN];
        sha256_final(s, raw);
        hex_encode(raw, sizeof raw, hex);
        assert_string_equal(hex, cases[i].hex);
    }
    sha256_free(NULL);
    sha256_free(sha256_new());
}

static void sha256_of_files(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *dir = NULL;
    assert_ok(fs_make_temp_dir("/tmp", "test-digest", &dir, &err), &err);
    _cleanup_free_ char *path = fs_join(dir, "data");
    char hex[DIGEST_HEX];
    int64_t size;
    assert_fails(sha256_file(path, hex, &size, &err), &err, ERR_NOTFOUND, "data: No such file");
    assert_fails(sha256_file(dir, hex, &size, &err), &err, ERR_INVALID, "expected a regular file");
    /* One million times "a": the long example of FIPS 180-4; it spans several reads. */
    static char data[1000000];
    memset(data, 'a', sizeof data);
    assert_ok(fs_write_atomic(path, data, sizeof data, &err), &err);
    assert_ok(sha256_file(path, hex, &size, &err), &err);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_int_equal(size, 1000000);
    assert_ok(fs_remove_tree(dir, &err), &err);
}

static void hmac_vectors(void **state)
{
    (void)state;
    uint8_t mac[SHA256_LEN], key[20];
    char hex[DIGEST_HEX];
    memset(key, 0x0b, sizeof key); /* RFC 4231, cases 1 and 2 */
    hmac_sha256(key, sizeof key, "Hi There", 8, mac);
    hex_encode(mac, sizeof mac, hex);
    assert_string_equal(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
    hex_encode(mac, sizeof mac, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac_sha256(NULL, 0, NULL, 0, mac);
    hex_encode(mac, sizeof mac, hex);
    assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void crc32c_vectors_and_both_ways(void **state)
{
    (void)state;
    uint8_t data[300];
    memset(data, 0, 32); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, 32);
    assert_int_equal(crc32c(0, data, 32), 0x62a8ab43);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 131 + 7);
    for (size_t len = 0; len <= 256; len++) {
        for (size_t offset = 0; offset < 9; offset++) {
            uint32_t once = crc32c(0, data + offset, len);
            assert_int_equal(once, crc32c_portable(0, data + offset, len));
            size_t half = len / 3;
            assert_int_equal(once, crc32c(crc32c(0, data + offset, half), data + offset + half, len - half));
        }
    }
}

static void xxh64_vectors(void **state)
{
    (void)state;
    /* The generator and values of the reference implementation's self-test. */
    uint8_t data[222];
    uint64_t g = 2654435761u;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(g >> 56);
        g *= 11400714785074694797u;
    }
    static const struct {
        size_t len;
        uint64_t seed, hash;
    } cases[] = {
        {0, 0, 0xef46db3751d8e999},
        {0, 2654435761u, 0xac75fda2929b17ef},
        {1, 0, 0xe934a84adb052768},
        {1, 2654435761u, 0x5014607643a9b4c3},
        {4, 0, 0x9136a0dca57457ee},
        {14, 0, 0x8282dcc4994e35c8},
        {14, 2654435761u, 0xc3bd6bf63deb6df0},
        {222, 0, 0xb641ae8cb691c174},
        {222, 2654435761u, 0x20cb8ab7ae10c14a},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(xxh64(data, cases[i].len, cases[i].seed), cases[i].hash);
    assert_int_equal(xxh64("abc", 3, 0), 0x44bc2cf5ad770999);
}

static void hexadecimal(void **state)
{
    (void)state;
    uint8_t raw[3];
    assert_int_equal(hex_decode("00fFa9", raw, 3), 0);
    assert_memory_equal(raw, "\x00\xff\xa9", 3);
    assert_int_equal(hex_decode("00fFa", raw, 3), -1);
    assert_int_equal(hex_decode("00fFa9", raw, 2), -1);
    assert_int_equal(hex_decode("00fFag", raw, 3), -1);
    assert_true(digest_valid("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert_false(digest_valid("E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert_false(digest_valid("e3b0"));
    assert_true(bytes_equal_ct("abc", "abc", 3));
    assert_false(bytes_equal_ct("abc", "abd", 3));
}

static void base64(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *text; /* RFC 4648, section 10 */
    } cases[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                 {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        _cleanup_free_ char *text = base64_encode(cases[i].raw, strlen(cases[i].raw));
        assert_string_equal(text, cases[i].text);
        _cleanup_free_ uint8_t *raw = NULL;
        size_t len;
        assert_ok(base64_decode(text, &raw, &len, &err), &err);
        assert_int_equal(len, strlen(cases[i].raw));
        assert_memory_equal(raw, cases[i].raw, len);
    }
    static const char *const bad[] = {"Zg",    "Zg=",  "Z===",     "Zh==", "Zm9=",
                                      "Zm 9v", "=Zg=", "Zg==Zg==", "Zm-_"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t *raw = NULL;
        size_t len;
        assert_fails(base64_decode(bad[i], &raw, &len, &err), &err, ERR_INVALID, "expected base64 text");
    }
}

static void random_names_differ(void **state)
{
    (void)state;
    char a[41], b[41];
    random_name(a, 40);
    random_name(b, 40);
    assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyz0123456789"), 40);
    assert_int_equal(strlen(a), 40);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_vectors), cmocka_unit_test(sha256_of_files),
        cmocka_unit_test(hmac_vectors),   cmocka_unit_test(crc32c_vectors_and_both_ways),
        cmocka_unit_test(xxh64_vectors),  cmocka_unit_test(hexadecimal),
        cmocka_unit_test(base64),         cmocka_unit_test(random_names_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
