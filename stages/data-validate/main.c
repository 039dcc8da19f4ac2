/* data-validate: checks a source table and takes a snapshot of it. */
#include "common/base/algorithm.h"
#include "stages/data-validate/snapshot.h"
#include "stages/data-validate/validate.h"

static const char *const inputs[] = {NULL};
static const struct stage_output outputs[] = {
    {"snapshot", "snapshot", SNAPSHOT_DATA "/"},
    {"profile", "profile", NULL},
    {"report", "report", NULL},
    {NULL, NULL, NULL},
};

static const struct stage stage = {
    .name = "data-validate",
    .summary = "Check a source table and take a snapshot of it.",
    .description =
        "Reads Parquet, CSV or JSON-lines files (gzip and zstd too) from a folder, a glob or one file, on disk or in S3, and checks "
        "what the configuration asks for: schema, nulls, ranges, values, patterns, SQL on rows and aggregates, unique keys, references to other tables, "
        "and for the newest partition volume, drift, freshness and label leakage.\n\n"
        "When everything holds, the outputs are snapshot (immutable Parquet parts), profile and report. When a rule of level error is broken, the "
        "exit code is 65, the message names column, rule, expected and found, and the report is kept. A file that changes while it is read "
        "ends the step with exit code 75.",
    .algorithm_version = ALGORITHM_DATA_VALIDATE,
    .inputs = inputs,
    .outputs = outputs,
    .looks_outside = true,
    .work = validate_work,
};

int main(int argc, char **argv)
{
    return stage_main(&stage, argc, argv);
}
