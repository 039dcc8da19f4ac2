/* Every maximum in one place. Beyond each the answer is a clear error, never a crash or a silent cut.
 * docs/reference/limits.md is generated from this list. */
#pragma once

enum {
    LIMIT_JSON_DEPTH = 64,                   /* nesting of a JSON or YAML document */
    LIMIT_CONFIG_BYTES = 200 * 1024,         /* resolved config + inputs of a step, together */
    LIMIT_MANIFEST_FILE_BYTES = 1024 * 1024, /* a TrainingPipeline file */
    LIMIT_YAML_NODES = 200 * 1000,           /* values in a YAML file, aliases expanded */
    LIMIT_STEPS = 1000,                      /* steps of a pipeline */
    LIMIT_STEP_INPUTS = 64,                  /* inputs of a step */
    LIMIT_STEP_OUTPUTS = 32,                 /* outputs of a step */
    LIMIT_STEP_VALUES = 64,                  /* values of a step */
    LIMIT_FANOUT_ITEMS = 1000,               /* items of a foreach or matrix */
    LIMIT_PARAMETERS = 100,                  /* parameters of a pipeline */
    LIMIT_NAME = 63,                         /* a name: Kubernetes label length */
    LIMIT_JOB_NAME = 52,                     /* a Job's name, cut with a hash */
    LIMIT_EXPR_BYTES = 4096,                 /* a `when` expression */
    LIMIT_EXPR_DEPTH = 32,                   /* nesting of an expression */
    LIMIT_MESSAGE_BYTES = 1024,              /* a status message */
    LIMIT_RESULT_BYTES = 2000,               /* termination message */
    LIMIT_RESULT_OBJECT_BYTES = 64 * 1024,   /* result.json in the store */
    LIMIT_STATUS_BYTES = 1024 * 1024,        /* a run's status */
    LIMIT_CACHE_BYTES = 900 * 1024, /* a pipeline's cache entries; the least recently used go first */
    LIMIT_ARTIFACT_FILES = 100000,  /* files of an artifact */
    LIMIT_ARTIFACT_MANIFEST_BYTES = 64 * 1024 * 1024,  /* an artifact's manifest.json */
    LIMIT_FEATURE_SPEC_BYTES = 16 * 1024 * 1024,       /* feature-spec.json */
    LIMIT_SAFETENSORS_HEADER_BYTES = 64 * 1024 * 1024, /* the header of a safetensors file */
    LIMIT_KEPT_LOG_BYTES = 4 * 1024 * 1024,            /* the log that a stage keeps in the store */
    LIMIT_STORE_DEPTH = 64,                            /* nested directories of a file:// store */
    LIMIT_S3_XML_BYTES = 8 * 1024 * 1024,              /* an S3 server's XML answer */
    LIMIT_HTTP_HEADER_BYTES = 64 * 1024,               /* the headers of an HTTP answer */
    LIMIT_HTTP_BODY_BYTES = 64 * 1024 * 1024,          /* of responses held in memory */
    LIMIT_REPORT_BYTES = 64 * 1024 * 1024,             /* report.html */
    LIMIT_REGISTRY_DOC_BYTES = 1024 * 1024,            /* a document of the registry */
    LIMIT_VIOLATION_ROWS = 20,                         /* violating rows shown for a rule */
    LIMIT_COLUMNS = 4096,                              /* columns of a table */
    LIMIT_SQL_BYTES = 64 * 1024,                       /* one SQL text of the manifest */
    LIMIT_PROGRESS_BYTES = 4096,                       /* one progress POST */
    LIMIT_WORKERS = 1024,                              /* workers of a step */
    LIMIT_FINDINGS = 200,                              /* findings of one `trainyard lint` */
    LIMIT_RUN_RECORD_BYTES = 4 * 1024 * 1024,          /* a local run's run.json */
    LIMIT_KNOWN_STORES = 50,                           /* remembered on this machine */
    LIMIT_METRIC_SERIES = 2000,                /* label combinations of one metric; more fall together */
    LIMIT_KUBE_OBJECT_BYTES = 8 * 1024 * 1024, /* one object in an answer of the API server */
};
