/* Signed envelopes: sealing, opening, and every way in which one must not open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/dsse.h"

struct pair {
    char *private_pem, *public_pem;
};

static char *to_pem(EVP_PKEY *key, bool private_key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int ok = private_key ? PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)
                         : PEM_write_bio_PUBKEY(bio, key);
    assert_int_equal(ok, 1);
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *pem = xstrndup(data, (size_t)len);
    BIO_free(bio);
    return pem;
}

static struct pair make_pair(EVP_PKEY *key)
{
    assert_non_null(key);
    struct pair p = {to_pem(key, true), to_pem(key, false)};
    EVP_PKEY_free(key);
    return p;
}

static void pair_release(struct pair *p)
{
    free(p->private_pem);
    free(p->public_pem);
}

static int open_envelope(const struct buf *envelope, const char *public_pem, bool *ret_signed,
                         struct buf *payload, struct err *err)
{
    return dsse_open(buf_str(envelope), envelope->len, public_pem, ret_signed, payload, err);
}

static void check_round_trip(struct pair keys, struct pair others)
{
    _cleanup_buf_ struct buf envelope = BUF_INIT(65536), payload = BUF_INIT(65536);
    struct err err = ERR_INIT;
    bool is_signed;
    static const char text[] = "{\"subject\":\"model\"}";
    if (dsse_seal(keys.private_pem, "application/json", text, strlen(text), &envelope, &err) < 0)
        fail_msg("%s", err.msg);
    if (open_envelope(&envelope, keys.public_pem, &is_signed, &payload, &err) < 0)
        fail_msg("%s", err.msg);
    assert_true(is_signed);
    assert_string_equal(buf_str(&payload), text);

    assert_int_equal(open_envelope(&envelope, others.public_pem, &is_signed, &payload, &err), -1);
    assert_string_equal(err.reason, "signature");
    err_clear(&err);

    char *at = strstr(envelope.data, "\"payload\":\"");
    at[strlen("\"payload\":\"")] ^= 1; /* another payload under the same signature */
    assert_int_equal(open_envelope(&envelope, keys.public_pem, &is_signed, &payload, &err), -1);
    assert_string_equal(err.reason, "signature");
}

static void ed25519_signs_and_notices(void **state)
{
    (void)state;
    struct pair a = make_pair(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")),
                b = make_pair(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    check_round_trip(a, b);
    pair_release(&a);
    pair_release(&b);
}

static void p256_signs_and_notices(void **state)
{
    (void)state;
    struct pair a = make_pair(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")),
                b = make_pair(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
    check_round_trip(a, b);
    pair_release(&a);
    pair_release(&b);
}

static void other_keys_are_refused(void **state)
{
    (void)state;
    struct pair p = make_pair(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"));
    const char *const keys[] = {p.private_pem, "not a key", p.public_pem};
    for (size_t i = 0; i < 3; i++) {
        _cleanup_buf_ struct buf envelope = BUF_INIT(65536);
        struct err err = ERR_INIT;
        assert_int_equal(dsse_seal(keys[i], "t", "x", 1, &envelope, &err), -1);
        assert_int_equal(err_exit_code(&err), 78);
    }
    pair_release(&p);
}

static void without_a_key_it_opens_unsigned_only(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf envelope = BUF_INIT(65536), payload = BUF_INIT(65536);
    struct err err = ERR_INIT;
    bool is_signed = true;
    assert_int_equal(dsse_seal(NULL, "t", "x", 1, &envelope, &err), 0);
    assert_int_equal(open_envelope(&envelope, NULL, &is_signed, &payload, &err), 0);
    assert_false(is_signed);
    struct pair p = make_pair(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    assert_int_equal(open_envelope(&envelope, p.public_pem, &is_signed, &payload, &err), -1);
    pair_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ed25519_signs_and_notices),
        cmocka_unit_test(p256_signs_and_notices),
        cmocka_unit_test(other_keys_are_refused),
        cmocka_unit_test(without_a_key_it_opens_unsigned_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
