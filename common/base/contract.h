/* The wire between operator (or `trainyard run`) and stages: names only. The meaning is in
 * docs/reference/step-contract.md. Operator and stages both include this and never each other. */
#pragma once

#define ENV_RUN "TRAINYARD_RUN"
#define ENV_RUN_UID "TRAINYARD_RUN_UID"
#define ENV_STEP "TRAINYARD_STEP"
#define ENV_INDEX "TRAINYARD_INDEX"     /* fan-out item; absent without fan-out */
#define ENV_RESTART "TRAINYARD_RESTART" /* g of the layout; absent = 0 */
#define ENV_ATTEMPT "TRAINYARD_ATTEMPT"
#define ENV_STORE "TRAINYARD_STORE"       /* path of the store's description as JSON, or a plain URI */
#define ENV_REGISTRY "TRAINYARD_REGISTRY" /* likewise; absent: the store */
#define ENV_CONFIG "TRAINYARD_CONFIG"     /* path of the resolved config as JSON */
#define ENV_INPUTS \
    "TRAINYARD_INPUTS" /* path; name → {digest, run, step, index, restart}, or a list of these */
#define ENV_PROGRESS_URL "TRAINYARD_PROGRESS_URL"
#define ENV_PROGRESS_TOKEN "TRAINYARD_PROGRESS_TOKEN"
#define ENV_SCHEDULED_TIME "TRAINYARD_SCHEDULED_TIME" /* RFC 3339 UTC */
#define ENV_RENDEZVOUS_KEY "TRAINYARD_RENDEZVOUS_KEY" /* hex; workers > 1 only */
#define ENV_DEVICE "TRAINYARD_DEVICE"                 /* cpu | cuda, resolved by the planner */
#define ENV_THREADS "TRAINYARD_THREADS" /* compute threads a worker; never the machine's count */
#define ENV_MEMORY "TRAINYARD_MEMORY"   /* bytes the step may use */
#define ENV_SCRATCH "TRAINYARD_SCRATCH" /* writable directory */
#define ENV_SCRATCH_BYTES \
    "TRAINYARD_SCRATCH_BYTES" /* how much of it the step may use; absent: what is free */
#define ENV_RESULT \
    "TRAINYARD_RESULT" /* path of the termination message; absent: /dev/termination-log if writable */
#define ENV_SECRETS "TRAINYARD_SECRETS"       /* directory: <secret name>/<key> files, as mounted */
#define ENV_PARENT_PID "TRAINYARD_PARENT_PID" /* local runs: die when this is not the parent any more */
#define ENV_REVISION \
    "TRAINYARD_REVISION" /* code revision of the pipeline (trainyard.dev/revision), for provenance */
#define ENV_RUN_LOCATION \
    "TRAINYARD_RUN_LOCATION" /* free text naming who runs it, for provenance: cluster/namespace or host */
/* Workers also get RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT and torchrun's PET_*; ours also: */
#define ENV_ADVERTISE_ADDR "TRAINYARD_ADVERTISE_ADDR" /* the address this worker binds and tells its peers */

/* Keys of a store's credentials, files in the mounted Secret. */
#define CRED_ACCESS_KEY_ID "AWS_ACCESS_KEY_ID"
#define CRED_SECRET_ACCESS_KEY "AWS_SECRET_ACCESS_KEY"
#define CRED_SESSION_TOKEN "AWS_SESSION_TOKEN"
#define SIGNING_KEY_FILE "key.pem"

/* Store description (JSON): {"url", "endpoint", "region", "addressing", "credentialsSecret", "caBundle" (path),
 * "encryption": {"sse", "keyId"}}. credentialsSecret names a directory below TRAINYARD_SECRETS. */

/* Reasons with a meaning to the planner. */
#define REASON_ARTIFACT_MISSING "artifact-missing"
#define REASON_RESULT_TOO_LARGE "result-too-large"
#define REASON_RESULT_TRUNCATED "result-truncated"

/* Layout below the store's root (contract section 3). */
#define LAYOUT_RUNS "runs"
#define LAYOUT_MEMO "memo"
#define LAYOUT_SHARED "shared/sha256" /* content-addressed files that several artifacts share */
#define LAYOUT_MODELS "models"        /* below the registry's root */

/* Fields of a config that say where something is, not what: in no artifact's manifest and in no cache key. A list of string
 * literals for an initialiser. */
#define LOCATION_FIELDS                                                                                \
    "source", "reference", "references", "referenceTables", "store", "registry", "uri", "url", "path", \
        "endpoint", "credentialsSecret", "signingSecret", "caBundle"
