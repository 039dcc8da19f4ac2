/* Registry: aliases as hash-chained logs, see registry.h. */
#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/contract.h"
#include "common/base/failpoint.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/store/registry-internal.h"
#include "common/store/registry.h"

/* The newest record of a log. */
struct head {
    int64_t seq, to; /* 0: the alias was never set */
    char digest[DIGEST_HEX];
};

static char *record_key(const char *model, const char *alias, int64_t seq)
{
    return xasprintf(LAYOUT_MODELS "/%s/aliases/%s/%" PRId64 ".json", model, alias, seq);
}

static int check_names(const char *model, const char *alias, struct err *err)
{
    return registry_check_name("model name", model, err) < 0 || registry_check_name("alias", alias, err) < 0
               ? -1
               : 0;
}

/* *ret NULL past the end of the log. */
static int read_record(struct store *s, const char *model, const char *alias, int64_t seq,
                       const char *previous, cJSON **ret, char ret_digest[static DIGEST_HEX], struct err *err)
{
    _cleanup_free_ char *key = record_key(model, alias, seq);
    _cleanup_json_ cJSON *record = NULL;
    *ret = NULL;
    if (registry_read_json(s, key, &record, NULL, ret_digest, err) < 0) {
        if (err->class_ != ERR_NOTFOUND)
            return -1;
        err_clear(err);
        return 0;
    }
    const char *chained;
    if (json_get_string(record, NULL, "previous", &chained, err) < 0)
        return err_wrap(err, "record '%s'", key);
    if (strcmp(chained, previous) != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "alias-chain",
                        "alias '%s' of model '%s' was tampered with: record %" PRId64
                        " follows %.12s…, but the record before has digest %.12s…",
                        alias, model, seq, chained, *previous ? previous : "(none)");
    *ret = steal_ptr(record);
    return 0;
}

/* Walks the whole chain; `history` (may be NULL) takes the records. */
static int walk(struct store *s, const char *model, const char *alias, cJSON *history, struct head *ret,
                struct err *err)
{
    struct head head = {0};
    if (check_names(model, alias, err) < 0)
        return -1;
    for (;;) {
        char digest[DIGEST_HEX];
        _cleanup_json_ cJSON *record = NULL;
        if (read_record(s, model, alias, head.seq + 1, head.digest, &record, digest, err) < 0)
            return -1;
        if (!record)
            break;
        if (json_get_int(record, NULL, "to", &head.to, err) < 0)
            return err_wrap(err, "record %" PRId64 " of alias '%s'", head.seq + 1, alias);
        head.seq++;
        memcpy(head.digest, digest, sizeof digest);
        if (history)
            json_append(history, steal_ptr(record));
    }
    *ret = head;
    return 0;
}

int registry_get_alias(struct store *s, const char *model, const char *alias, int64_t *ret_version,
                       int64_t *ret_seq, struct err *err)
{
    struct head head;
    if (walk(s, model, alias, NULL, &head, err) < 0)
        return -1;
    *ret_version = head.to;
    if (ret_seq)
        *ret_seq = head.seq;
    return 0;
}

int registry_alias_history(struct store *s, const char *model, const char *alias, cJSON **ret,
                           struct err *err)
{
    _cleanup_json_ cJSON *history = json_array();
    struct head head;
    if (walk(s, model, alias, history, &head, err) < 0)
        return -1;
    *ret = steal_ptr(history);
    return 0;
}

/* <alias>.json is moved by If-Match and carries the log's number, so an older writer never overwrites a newer one. */
static int publish_pointer(struct store *s, const char *model, const char *alias, const struct head *head,
                           struct err *err)
{
    _cleanup_free_ char *key = xasprintf(LAYOUT_MODELS "/%s/aliases/%s.json", model, alias);
    _cleanup_json_ cJSON *pointer = json_object();
    json_add_string(pointer, "alias", alias);
    json_add_int(pointer, "seq", head->seq);
    json_add_int(pointer, "version", head->to);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    if (json_canonical(pointer, &text, err) < 0)
        return -1;
    for (;;) {
        _cleanup_json_ cJSON *current = NULL;
        char etag[STORE_ETAG_MAX], digest[DIGEST_HEX];
        int64_t seq = 0;
        enum store_condition condition = STORE_IF_MATCH;
        if (registry_read_json(s, key, &current, etag, digest, err) < 0) {
            if (err->class_ != ERR_NOTFOUND)
                return -1;
            err_clear(err);
            condition = STORE_IF_NONE;
        } else if (json_get_int(current, NULL, "seq", &seq, err) < 0) {
            err_clear(err); /* not ours or broken: it is derived, so it is written again */
        }
        if (seq >= head->seq)
            return 0;
        failpoint("registry.pointer.before");
        int rc = store_put(s, key, buf_str(&text), text.len, condition,
                           condition == STORE_IF_MATCH ? etag : NULL, NULL, err);
        if (rc == 0)
            return 0;
        if (err->class_ != ERR_EXISTS && err->class_ != ERR_CONFLICT)
            return -1;
        err_clear(err);
    }
}

static int append(struct store *s, const char *model, const char *alias, int64_t version,
                  const struct registry_change *change, const struct head *head, struct err *err)
{
    _cleanup_json_ cJSON *record = json_object();
    char at[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(change->at_ms, at);
    json_add_int(record, "seq", head->seq + 1);
    json_add_int(record, "from", head->to);
    json_add_int(record, "to", version);
    json_add_string(record, "who", change->who ? change->who : "");
    json_add_string(record, "why", change->why ? change->why : "");
    json_add_string(record, "at", at);
    json_add_bool(record, "automatic", change->automatic);
    json_add_string(record, "previous", head->digest);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    if (json_canonical(record, &text, err) < 0)
        return -1;
    _cleanup_free_ char *key = record_key(model, alias, head->seq + 1);
    failpoint("registry.alias.before");
    int rc = store_put(s, key, buf_str(&text), text.len, STORE_IF_NONE, NULL, NULL, err);
    failpoint("registry.alias.after");
    return rc;
}

int registry_set_alias(struct store *s, const char *model, const char *alias, int64_t version,
                       const struct registry_change *change, struct err *err)
{
    _cleanup_json_ cJSON *document = NULL;
    if (check_names(model, alias, err) < 0 || registry_get_version(s, model, version, &document, err) < 0)
        return -1;
    for (;;) {
        struct head head;
        if (walk(s, model, alias, NULL, &head, err) < 0)
            return -1;
        if (head.to == version) /* also: our own write, whose reply was lost */
            return publish_pointer(s, model, alias, &head, err);
        if (change->expect_from >= 0 && change->expect_from != head.to)
            return err_set(err, ERR_CONFLICT,
                           "alias '%s' of model '%s' points to version %" PRId64 ", not to %" PRId64
                           ": somebody moved it; look at its history",
                           alias, model, head.to, change->expect_from);
        if (append(s, model, alias, version, change, &head, err) < 0 && err->class_ != ERR_EXISTS)
            return -1;
        err_clear(err); /* appended, or somebody else did: the walk says which */
    }
}

/* Did a person append a record after number `since`? */
static int moved_by_person(struct store *s, const char *model, const char *alias, int64_t since, bool *ret,
                           struct err *err)
{
    _cleanup_json_ cJSON *history = NULL;
    if (registry_alias_history(s, model, alias, &history, err) < 0)
        return -1;
    *ret = false;
    for (int i = (int)since; i < cJSON_GetArraySize(history); i++)
        *ret = *ret ||
               !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(history, i), "automatic"));
    return 0;
}

int registry_set_alias_once(struct store *s, const char *model, const char *alias, int64_t version,
                            const struct registry_change *change, bool *ret_moved, struct err *err)
{
    _cleanup_json_ cJSON *document = NULL;
    if (check_names(model, alias, err) < 0 || registry_get_version(s, model, version, &document, err) < 0)
        return -1;
    const cJSON *seqs;
    int64_t created_at_seq = 0;
    if (json_get_object_or(document, NULL, "aliasSeq", &seqs, err) < 0 ||
        (seqs && json_get_int_or(seqs, NULL, alias, 0, &created_at_seq, err) < 0))
        return err_wrap(err, "version %" PRId64 " of model '%s'", version, model);
    for (;;) {
        struct head head;
        bool person;
        if (walk(s, model, alias, NULL, &head, err) < 0 ||
            moved_by_person(s, model, alias, created_at_seq, &person, err) < 0)
            return -1;
        *ret_moved = false;
        if (head.to == version || head.to > version || person)
            return publish_pointer(s, model, alias, &head, err);
        if (append(s, model, alias, version, change, &head, err) == 0) {
            *ret_moved = true;
            head.seq++;
            head.to = version;
            return publish_pointer(s, model, alias, &head, err);
        }
        if (err->class_ != ERR_EXISTS)
            return -1;
        err_clear(err);
    }
}

int registry_previous_target(struct store *s, const char *model, const char *alias, int64_t *ret_version,
                             struct err *err)
{
    _cleanup_json_ cJSON *history = NULL;
    if (registry_alias_history(s, model, alias, &history, err) < 0)
        return -1;
    const cJSON *newest = cJSON_GetArrayItem(history, cJSON_GetArraySize(history) - 1);
    int64_t from = 0;
    if (newest && json_get_int(newest, NULL, "from", &from, err) < 0)
        return -1;
    if (from == 0)
        return err_set(err, ERR_NOTFOUND, "alias '%s' of model '%s' has no earlier version to go back to",
                       alias, model);
    *ret_version = from;
    return 0;
}
