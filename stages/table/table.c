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
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/table/hashsql.h"
#include "stages/table/table-internal.h"

enum {
    STATEMENT_MAX = 4 * 1024 * 1024,
    DEFAULT_DEADLINE_MS = 600 * 1000,
    WATCH_MS = 200,
    FUNCTIONS_MAX = 20000,
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
    struct map *volatile_functions, *aggregates;
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

static void watch_begin(struct table *t)
{
    (void)pthread_mutex_lock(&t->mutex);
    atomic_store(&t->interrupted, INTERRUPT_NONE);
    t->statement_deadline = t->locked && t->deadline_ms > 0 ? now_ms() + t->deadline_ms : 0;
    t->running = true;
    (void)pthread_cond_signal(&t->wake);
    (void)pthread_mutex_unlock(&t->mutex);
}

static void watch_end(struct table *t)
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

static int fail(struct table *t, duckdb_error_type type, const char *message, struct err *err)
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
    watch_begin(t);
    duckdb_state state = duckdb_query(t->connection, sql, &result);
    watch_end(t);
    int r = state == DuckDBSuccess
                ? 0
                : fail(t, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    duckdb_destroy_result(&result);
    return r;
}

static int format_sql(char **ret, struct err *err, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static int format_sql(char **ret, struct err *err, const char *fmt, va_list ap)
{
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_MAX);
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
    _cleanup_buf_ struct buf list = BUF_INIT(STATEMENT_MAX);
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
    map_free(t->volatile_functions);
    map_free(t->aggregates);
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

/* --- streaming ----------------------------------------------------------------------------------- */

struct column_store {
    enum column_type type;
    double *f64;
    int64_t *i64;
    uint32_t *offsets;
    char *text; /* never NULL for strings */
    size_t text_len, text_capacity;
    uint8_t *valid;
    bool any_null;
};

struct batcher {
    struct column_store *stores;
    struct column *columns;
    size_t n_columns, n_rows;
    int (*each)(void *ctx, const struct column_batch *batch, struct err *err);
    void *ctx;
};

static void batcher_init(struct batcher *b, const enum column_type *types, size_t n)
{
    b->n_columns = n;
    b->stores = xcalloc(n, sizeof *b->stores);
    b->columns = xcalloc(n, sizeof *b->columns);
    for (size_t i = 0; i < n; i++) {
        struct column_store *s = &b->stores[i];
        s->type = types[i];
        s->valid = xcalloc(TABLE_BATCH_ROWS, 1);
        if (types[i] == COLUMN_F64)
            s->f64 = xcalloc(TABLE_BATCH_ROWS, sizeof *s->f64);
        else if (types[i] == COLUMN_I64)
            s->i64 = xcalloc(TABLE_BATCH_ROWS, sizeof *s->i64);
        else
            s->offsets = xcalloc(TABLE_BATCH_ROWS + 1, sizeof *s->offsets);
        s->text_capacity = 1 << 16;
        s->text = types[i] == COLUMN_STR ? xmalloc(s->text_capacity) : NULL;
    }
}

static void batcher_release(struct batcher *b)
{
    for (size_t i = 0; i < b->n_columns; i++) {
        struct column_store *s = &b->stores[i];
        free(s->f64);
        free(s->i64);
        free(s->offsets);
        free(s->valid);
        free(s->text);
    }
    free(b->stores);
    free(b->columns);
}

static int batcher_flush(struct batcher *b, struct err *err)
{
    if (b->n_rows == 0)
        return 0;
    for (size_t i = 0; i < b->n_columns; i++) {
        struct column_store *s = &b->stores[i];
        b->columns[i] = (struct column){.name = b->columns[i].name,
                                        .type = s->type,
                                        .f64 = s->f64,
                                        .i64 = s->i64,
                                        .text = s->text,
                                        .offsets = s->offsets,
                                        .valid = s->any_null ? s->valid : NULL};
    }
    struct column_batch batch = {.columns = b->columns, .n_columns = b->n_columns, .n_rows = b->n_rows};
    int r = b->each(b->ctx, &batch, err);
    b->n_rows = 0;
    for (size_t i = 0; i < b->n_columns; i++) {
        b->stores[i].text_len = 0;
        b->stores[i].any_null = false;
    }
    return r;
}

static bool row_valid(const uint64_t *mask, idx_t row)
{
    return !mask || (mask[row / 64] >> (row % 64)) & 1;
}

/* Room for all of them first: asking for it string by string costs more than the copies. */
static int reserve_text(struct column_store *s, duckdb_string_t *values, const uint64_t *mask, idx_t from,
                        size_t n, struct err *err)
{
    size_t need = s->text_len;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(mask, from + i))
            need += duckdb_string_t_length(values[from + i]);
    }
    if (need > UINT32_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "text-too-large",
                        "%d rows hold more than 4 GiB of text in one column", TABLE_BATCH_ROWS);
    if (need > s->text_capacity) {
        s->text_capacity = need > s->text_capacity * 2 ? need : s->text_capacity * 2;
        s->text = xreallocarray(s->text, s->text_capacity, 1);
    }
    return 0;
}

static int copy_strings(struct column_store *s, size_t at, duckdb_string_t *values, const uint64_t *mask,
                        idx_t from, size_t n, struct err *err)
{
    if (reserve_text(s, values, mask, from, n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(mask, from + i)) {
            duckdb_string_t *v = &values[from + i];
            uint32_t len = duckdb_string_t_length(*v);
            memcpy(s->text + s->text_len, duckdb_string_t_data(v), len);
            s->text_len += len;
        }
        s->offsets[at + i + 1] = (uint32_t)s->text_len;
    }
    return 0;
}

static int copy_column(struct column_store *s, size_t at, duckdb_vector vector, idx_t from, size_t n,
                       struct err *err)
{
    const uint64_t *mask = duckdb_vector_get_validity(vector);
    if (!mask) {
        memset(s->valid + at, 1, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            bool valid = row_valid(mask, from + i);
            s->valid[at + i] = valid;
            s->any_null |= !valid;
        }
    }
    void *data = duckdb_vector_get_data(vector);
    switch (s->type) {
    case COLUMN_F64:
        memcpy(s->f64 + at, (double *)data + from, n * sizeof(double));
        break;
    case COLUMN_I64:
        memcpy(s->i64 + at, (int64_t *)data + from, n * sizeof(int64_t));
        break;
    case COLUMN_STR:
        return copy_strings(s, at, data, mask, from, n, err);
    }
    /* What lies under a NULL is undefined; make it 0, so that no reader can depend on it. */
    for (size_t i = 0; mask && i < n; i++) {
        if (s->valid[at + i])
            continue;
        if (s->type == COLUMN_F64)
            s->f64[at + i] = 0;
        else
            s->i64[at + i] = 0;
    }
    return 0;
}

static int batcher_add(struct batcher *b, duckdb_data_chunk chunk, struct err *err)
{
    idx_t rows = duckdb_data_chunk_get_size(chunk);
    for (idx_t from = 0; from < rows;) {
        size_t n = TABLE_BATCH_ROWS - b->n_rows;
        if (n > rows - from)
            n = rows - from;
        for (size_t c = 0; c < b->n_columns; c++) {
            if (copy_column(&b->stores[c], b->n_rows, duckdb_data_chunk_get_vector(chunk, c), from, n, err) <
                0)
                return -1;
        }
        b->n_rows += n;
        from += n;
        if (b->n_rows == TABLE_BATCH_ROWS && batcher_flush(b, err) < 0)
            return -1;
    }
    return 0;
}

static int drain(struct table *t, duckdb_result *result, struct batcher *b, struct err *err)
{
    for (;;) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(*result);
        if (!chunk) {
            const char *message = duckdb_result_error(result);
            if (message && *message)
                return fail(t, duckdb_result_error_type(result), message, err);
            if (atomic_load(&t->interrupted) != INTERRUPT_NONE)
                return fail(t, DUCKDB_ERROR_INTERRUPT, "interrupted", err);
            return batcher_flush(b, err);
        }
        int r = batcher_add(b, chunk, err);
        duckdb_destroy_data_chunk(&chunk);
        if (r < 0)
            return r;
    }
}

/* The statement's columns are renamed and cast; a projection keeps the order of its ordered input. */
static int cast_statement(const char *sql, const enum column_type *types, size_t n, char **ret,
                          struct err *err)
{
    static const char *const names[] =
        {[COLUMN_F64] = "DOUBLE", [COLUMN_I64] = "BIGINT", [COLUMN_STR] = "VARCHAR"};
    _cleanup_buf_ struct buf text = BUF_INIT(STATEMENT_MAX);
    (void)buf_adds(&text, "SELECT ");
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&text, "%sCAST(c%zu AS %s)", i ? ", " : "", i, names[types[i]]);
    (void)buf_addf(&text, " FROM (%s\n) AS q(", sql);
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&text, "%sc%zu", i ? ", " : "", i);
    (void)buf_addc(&text, ')');
    if (buf_check(&text, "SQL statement", err) < 0)
        return -1;
    *ret = buf_take(&text);
    return 0;
}

static int execute_streaming(struct table *t, duckdb_prepared_statement statement, duckdb_result *ret,
                             struct err *err)
{
    duckdb_pending_result pending = NULL;
    if (duckdb_pending_prepared_streaming(statement, &pending) != DuckDBSuccess) {
        int r = fail(t, DUCKDB_ERROR_INVALID, duckdb_pending_error(pending), err);
        duckdb_destroy_pending(&pending);
        return r;
    }
    duckdb_state state = duckdb_execute_pending(pending, ret);
    duckdb_destroy_pending(&pending);
    if (state == DuckDBSuccess)
        return 0;
    int r = fail(t, duckdb_result_error_type(ret), duckdb_result_error(ret), err);
    duckdb_destroy_result(ret);
    return r;
}

int table_stream(struct table *t, const char *sql, const enum column_type *types, size_t n_columns,
                 int (*each)(void *ctx, const struct column_batch *batch, struct err *err), void *ctx,
                 struct err *err)
{
    _cleanup_free_ char *text = NULL;
    if (cast_statement(sql, types, n_columns, &text, err) < 0)
        return -1;
    duckdb_prepared_statement statement = NULL;
    if (duckdb_prepare(t->connection, text, &statement) != DuckDBSuccess) {
        int r = fail(t, DUCKDB_ERROR_INVALID, duckdb_prepare_error(statement), err);
        duckdb_destroy_prepare(&statement);
        return r;
    }
    struct batcher b = {.each = each, .ctx = ctx};
    batcher_init(&b, types, n_columns);
    duckdb_result result;
    watch_begin(t);
    int r = execute_streaming(t, statement, &result, err);
    if (r == 0) {
        r = drain(t, &result, &b, err);
        duckdb_destroy_result(&result);
    }
    watch_end(t);
    duckdb_destroy_prepare(&statement);
    batcher_release(&b);
    return r;
}

/* --- helpers ------------------------------------------------------------------------------------- */

static char *quote(const char *text, char mark)
{
    size_t n = strlen(text), marks = 0;
    for (size_t i = 0; i < n; i++)
        marks += text[i] == mark;
    char *out = xmalloc(n + marks + 3), *p = out;
    *p++ = mark;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == mark)
            *p++ = mark;
        *p++ = text[i];
    }
    *p++ = mark;
    *p = '\0';
    return out;
}

char *table_quote_ident(const char *name)
{
    return quote(name, '"');
}

char *table_quote_string(const char *text)
{
    return quote(text, '\'');
}

int table_query_bound(struct table *t, const char *sql, const char *text, char **ret, struct err *err)
{
    duckdb_prepared_statement statement = NULL;
    duckdb_result result;
    int r = -1;
    watch_begin(t);
    if (duckdb_prepare(t->connection, sql, &statement) != DuckDBSuccess) {
        r = fail(t, DUCKDB_ERROR_INVALID, duckdb_prepare_error(statement), err);
    } else if (duckdb_bind_varchar(statement, 1, text) != DuckDBSuccess) {
        r = err_set(err, ERR_INVALID, "not valid UTF-8 text: %.100s", text);
    } else if (duckdb_execute_prepared(statement, &result) != DuckDBSuccess) {
        r = fail(t, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
        duckdb_destroy_result(&result);
    } else {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
            duckdb_string_t *v = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
            *ret = xstrndup(duckdb_string_t_data(v), duckdb_string_t_length(*v));
            r = 0;
        } else {
            r = err_set(err, ERR_INVALID, "a query gave no row where one was expected");
        }
        if (chunk)
            duckdb_destroy_data_chunk(&chunk);
        duckdb_destroy_result(&result);
    }
    watch_end(t);
    duckdb_destroy_prepare(&statement);
    return r;
}

struct function_sets {
    struct map *volatile_functions, *aggregates;
};

static int add_function(void *ctx, const struct column_batch *batch, struct err *err)
{
    struct function_sets *sets = ctx;
    for (size_t i = 0; i < batch->n_rows; i++) {
        const struct column *name = &batch->columns[0];
        char text[128];
        (void)snprintf(text, sizeof text, "%.*s", (int)(name->offsets[i + 1] - name->offsets[i]),
                       name->text + name->offsets[i]);
        struct map *m = batch->columns[1].i64[i] ? sets->aggregates : sets->volatile_functions;
        if (map_set(m, text, NULL) < 0)
            return err_set(err, ERR_TERMINAL, "more than %d functions", FUNCTIONS_MAX);
    }
    return 0;
}

int table_function_sets(struct table *t, struct map **ret_volatile, struct map **ret_aggregates,
                        struct err *err)
{
    if (!t->aggregates) {
        _cleanup_map_ struct map *vol = map_new(FUNCTIONS_MAX, NULL);
        _cleanup_map_ struct map *agg = map_new(FUNCTIONS_MAX, NULL);
        struct function_sets sets = {vol, agg};
        static const enum column_type types[] = {COLUMN_STR, COLUMN_I64};
        /* Macros have no stability of their own: those built on the clock or the session are named. */
        if (table_stream(
                t,
                "SELECT DISTINCT function_name, function_type = 'aggregate' FROM duckdb_functions() "
                "WHERE function_type = 'aggregate' OR stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY') "
                "OR (function_type = 'macro' AND regexp_matches(macro_definition, 'current_|random|uuid|now\\('))",
                types, ARRAY_SIZE(types), add_function, &sets, err) < 0)
            return -1;
        t->volatile_functions = steal_ptr(vol);
        t->aggregates = steal_ptr(agg);
    }
    *ret_volatile = t->volatile_functions;
    *ret_aggregates = t->aggregates;
    return 0;
}

static int add_described(void *ctx, const struct column_batch *batch, struct err *err)
{
    (void)err;
    cJSON *out = ctx;
    for (size_t i = 0; i < batch->n_rows; i++) {
        cJSON *item = json_object();
        static const char *const keys[] = {"name", "type"};
        for (size_t k = 0; k < 2; k++) {
            const struct column *c = &batch->columns[k];
            _cleanup_free_ char *text = xstrndup(c->text + c->offsets[i], c->offsets[i + 1] - c->offsets[i]);
            json_add_string(item, keys[k], text);
        }
        json_append(out, item);
    }
    return 0;
}

int table_describe(struct table *t, const char *relation, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *out = json_array();
    _cleanup_free_ char *sql =
        xasprintf("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM %s)", relation);
    static const enum column_type types[] = {COLUMN_STR, COLUMN_STR};
    if (table_stream(t, sql, types, ARRAY_SIZE(types), add_described, out, err) < 0)
        return -1;
    *ret = steal_ptr(out);
    return 0;
}
