/* The snapshot as a relation of the table engine, with everything about rows decided: which count, who they are, which split
 * they fall into. Nothing here depends on the order in which the engine delivers rows.
 *
 * Views: trainyard_source (all rows that count), trainyard_train, trainyard_heldout (with column trainyard_split,
 * 'validation' or 'test'). The SQL texts are expressions over the columns of any of them. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/featurize/featurizeconfig.h"
#include "stages/table/table.h"

#define SOURCE_ALL "trainyard_source"
#define SOURCE_TRAIN "trainyard_train"
#define SOURCE_HELDOUT "trainyard_heldout"

struct source_config {
    const struct featurizeconfig *features;
    const char *snapshot; /* directory with data/…parquet */
    const char *output;   /* directory the heldout rows are written to and read from */
    const char *scratch;
    int64_t memory_bytes;
    int threads;
    bool (*stop)(void *ctx); /* may be NULL */
    void *stop_ctx;
};

struct source {
    const struct featurizeconfig *config;
    struct table *table;
    const char *scratch;
    cJSON *columns;    /* of the snapshot and derived: [{name, type}] */
    char **derive_sql; /* of the config's derived columns, ready to use */
    /* Expressions; NULL where the config has none. */
    char *row_key_sql;      /* BIGINT: chained hashes of the key's columns */
    char *row_order;        /* the key's columns, for ORDER BY */
    char *label_sql;        /* DOUBLE */
    char *weight_sql;       /* DOUBLE */
    char *group_sql;        /* BIGINT */
    char *time_sql;         /* BIGINT, microseconds since 1970 UTC */
    char *instant_sql;      /* the same instant in the column's own type, if that is a timestamp */
    const char *instant_of; /* function from µs to that type; "" for BIGINT itself */
    int64_t rows, rows_before_dedupe, train_rows, validation_rows, test_rows;
    int64_t classes; /* of a class label */
    bool has_newest_train_time;
    int64_t newest_train_time;          /* µs */
    int64_t validation_from, test_from; /* µs, by time */
};

/* Opens, locks, checks. User errors: exit 65 for data, 78 for a config that does not fit the columns. */
int source_open(const struct source_config *config, struct source **ret, struct err *err);
struct source *source_free(struct source *s);

/* "I64" for integers and booleans of any width, "STR" for all else: how a value is hashed and kept in vocabularies. */
enum column_type source_categorical_type(const char *duckdb_type);
/* Type of a column of the snapshot, or NULL. */
const char *source_column_type(const struct source *s, const char *name);
/* A column's quoted name if there is such a column, else the text itself after the checks of user SQL, in parentheses. Caller frees. */
int source_expression(struct source *s, const char *what, const char *column_or_sql, char **ret,
                      struct err *err);

DEFINE_CLEANUP(struct source *, source_free);
#define _cleanup_source_ CLEANUP(source_free_cleanup)
