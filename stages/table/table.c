/* The DuckDB connection. A watchdog thread interrupts statements past their deadline or when the caller is stopping. */
#include "stages/table/table.h"

#include <duckdb.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "stages/table/hashsql.h"
#include "stages/table/table-internal.h"

enum {
    DEFAULT_DEADLINE_MS = 600 * 1000,
    WATCH_MS = 200,
};

enum interrupt { INTERRUPT_NONE, INTERRUPT_DEADLINE, INTERRUPT_STOP };

struct table {
    duckdb_database database;
    duckdb_connection connection;
    int64_t memory_bytes;
    int64_t deadline_ms;
    char *scratch;
    bool locked;
    bool (*stop)(void *ctx);
    void *stop_ctx;
    struct table_functions functions;
    /* The watchdog. */
    pthread_t watchdog;
    bool watching;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool quit, running;
    int64_t statement_deadline; /* monotonic ms; 0: none */
    _Atomic int interrupted;    /* enum interrupt of the running statement */
};

static int64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void wait_a_moment(struct table *t)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WATCH_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&t->wake, &t->mutex, &until);
}

static void *watch(void *arg)
{
    struct table *t = arg;
    (void)pthread_mutex_lock(&t->mutex);
    while (!t->quit) {
        if (!t->running) {
            (void)pthread_cond_wait(&t->wake, &t->mutex);
            continue;
        }
        wait_a_moment(t);
        if (!t->running || t->quit)
            continue;
        enum interrupt why = INTERRUPT_NONE;
        if (t->stop && t->stop(t->stop_ctx))
            why = INTERRUPT_STOP;
        else if (t->statement_deadline && now_ms() > t->statement_deadline)
            why = INTERRUPT_DEADLINE;
        if (why != INTERRUPT_NONE) {
            atomic_store(&t->interrupted, why);
            duckdb_interrupt(t->connection);
        }
    }
    (void)pthread_mutex_unlock(&t->mutex);
    return NULL;
}

void table_watch_begin(struct table *t)
{
    (void)pthread_mutex_lock(&t->mutex);
    atomic_store(&t->interrupted, INTERRUPT_NONE);
    t->statement_deadline = t->locked && t->deadline_ms > 0 ? now_ms() + t->deadline_ms : 0;
    t->running = true;
    (void)pthread_cond_signal(&t->wake);
    (void)pthread_mutex_unlock(&t->mutex);
}

void table_watch_end(struct table *t)
{
    (void)pthread_mutex_lock(&t->mutex);
    t->running = false;
    (void)pthread_mutex_unlock(&t->mutex);
}

/* DuckDB's messages repeat the statement over several lines: keep the sentence, on one line. */
static void tidy_message(const char *message, char *ret, size_t size)
{
    const char *end = strstr(message, "\n\nLINE ");
    size_t n = end ? (size_t)(end - message) : strlen(message);
    size_t used = 0;
    bool space = false;
    for (size_t i = 0; i < n && used + 2 < size; i++) {
        if (message[i] == '\n' || message[i] == '\t' || message[i] == ' ') {
            space = used > 0;
            continue;
        }
        if (space)
            ret[used++] = ' ';
        space = false;
        ret[used++] = message[i];
    }
    ret[used] = '\0';
}

int table_fail(struct table *t, duckdb_error_type type, const char *message, struct err *err)
{
    switch (atomic_load(&t->interrupted)) {
    case INTERRUPT_STOP:
        return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "stopped", "stopped while a query ran");
    case INTERRUPT_DEADLINE:
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "deadline",
                        "a query ran longer than its deadline of %" PRId64
                        " s: make the expression cheaper, or give the step more threads",
                        t->deadline_ms / 1000);
    default:
        break;
    }
    char text[1024];
    tidy_message(message ? message : "unknown error", text, sizeof text);
    switch (type) {
    case DUCKDB_ERROR_OUT_OF_MEMORY:
        return err_fail(
            err, ERR_TERMINAL, EXITCODE_CONFIG, "memory",
            "the query engine needs more than its %" PRId64
            " MiB of memory, or more scratch than %s has: raise the step's resources.memory or scratch.size (%s)",
            t->memory_bytes >> 20, t->scratch, text);
    case DUCKDB_ERROR_IO:
        return err_fail(err, ERR_TERMINAL, EXITCODE_IO, "io", "%s", text);
    case DUCKDB_ERROR_INTERNAL:
    case DUCKDB_ERROR_FATAL:
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "query-engine", "%s", text);
    default:
        return err_set(err, ERR_INVALID, "%s", text);
    }
}

static int run(struct table *t, const char *sql, struct err *err)
{
    duckdb_result result;
    table_watch_begin(t);
    duckdb_state state = duckdb_query(t->connection, sql, &result);
    table_watch_end(t);
    int r = state == DuckDBSuccess
                ? 0
                : table_fail(t, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    duckdb_destroy_result(&result);
    return r;
}

static int format_sql(char **ret, struct err *err, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static int format_sql(char **ret, struct err *err, const char *fmt, va_list ap)
{
    _cleanup_buf_ struct buf sql = BUF_INIT(TABLE_STATEMENT_MAX);
    (void)buf_vaddf(&sql, fmt, ap);
    if (buf_check(&sql, "SQL statement", err) < 0)
        return -1;
    *ret = buf_take(&sql);
    return 0;
}

/* --- opening and locking ------------------------------------------------------------------------- */

static int set_option(duckdb_config config, const char *name, const char *value, struct err *err)
{
    if (duckdb_set_config(config, name, value) != DuckDBSuccess)
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, NULL,
                        "the query engine refuses the setting %s = %s", name, value);
    return 0;
}

static int configure(const struct table_config *c, duckdb_config config, struct err *err)
{
    char number[32];
    (void)snprintf(number, sizeof number, "%d", c->threads > 0 ? c->threads : 1);
    if (set_option(config, "threads", number, err) < 0)
        return -1;
    (void)snprintf(number, sizeof number, "%" PRId64 "B", c->memory_bytes);
    if (set_option(config, "memory_limit", number, err) < 0 ||
        set_option(config, "temp_directory", c->scratch, err) < 0 ||
        set_option(config, "autoinstall_known_extensions", "false", err) < 0 ||
        set_option(config, "autoload_known_extensions", "false", err) < 0 ||
        set_option(config, "allow_community_extensions", "false", err) < 0)
        return -1;
    return 0;
}

static int allow_directories(struct table *t, const struct table_config *c, struct err *err)
{
    _cleanup_buf_ struct buf list = BUF_INIT(TABLE_STATEMENT_MAX);
    _cleanup_free_ char *scratch = table_quote_string(c->scratch);
    (void)buf_addf(&list, "%s", scratch);
    for (size_t i = 0; c->readable && c->readable[i]; i++) {
        _cleanup_free_ char *dir = table_quote_string(c->readable[i]);
        (void)buf_addf(&list, ", %s", dir);
    }
    if (buf_check(&list, "list of readable directories", err) < 0)
        return -1;
    return table_exec(t, err, "SET allowed_directories = [%s]", buf_str(&list));
}

int table_open(const struct table_config *config, struct table **ret, struct err *err)
{
    _cleanup_table_ struct table *t = xcalloc(1, sizeof *t);
    t->memory_bytes = config->memory_bytes > 0 ? config->memory_bytes : (int64_t)1 << 30;
    t->deadline_ms = config->deadline_ms ? config->deadline_ms : DEFAULT_DEADLINE_MS;
    t->scratch = xstrdup(config->scratch);
    t->stop = config->stop;
    t->stop_ctx = config->stop_ctx;

    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&t->mutex, NULL);
    (void)pthread_cond_init(&t->wake, &attr);
    (void)pthread_condattr_destroy(&attr);

    struct table_config c = *config;
    c.memory_bytes = t->memory_bytes;
    duckdb_config options;
    if (duckdb_create_config(&options) != DuckDBSuccess)
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, NULL, "the query engine does not start");
    char *message = NULL;
    int r = configure(&c, options, err);
    if (r == 0 && duckdb_open_ext(":memory:", &t->database, options, &message) != DuckDBSuccess)
        r = err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, NULL, "the query engine does not start: %s",
                     message ? message : "no reason given");
    duckdb_free(message);
    duckdb_destroy_config(&options);
    if (r < 0)
        return r;
    if (duckdb_connect(t->database, &t->connection) != DuckDBSuccess)
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, NULL,
                        "the query engine does not accept a connection");
    if (pthread_create(&t->watchdog, NULL, watch, t) != 0)
        return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, NULL,
                        "cannot start a thread: the process limit is reached");
    t->watching = true;
    /* Times are UTC everywhere (contract section 1); the session would take the machine's zone. */
    if (hashsql_register(t->connection, err) < 0 || table_exec(t, err, "SET TimeZone = 'UTC'") < 0 ||
        allow_directories(t, &c, err) < 0)
        return -1;
    *ret = steal_ptr(t);
    return 0;
}

struct table *table_free(struct table *t)
{
    if (!t)
        return NULL;
    if (t->watching) {
        (void)pthread_mutex_lock(&t->mutex);
        t->quit = true;
        (void)pthread_cond_signal(&t->wake);
        (void)pthread_mutex_unlock(&t->mutex);
        (void)pthread_join(t->watchdog, NULL);
    }
    if (t->connection)
        duckdb_disconnect(&t->connection);
    if (t->database)
        duckdb_close(&t->database);
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_mutex_destroy(&t->mutex);
    map_free(t->functions.unsteady);
    map_free(t->functions.aggregates);
    free(t->scratch);
    free(t);
    return NULL;
}

int table_lock(struct table *t, struct err *err)
{
    if (t->locked)
        return 0;
    if (table_exec(t, err, "SET enable_external_access = false") < 0 ||
        table_exec(t, err, "SET lock_configuration = true") < 0)
        return err_wrap(err, "locking the query engine");
    t->locked = true;
    return 0;
}

/* --- statements ---------------------------------------------------------------------------------- */

int table_exec(struct table *t, struct err *err, const char *fmt, ...)
{
    _cleanup_free_ char *sql = NULL;
    va_list ap;
    va_start(ap, fmt);
    int r = format_sql(&sql, err, fmt, ap);
    va_end(ap);
    return r < 0 ? r : run(t, sql, err);
}

/* The first value of a one-column result; `text` is set for strings. */
struct single {
    bool any, null;
    int64_t i;
    double d;
    char *text;
};

static int take_single(void *ctx, const struct column_batch *batch, struct err *err)
{
    (void)err;
    struct single *s = ctx;
    if (s->any || batch->n_rows == 0)
        return 0;
    const struct column *c = &batch->columns[0];
    s->any = true;
    s->null = c->valid && !c->valid[0];
    if (s->null)
        return 0;
    if (c->type == COLUMN_I64)
        s->i = c->i64[0];
    else if (c->type == COLUMN_F64)
        s->d = c->f64[0];
    else
        s->text = xstrndup(c->text + c->offsets[0], c->offsets[1] - c->offsets[0]);
    return 0;
}

static int query_single(struct table *t, enum column_type type, bool *ret_null, struct single *s,
                        struct err *err, const char *fmt, va_list ap) __attribute__((format(printf, 6, 0)));
static int query_single(struct table *t, enum column_type type, bool *ret_null, struct single *s,
                        struct err *err, const char *fmt, va_list ap)
{
    _cleanup_free_ char *sql = NULL;
    *s = (struct single){0};
    if (format_sql(&sql, err, fmt, ap) < 0 || table_stream(t, sql, &type, 1, take_single, s, err) < 0)
        return -1;
    if (!s->any)
        return err_set(err, ERR_INVALID, "a query gave no row where one was expected: %.200s", sql);
    if (s->null && !ret_null)
        return err_set(err, ERR_INVALID, "a query gave NULL where a value was expected: %.200s", sql);
    if (ret_null)
        *ret_null = s->null;
    return 0;
}

int table_query_int(struct table *t, int64_t *ret, bool *ret_null, struct err *err, const char *fmt, ...)
{
    struct single s;
    va_list ap;
    va_start(ap, fmt);
    int r = query_single(t, COLUMN_I64, ret_null, &s, err, fmt, ap);
    va_end(ap);
    if (r == 0)
        *ret = s.i;
    return r;
}

int table_query_double(struct table *t, double *ret, bool *ret_null, struct err *err, const char *fmt, ...)
{
    struct single s;
    va_list ap;
    va_start(ap, fmt);
    int r = query_single(t, COLUMN_F64, ret_null, &s, err, fmt, ap);
    va_end(ap);
    if (r == 0)
        *ret = s.d;
    return r;
}

int table_query_string(struct table *t, char **ret, struct err *err, const char *fmt, ...)
{
    struct single s;
    va_list ap;
    va_start(ap, fmt);
    int r = query_single(t, COLUMN_STR, NULL, &s, err, fmt, ap);
    va_end(ap);
    if (r == 0)
        *ret = s.text;
    return r;
}

duckdb_connection table_connection(struct table *t)
{
    return t->connection;
}

bool table_interrupted(const struct table *t)
{
    return atomic_load(&t->interrupted) != INTERRUPT_NONE;
}

struct table_functions *table_functions(struct table *t)
{
    return &t->functions;
}
