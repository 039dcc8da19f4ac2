/* Every maximum in one place. Beyond each the answer is a clear error, never a crash or a silent cut. */
#pragma once

enum {
    LIMIT_JSON_DEPTH = 64,
    LIMIT_CONFIG_BYTES = 200 * 1024,         /* resolved config + inputs of a step, together */
    LIMIT_MANIFEST_FILE_BYTES = 1024 * 1024, /* a TrainingPipeline file */
    LIMIT_YAML_NODES = 200 * 1000,           /* values in a YAML file, aliases expanded */
    LIMIT_STEPS = 1000,
    LIMIT_STEP_INPUTS = 64,
    LIMIT_STEP_OUTPUTS = 32,
    LIMIT_STEP_VALUES = 64,
    LIMIT_FANOUT_ITEMS = 1000,
    LIMIT_PARAMETERS = 100,
    LIMIT_NAME = 63, /* Kubernetes label length */
    LIMIT_JOB_NAME = 52,
    LIMIT_EXPR_BYTES = 4096,
    LIMIT_EXPR_DEPTH = 32,
    LIMIT_MESSAGE_BYTES = 1024,            /* a status message */
    LIMIT_RESULT_BYTES = 2000,             /* termination message */
    LIMIT_RESULT_OBJECT_BYTES = 64 * 1024, /* result.json in the store */
    LIMIT_STATUS_BYTES = 1024 * 1024,
    LIMIT_CACHE_BYTES = 900 * 1024,
    LIMIT_ARTIFACT_FILES = 100000,
    LIMIT_ARTIFACT_MANIFEST_BYTES = 64 * 1024 * 1024,
    LIMIT_FEATURE_SPEC_BYTES = 16 * 1024 * 1024,
    LIMIT_SAFETENSORS_HEADER_BYTES = 64 * 1024 * 1024,
    LIMIT_KEPT_LOG_BYTES = 4 * 1024 * 1024,
    LIMIT_STORE_DEPTH = 64, /* nested directories of a file:// store */
    LIMIT_S3_XML_BYTES = 8 * 1024 * 1024,
    LIMIT_HTTP_HEADER_BYTES = 64 * 1024,
    LIMIT_HTTP_BODY_BYTES = 64 * 1024 * 1024, /* of responses held in memory */
    LIMIT_REPORT_BYTES = 64 * 1024 * 1024,
    LIMIT_REGISTRY_DOC_BYTES = 1024 * 1024,
    LIMIT_VIOLATION_ROWS = 100, /* kept samples per check */
    LIMIT_COLUMNS = 4096,
    LIMIT_SQL_BYTES = 64 * 1024,
    LIMIT_PROGRESS_BYTES = 4096, /* one progress POST */
    LIMIT_WORKERS = 1024,
    LIMIT_FINDINGS = 200,
    LIMIT_RUN_RECORD_BYTES = 4 * 1024 * 1024, /* a local run's run.json */
    LIMIT_KNOWN_STORES = 50,                  /* remembered on this machine */
};
