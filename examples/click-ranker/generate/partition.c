/* One day of click logs: see partition.h. */
#include "examples/click-ranker/generate/partition.h"

#include <duckdb.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fs.h"

const char *const accident_names[ACCIDENT_COUNT + 1] = {
    "none",  "missing-column", "type-change", "volume", "shifted-prices", "nulls", "duplicates",
    "stale", "leaked-label",   "changing",    NULL,
};

struct writer {
    duckdb_database db;
    duckdb_connection connection;
    duckdb_appender appender;
};

static void writer_release(struct writer *w)
{
    duckdb_appender_destroy(&w->appender);
    duckdb_disconnect(&w->connection);
    duckdb_close(&w->db);
}

static int run_sql(struct writer *w, const char *sql, struct err *err)
{
    duckdb_result result;
    int rc = 0;
    if (duckdb_query(w->connection, sql, &result) != DuckDBSuccess)
        rc = err_set(err, ERR_TERMINAL, "DuckDB: %s (in: %s)", duckdb_result_error(&result), sql);
    duckdb_destroy_result(&result);
    return rc;
}

static int writer_open(struct writer *w, struct err *err)
{
    if (duckdb_open(NULL, &w->db) != DuckDBSuccess || duckdb_connect(w->db, &w->connection) != DuckDBSuccess)
        return err_set(err, ERR_TERMINAL, "cannot open an in-memory DuckDB");
    /* One thread, so that equal rows give equal bytes. */
    if (run_sql(w, "SET threads = 1", err) < 0 ||
        run_sql(w,
                "CREATE TABLE clicks(session_id BIGINT, user_id BIGINT, item_id BIGINT, category VARCHAR, "
                "user_segment VARCHAR, device VARCHAR, country VARCHAR, position INTEGER, price DOUBLE, "
                "time TIMESTAMP, clicked INTEGER)",
                err) < 0)
        return -1;
    if (duckdb_appender_create(w->connection, NULL, "clicks", &w->appender) != DuckDBSuccess)
        return err_set(err, ERR_TERMINAL, "cannot append to an in-memory table");
    return 0;
}

static void append_row(struct writer *w, const struct partition *p, const struct world_row *r, int index)
{
    char category[8];
    (void)snprintf(category, sizeof category, "c%02d", r->category);
    duckdb_appender a = w->appender;
    (void)duckdb_append_int64(a, r->session);
    (void)duckdb_append_int64(a, r->user);
    (void)duckdb_append_int64(a, r->item);
    (void)duckdb_append_varchar(a, category);
    (void)duckdb_append_varchar(a, world_segments[r->segment]);
    (void)duckdb_append_varchar(a, world_devices[r->device]);
    (void)duckdb_append_varchar(a, world_countries[r->country]);
    (void)duckdb_append_int32(a, r->position);
    double price = p->accident == ACCIDENT_SHIFTED_PRICES ? 3 * r->price : r->price;
    if (p->accident == ACCIDENT_NULLS && (r->session * WORLD_SESSION_ROWS + index) % 10 < 3)
        (void)duckdb_append_null(a);
    else
        (void)duckdb_append_double(a, price);
    int64_t time_us = r->time_us - (p->accident == ACCIDENT_STALE ? 2 * 86400 * INT64_C(1000000) : 0);
    (void)duckdb_append_timestamp(a, (duckdb_timestamp){time_us});
    (void)duckdb_append_int32(a, r->clicked);
    (void)duckdb_appender_end_row(a); /* a failure sticks: duckdb_appender_flush() reports it */
}

static int append_sessions(struct writer *writer, const struct partition *p, const struct world *w,
                           struct truth *truth, struct err *err)
{
    int64_t sessions = p->accident == ACCIDENT_VOLUME ? p->sessions * 2 / 5 : p->sessions;
    for (int64_t i = 0; i < sessions; i++) {
        struct world_row rows[WORLD_SESSION_ROWS];
        world_session(w, p->first_session + i, p->day * 86400 * INT64_C(1000000), rows);
        int copies = p->accident == ACCIDENT_DUPLICATES && i % 20 == 0 ? 2 : 1;
        for (int copy = 0; copy < copies; copy++)
            for (int r = 0; r < WORLD_SESSION_ROWS; r++)
                append_row(writer, p, &rows[r], r);
        for (int r = 0; truth && r < WORLD_SESSION_ROWS; r++)
            truth_add(truth, &rows[r]);
    }
    if (duckdb_appender_flush(writer->appender) != DuckDBSuccess)
        return err_set(err, ERR_TERMINAL, "cannot append rows: %s", duckdb_appender_error(writer->appender));
    return 0;
}

static const char *select_of(enum accident a)
{
    switch (a) {
    case ACCIDENT_MISSING_COLUMN:
        return "SELECT * EXCLUDE (price) FROM clicks";
    case ACCIDENT_TYPE_CHANGE:
        return "SELECT * REPLACE (printf('EUR %.2f', price) AS price) FROM clicks";
    case ACCIDENT_LEAK: /* how long the shopper stayed: known only after the click */
        return "SELECT *, CASE WHEN clicked = 1 THEN 3000 + (session_id * 37 + position * 11) % 9000 ELSE 0 END AS dwell_ms FROM clicks";
    default:
        return "SELECT * FROM clicks";
    }
}

/* "<directory>/day=YYYY-MM-DD"; caller frees. */
static char *folder_of(const struct partition *p)
{
    int64_t year;
    unsigned month, day;
    clock_civil_from_days(p->day, &year, &month, &day);
    return xasprintf("%s/day=%04d-%02u-%02u", p->directory, (int)year, month, day);
}

int partition_write(const struct partition *p, const struct world *w, struct truth *truth, struct err *err)
{
    _cleanup_free_ char *folder = folder_of(p);
    _cleanup_free_ char *final = fs_join(folder, "clicks.parquet"), *partial = xasprintf("%s.partial", final);
    if (strchr(partial, '\''))
        return err_set(err, ERR_INVALID, "the output directory '%s' contains a quote: choose another",
                       p->directory);
    if (fs_mkdir_p(folder, err) < 0)
        return -1;
    struct writer writer = {0};
    _cleanup_free_ char *copy =
        xasprintf("COPY (%s) TO '%s' (FORMAT parquet, COMPRESSION zstd)", select_of(p->accident), partial);
    int rc = writer_open(&writer, err);
    if (rc == 0)
        rc = append_sessions(&writer, p, w, truth, err);
    if (rc == 0)
        rc = run_sql(&writer, copy, err);
    writer_release(&writer);
    if (rc == 0 && rename(partial, final) != 0)
        rc = err_set(err, ERR_TERMINAL, "cannot rename '%s' to '%s'", partial, final);
    return rc;
}

static int rewrite(int fd, const char *data, size_t len)
{
    return pwrite(fd, data, len, 0) == (ssize_t)len && ftruncate(fd, (off_t)len) == 0 ? 0 : -1;
}

int partition_keep_changing(const struct partition *p, const volatile sig_atomic_t *stopping, struct err *err)
{
    _cleanup_free_ char *folder = folder_of(p), *path = fs_join(folder, "clicks.parquet"), *data = NULL;
    size_t len;
    if (fs_read_file(path, 1 << 30, &data, &len, err) < 0)
        return -1;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "cannot open '%s'", path);
    while (!*stopping) {
        if (rewrite(fd, data, len / 2) < 0 || rewrite(fd, data, len) < 0)
            return err_errno(err, errno, "cannot rewrite '%s'", path);
        (void)usleep(1000);
    }
    return 0;
}
