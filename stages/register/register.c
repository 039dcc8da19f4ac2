/* The register stage: see register.h. */
#include "stages/register/register.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/contract.h"
#include "common/base/dsse.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/store/registry.h"
#include "stages/register/lineage.h"

struct job {
    struct stage_run *run;
    const char *name, *alias, *signing_secret;
    struct store *registry;
    struct artifact *model, *evaluation;
    struct lineage lineage;
};

static void job_release(struct job *j)
{
    artifact_free(j->model);
    artifact_free(j->evaluation);
}

static int read_config(struct job *j, struct err *err)
{
    const cJSON *config = stage_config(j->run);
    static const char *const keys[] = {"model", "alias", "signingSecret", NULL};
    if (json_only_keys(config, NULL, keys, err) < 0 ||
        json_get_string(config, NULL, "model", &j->name, err) < 0 ||
        json_get_string_or(config, NULL, "alias", NULL, &j->alias, err) < 0 ||
        json_get_string_or(config, NULL, "signingSecret", NULL, &j->signing_secret, err) < 0 ||
        registry_check_name("model name", j->name, err) < 0)
        return -1;
    return j->alias ? registry_check_name("alias", j->alias, err) : 0;
}

static int read_inputs(struct job *j, struct err *err)
{
    if (artifact_load_dir(stage_input(j->run, "model"), NULL, &j->model, err) < 0 ||
        artifact_load_dir(stage_input(j->run, "evaluation"), NULL, &j->evaluation, err) < 0)
        return -1;
    const cJSON *judged = cJSON_GetObjectItemCaseSensitive(j->evaluation->inputs, "model");
    if (cJSON_IsString(judged) && strcmp(judged->valuestring, j->model->digest) != 0)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "inputs",
            "the evaluation judged model %.12s…, but the model to register is %.12s…: take both inputs from the same training step",
            judged->valuestring, j->model->digest);
    j->lineage = (struct lineage){
        .model_name = j->name,
        .model = j->model,
        .evaluation = j->evaluation,
        .run_name = stage_run_name(j->run),
        .run_uid = stage_run_uid(j->run),
        .revision = stage_revision(j->run),
        .scheduled_ms = stage_scheduled_ms(j->run),
    };
    return 0;
}

static int read_key(struct job *j, char **ret_pem, struct err *err)
{
    *ret_pem = NULL;
    if (!j->signing_secret)
        return 0;
    _cleanup_free_ char *path = NULL;
    size_t len;
    if (stage_secret_path(j->run, j->signing_secret, SIGNING_KEY_FILE, &path, err) < 0)
        return -1;
    return fs_read_file(path, LIMIT_REGISTRY_DOC_BYTES, ret_pem, &len, err);
}

/* Writes the envelope by its digest. */
static int publish_provenance(struct job *j, char ret_digest[static DIGEST_HEX], struct err *err)
{
    _cleanup_free_ char *pem = NULL;
    _cleanup_buf_ struct buf statement = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES),
                             envelope = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    if (read_key(j, &pem, err) < 0 || lineage_statement(&j->lineage, &statement, err) < 0)
        return -1;
    if (dsse_seal(pem, LINEAGE_PAYLOAD_TYPE, buf_str(&statement), statement.len, &envelope, err) < 0)
        return err_wrap(err, "signing with %s of Secret '%s'", SIGNING_KEY_FILE,
                        j->signing_secret ? j->signing_secret : "(none)");
    sha256_hex(buf_str(&envelope), envelope.len, ret_digest);
    _cleanup_free_ char *key = registry_provenance_key(j->name, ret_digest);
    return store_put(j->registry, key, buf_str(&envelope), envelope.len, STORE_ALWAYS, NULL, NULL, err);
}

static int publish_payload(struct job *j, struct err *err)
{
    _cleanup_free_ char *model = registry_payload_prefix(j->name, j->model->digest),
                        *evaluation = registry_evaluation_prefix(j->name, j->evaluation->digest);
    if (registry_publish_dir(j->registry, model, stage_input(j->run, "model"), j->model->digest, err) < 0)
        return err_wrap(err, "publishing the model");
    if (registry_publish_dir(j->registry, evaluation, stage_input(j->run, "evaluation"),
                             j->evaluation->digest, err) < 0)
        return err_wrap(err, "publishing the evaluation");
    return 0;
}

/* The headline figures, so that `trainyard models` can show them without opening the evaluation. */
static int add_metrics(const struct job *j, cJSON *record, struct err *err)
{
    _cleanup_free_ char *path = fs_join(stage_input(j->run, "evaluation"), "metrics.json");
    _cleanup_json_ cJSON *document = NULL;
    const cJSON *metrics;
    if (!fs_exists(path))
        return 0;
    if (json_parse_file(path, LIMIT_REGISTRY_DOC_BYTES, &document, err) < 0 ||
        json_get_object_or(document, NULL, "metrics", &metrics, err) < 0)
        return err_wrap(err, "%s", path);
    cJSON *numbers = json_object();
    const cJSON *metric;
    cJSON_ArrayForEach(metric, metrics)
    {
        const cJSON *value =
            cJSON_IsObject(metric) ? cJSON_GetObjectItemCaseSensitive(metric, "value") : metric;
        if (cJSON_IsNumber(value))
            json_add_double(numbers, metric->string, value->valuedouble);
    }
    json_add(record, "metrics", numbers);
    return 0;
}

static int create_version(struct job *j, int64_t *ret_version, bool *ret_created, struct err *err)
{
    char provenance[DIGEST_HEX], now[CLOCK_RFC3339_MAX];
    _cleanup_json_ cJSON *record = lineage_record(&j->lineage);
    if (add_metrics(j, record, err) < 0 || publish_payload(j, err) < 0 ||
        publish_provenance(j, provenance, err) < 0)
        return -1;
    clock_format_rfc3339(clock_system.wall_ms(clock_system.ctx), now);
    json_add_string(record, "created", now);
    json_add_string(record, "provenance", provenance);
    json_add_bool(record, "signed", j->signing_secret != NULL);
    if (j->alias) {
        int64_t target, seq;
        if (registry_get_alias(j->registry, j->name, j->alias, &target, &seq, err) < 0)
            return -1;
        cJSON *seqs = json_object();
        json_add_int(seqs, j->alias, seq);
        json_add(record, "aliasSeq", seqs);
    }
    return registry_add_version(j->registry, j->name, j->model->digest, j->evaluation->digest, record,
                                ret_version, ret_created, err);
}

static int move_alias(const struct job *j, int64_t version, struct err *err)
{
    if (!j->alias)
        return 0;
    _cleanup_free_ char *who = xasprintf("run %s", j->lineage.run_name ? j->lineage.run_name : "by hand");
    struct registry_change change = {.who = who,
                                     .why = "registered",
                                     .at_ms = clock_system.wall_ms(clock_system.ctx),
                                     .expect_from = -1,
                                     .automatic = true};
    bool moved;
    return registry_set_alias_once(j->registry, j->name, j->alias, version, &change, &moved, err);
}

/* What this step saw outside: which version, if any, the registry has for these inputs. */
static int look_up_memo(const struct job *j, int64_t version, bool *ret_hit, struct err *err)
{
    _cleanup_json_ cJSON *seen = json_object();
    json_add_string(seen, "registry", store_url(j->registry));
    json_add_string(seen, "model", j->model->digest);
    json_add_string(seen, "evaluation", j->evaluation->digest);
    json_add_int(seen, "version", version);
    return stage_memo_lookup(j->run, seen, ret_hit, err);
}

static int write_version(const struct job *j, int64_t version, struct err *err)
{
    _cleanup_json_ cJSON *document = json_object();
    json_add_string(document, "name", j->name);
    json_add_int(document, "version", version);
    json_add_string(document, "model", j->model->digest);
    json_add_string(document, "evaluation", j->evaluation->digest);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    _cleanup_free_ char *path = fs_join(stage_output(j->run, "version"), "version.json");
    if (json_canonical(document, &text, err) < 0)
        return -1;
    return fs_write_atomic(path, buf_str(&text), text.len, err);
}

static int register_model(struct job *j, struct err *err)
{
    int64_t version;
    bool created = false, hit = false;
    if (read_config(j, err) < 0 || read_inputs(j, err) < 0 || stage_registry(j->run, &j->registry, err) < 0 ||
        store_probe(j->registry, err) < 0 ||
        registry_find_version(j->registry, j->name, j->model->digest, j->evaluation->digest, &version, err) <
            0)
        return -1;
    if (version == 0 && create_version(j, &version, &created, err) < 0)
        return -1;
    if (move_alias(j, version, err) < 0 || look_up_memo(j, version, &hit, err) < 0)
        return -1;
    if (hit)
        return 0;
    stage_value_int(j->run, "version", version);
    stage_value_bool(j->run, "created", created);
    return write_version(j, version, err);
}

int register_work(struct stage_run *run, struct err *err)
{
    struct job j = {.run = run};
    int rc = register_model(&j, err);
    job_release(&j);
    return rc;
}
