/* Signed envelopes: see dsse.h. */
#include "common/base/dsse.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);
DEFINE_CLEANUP(BIO *, BIO_free);
#define _cleanup_pkey_ CLEANUP(EVP_PKEY_free_cleanup)
#define _cleanup_md_ CLEANUP(EVP_MD_CTX_free_cleanup)
#define _cleanup_bio_ CLEANUP(BIO_free_cleanup)

/* Pre-authentication encoding: what is signed. */
static void encode(const char *type, const void *payload, size_t len, struct buf *out)
{
    (void)buf_addf(out, "DSSEv1 %zu %s %zu ", strlen(type), type, len);
    (void)buf_add(out, payload, len);
}

static int read_key(const char *pem, bool private_key, EVP_PKEY **ret, struct err *err)
{
    _cleanup_bio_ BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = !bio          ? NULL
                    : private_key ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)
                                  : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    if (!key)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "key",
                        "expected a PEM %s key (Ed25519 or P-256), found something else",
                        private_key ? "private" : "public");
    char group[32] = "";
    size_t group_len;
    int type = EVP_PKEY_get_base_id(key);
    bool p256 = type == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof group, &group_len) &&
                strcmp(group, "prime256v1") == 0;
    if (type != EVP_PKEY_ED25519 && !p256) {
        EVP_PKEY_free(key);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "key",
                        "expected an Ed25519 or P-256 key, found another kind");
    }
    *ret = key;
    return 0;
}

static const EVP_MD *digest_of(EVP_PKEY *key)
{
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
}

static void key_id(EVP_PKEY *key, char ret[static DIGEST_HEX])
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len < 0)
        BUG("a key that was read cannot be written");
    sha256_hex(der, (size_t)len, ret);
    OPENSSL_free(der);
}

static int sign(const char *pem, const struct buf *message, cJSON *signatures, struct err *err)
{
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    if (read_key(pem, true, &key, err) < 0)
        return -1;
    _cleanup_md_ EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[256];
    size_t len = sizeof signature;
    if (!context || EVP_DigestSignInit(context, NULL, digest_of(key), NULL, key) != 1 ||
        EVP_DigestSign(context, signature, &len, (const unsigned char *)message->data, message->len) != 1)
        return err_set(err, ERR_TERMINAL, "OpenSSL could not sign with this key");
    char id[DIGEST_HEX];
    key_id(key, id);
    _cleanup_free_ char *text = base64_encode(signature, len);
    cJSON *entry = json_object();
    json_add_string(entry, "keyid", id);
    json_add_string(entry, "sig", text);
    json_append(signatures, entry);
    return 0;
}

int dsse_seal(const char *private_key_pem, const char *payload_type, const void *payload, size_t len,
              struct buf *out, struct err *err)
{
    _cleanup_json_ cJSON *envelope = json_object();
    _cleanup_free_ char *text = base64_encode(payload, len);
    json_add_string(envelope, "payloadType", payload_type);
    json_add_string(envelope, "payload", text);
    cJSON *signatures = json_array();
    json_add(envelope, "signatures", signatures);
    if (private_key_pem) {
        _cleanup_buf_ struct buf message = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
        encode(payload_type, payload, len, &message);
        if (buf_check(&message, "the payload to sign", err) < 0 ||
            sign(private_key_pem, &message, signatures, err) < 0)
            return -1;
    }
    return json_canonical(envelope, out, err);
}

static bool verifies(EVP_PKEY *key, const struct buf *message, const uint8_t *signature, size_t len)
{
    _cleanup_md_ EVP_MD_CTX *context = EVP_MD_CTX_new();
    return context && EVP_DigestVerifyInit(context, NULL, digest_of(key), NULL, key) == 1 &&
           EVP_DigestVerify(context, signature, len, (const unsigned char *)message->data, message->len) == 1;
}

static int check_signatures(const cJSON *signatures, const char *pem, const struct buf *message,
                            struct err *err)
{
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    if (read_key(pem, false, &key, err) < 0)
        return -1;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, signatures)
    {
        const char *text;
        _cleanup_free_ uint8_t *signature = NULL;
        size_t len;
        if (json_get_string(entry, NULL, "sig", &text, err) < 0 ||
            base64_decode(text, &signature, &len, err) < 0)
            return -1;
        if (verifies(key, message, signature, len))
            return 0;
    }
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "signature",
                    "none of the envelope's %d signatures was made by this key over this payload",
                    cJSON_GetArraySize(signatures));
}

int dsse_open(const char *envelope, size_t len, const char *public_key_pem, bool *ret_signed,
              struct buf *ret_payload, struct err *err)
{
    _cleanup_json_ cJSON *document = NULL;
    const char *type, *text;
    const cJSON *signatures;
    if (json_parse(envelope, len, LIMIT_REGISTRY_DOC_BYTES, &document, err) < 0 ||
        json_get_string(document, NULL, "payloadType", &type, err) < 0 ||
        json_get_string(document, NULL, "payload", &text, err) < 0 ||
        json_get_array(document, NULL, "signatures", &signatures, err) < 0)
        return err_wrap(err, "reading a signed envelope");
    _cleanup_free_ uint8_t *payload = NULL;
    size_t payload_len;
    if (base64_decode(text, &payload, &payload_len, err) < 0)
        return err_wrap(err, "the envelope's payload");
    if (public_key_pem) {
        _cleanup_buf_ struct buf message = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
        encode(type, payload, payload_len, &message);
        if (buf_check(&message, "the envelope's payload", err) < 0 ||
            check_signatures(signatures, public_key_pem, &message, err) < 0)
            return -1;
    }
    *ret_signed = cJSON_GetArraySize(signatures) > 0;
    (void)buf_add(ret_payload, payload, payload_len);
    return buf_check(ret_payload, "the envelope's payload", err);
}
