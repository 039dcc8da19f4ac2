/* Registry: payloads and their verification, see registry.h. */
#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/contract.h"
#include "common/base/dsse.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/store/registry-internal.h"
#include "common/store/registry.h"

char *registry_payload_prefix(const char *model, const char *model_digest)
{
    return xasprintf(LAYOUT_MODELS "/%s/payload/%s", model, model_digest);
}

char *registry_evaluation_prefix(const char *model, const char *evaluation_digest)
{
    return xasprintf(LAYOUT_MODELS "/%s/evaluation/%s", model, evaluation_digest);
}

char *registry_provenance_key(const char *model, const char *provenance_digest)
{
    return xasprintf(LAYOUT_MODELS "/%s/provenance/%s.json", model, provenance_digest);
}

int registry_publish_dir(struct store *s, const char *prefix, const char *dir, const char *digest,
                         struct err *err)
{
    _cleanup_artifact_ struct artifact *there = NULL, *artifact = NULL;
    if (artifact_load(s, prefix, digest, &there, err) == 0)
        return 0;
    if (err->class_ != ERR_NOTFOUND)
        return -1;
    err_clear(err);
    if (artifact_load_dir(dir, digest, &artifact, err) < 0)
        return -1;
    return artifact_publish_copy(s, prefix, dir, artifact, err);
}

static void note(cJSON *findings, const char *what, const char *verdict)
{
    _cleanup_free_ char *line = xasprintf("%s: %s", what, verdict);
    cJSON *text = cJSON_CreateString(line);
    if (!text)
        BUG("no memory for a finding");
    json_append(findings, text);
}

static int verify_artifact(struct store *s, const char *what, const char *prefix, const char *digest,
                           const char *scratch, cJSON *findings, struct err *err)
{
    _cleanup_artifact_ struct artifact *artifact = NULL;
    _cleanup_free_ char *folder = NULL;
    if (artifact_load(s, prefix, digest, &artifact, err) < 0 ||
        fs_make_temp_dir(scratch, "verify", &folder, err) < 0)
        return err_wrap(err, "%s %.12s…", what, digest);
    int rc = artifact_fetch(s, prefix, artifact, NULL, folder, err);
    struct err ignored = ERR_INIT;
    (void)fs_remove_tree(folder, &ignored);
    if (rc < 0)
        return err_wrap(err, "%s %.12s…", what, digest);
    _cleanup_free_ char *verdict = xasprintf("%zu files match digest %s", artifact->n_files, digest);
    note(findings, what, verdict);
    return 0;
}

/* The in-toto statement must speak of this model. */
static int check_statement(const struct buf *payload, const char *model_digest, struct err *err)
{
    _cleanup_json_ cJSON *statement = NULL;
    const cJSON *subjects, *subject;
    if (json_parse(buf_str(payload), payload->len, LIMIT_REGISTRY_DOC_BYTES, &statement, err) < 0 ||
        json_get_array(statement, NULL, "subject", &subjects, err) < 0)
        return -1;
    cJSON_ArrayForEach(subject, subjects)
    {
        const cJSON *digests = cJSON_GetObjectItemCaseSensitive(subject, "digest");
        const char *sha = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(digests, "sha256"));
        if (sha && strcmp(sha, model_digest) == 0)
            return 0;
    }
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "provenance",
                    "the provenance statement is about another model than digest %s", model_digest);
}

static int verify_provenance(struct store *s, const char *model, const cJSON *document,
                             const char *model_digest, const char *public_key_pem, cJSON *findings,
                             struct err *err)
{
    const char *digest;
    if (json_get_string_or(document, NULL, "provenance", NULL, &digest, err) < 0)
        return -1;
    if (!digest) {
        if (public_key_pem)
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "signature",
                            "the version has no provenance to check the key against");
        note(findings, "provenance", "none");
        return 0;
    }
    _cleanup_free_ char *key = registry_provenance_key(model, digest), *text = NULL;
    size_t len;
    char found[DIGEST_HEX];
    bool is_signed;
    _cleanup_buf_ struct buf payload = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    if (store_get(s, key, LIMIT_REGISTRY_DOC_BYTES, &text, &len, NULL, err) < 0)
        return err_wrap(err, "provenance");
    sha256_hex(text, len, found);
    if (strcmp(found, digest) != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "provenance",
                        "provenance '%s' was altered: its digest is %s", key, found);
    if (dsse_open(text, len, public_key_pem, &is_signed, &payload, err) < 0 ||
        check_statement(&payload, model_digest, err) < 0)
        return err_wrap(err, "provenance");
    note(findings, "provenance",
         !is_signed       ? "names this model; not signed"
         : public_key_pem ? "names this model; signature verified"
                          : "names this model; signed, no public key given to check it");
    return 0;
}

int registry_verify(struct store *s, const char *model, int64_t version, const char *public_key_pem,
                    const char *scratch, cJSON *findings, struct err *err)
{
    _cleanup_json_ cJSON *document = NULL;
    const char *model_digest, *evaluation_digest;
    if (registry_get_version(s, model, version, &document, err) < 0 ||
        json_get_string(document, NULL, "model", &model_digest, err) < 0 ||
        json_get_string(document, NULL, "evaluation", &evaluation_digest, err) < 0)
        return -1;
    _cleanup_free_ char *payload = registry_payload_prefix(model, model_digest),
                        *evaluation = registry_evaluation_prefix(model, evaluation_digest);
    if (verify_artifact(s, "model", payload, model_digest, scratch, findings, err) < 0 ||
        verify_artifact(s, "evaluation", evaluation, evaluation_digest, scratch, findings, err) < 0 ||
        verify_provenance(s, model, document, model_digest, public_key_pem, findings, err) < 0)
        return err_wrap(err, "version %" PRId64 " of model '%s' is not verified", version, model);
    return 0;
}
