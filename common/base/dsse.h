/* Dead Simple Signing Envelope v1 (the secure-systems-lab specification): a payload, its type, and signatures over
 * PAE("DSSEv1", type, payload). Keys are PEM: Ed25519, or ECDSA on P-256 with SHA-256. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* private_key_pem NULL: an envelope without signatures (provenance is kept, nobody vouches). A key that cannot be read or is
 * of another kind is ERR_INVALID, exit 78. The key id is the SHA-256 of the public key's DER form. */
int dsse_seal(const char *private_key_pem, const char *payload_type, const void *payload, size_t len,
              struct buf *out, struct err *err);

/* Takes the payload out. With public_key_pem, one signature must verify (ERR_INVALID, reason "signature"); *ret_signed says whether
 * the envelope has any. */
int dsse_open(const char *envelope, size_t len, const char *public_key_pem, bool *ret_signed,
              struct buf *ret_payload, struct err *err);
