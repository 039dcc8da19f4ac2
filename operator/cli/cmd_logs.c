/* trainyard logs: what a step's processes wrote. */
#include <errno.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/command.h"
#include "operator/cli/describe.h"

struct options {
    const char *store;
    int64_t attempt, item, worker;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    {.name = "attempt",
     .short_name = 'a',
     .kind = CLI_INT,
     .metavar = "N",
     AT(attempt),
     .min = 1,
     .max = INT32_MAX,
     .help = "Which attempt. Default: the newest."},
    {.name = "item",
     .kind = CLI_INT,
     .metavar = "N",
     AT(item),
     .fallback = "0",
     .min = 0,
     .max = LIMIT_FANOUT_ITEMS,
     .help = "Which item of a fan-out, from 0."},
    {.name = "worker",
     .kind = CLI_INT,
     .metavar = "N",
     AT(worker),
     .fallback = "-1",
     .min = -1,
     .max = LIMIT_WORKERS,
     .help = "Only this worker's; -1: all, each line with its worker's number."},
    CLI_END,
};

/* Copies a file to stdout; prefix (NULL: none) goes before each line. */
static int copy_file(const char *path, const char *prefix, struct err *err)
{
    _cleanup_file_ FILE *f = fopen(path, "re");
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    if (!f)
        return err_errno(err, errno, "cannot open the log %s", path);
    if ((n = getline(&line, &capacity, f)) <= 0)
        (void)fprintf(stderr, "%s is empty\n", path);
    for (; n > 0; n = getline(&line, &capacity, f)) {
        if (prefix)
            (void)fputs(prefix, stdout);
        if (fwrite(line, 1, (size_t)n, stdout) != (size_t)n)
            return err_errno(err, errno, "cannot write to standard output");
    }
    return 0;
}

/* *ret_found: there was at least one local log. */
static int print_local(const struct record *r, size_t step, const struct options *o, bool *ret_found,
                       struct err *err)
{
    *ret_found = false;
    for (int rank = o->worker >= 0 ? (int)o->worker : 0; rank < LIMIT_WORKERS; rank++) {
        _cleanup_free_ char *path = describe_log_path(r, step, (size_t)o->item, (int)o->attempt, rank);
        _cleanup_free_ char *second = describe_log_path(r, step, (size_t)o->item, (int)o->attempt, 1);
        if (!path || !fs_exists(path))
            break;
        _cleanup_free_ char *prefix = o->worker < 0 && fs_exists(second) ? xasprintf("[%d] ", rank) : NULL;
        if (copy_file(path, prefix, err) < 0)
            return -1;
        *ret_found = true;
        if (o->worker >= 0)
            break;
    }
    return 0;
}

/* The log that the stage kept in the store: on another machine, or when the run's directory was removed. */
static int print_kept(const struct record *r, size_t step, const struct options *o, struct err *err)
{
    _cleanup_store_ struct store *store = NULL;
    _cleanup_free_ char *prefix = describe_step_prefix(r, step, (size_t)o->item);
    int64_t attempt = o->attempt ? o->attempt : r->status.steps[step].items[o->item].attempt;
    _cleanup_free_ char *key =
        o->worker > 0 ? xasprintf("%s/logs/a%" PRId64 "-r%" PRId64 ".jsonl", prefix, attempt, o->worker)
                      : xasprintf("%s/logs/a%" PRId64 ".jsonl", prefix, attempt);
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (location_open(r->options.store, r->options.secrets, &store, err) < 0)
        return -1;
    if (store_get(store, key, LIMIT_KEPT_LOG_BYTES + 4096, &text, &len, NULL, err) < 0) {
        if (err->class_ != ERR_NOTFOUND)
            return -1;
        err_clear(err);
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-log",
                        "attempt %" PRId64 " of step %s left no log: neither here nor in the store (%s)",
                        attempt, r->status.steps[step].name, key);
    }
    if (len == 0)
        (void)fprintf(stderr, "the log that the stage kept is empty (%s)\n", key);
    return fwrite(text, 1, len, stdout) == len ? 0 : err_errno(err, errno, "cannot write to standard output");
}

static int find_step(const struct record *r, const char *name, const struct options *o, size_t *ret,
                     struct err *err)
{
    const struct pipeline *p = r->pipeline;
    long step = pipeline_find_step(p, name);
    if (step < 0) {
        _cleanup_free_ const char **names = xcalloc(p->n_steps + 1, sizeof *names);
        for (size_t i = 0; i < p->n_steps; i++)
            names[i] = p->steps[i].name;
        const char *near = text_nearest(name, names);
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-step", "run %s has no step \"%s\"%s%s%s",
                        r->spec.name, name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if (r->status.n_steps != p->n_steps)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-log", "run %s has not begun", r->spec.name);
    const struct step_status *s = &r->status.steps[step];
    if ((size_t)o->item >= s->n_items)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-item",
                        "step %s has %zu item%s: --item %" PRId64 " is too much", name, s->n_items,
                        s->n_items == 1 ? "" : "s", o->item);
    const struct item_status *item = &s->items[o->item];
    if (item->attempt == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-log",
                        "step %s of run %s never started: it is %s%s%s", name, r->spec.name,
                        step_state_name(item->state), item->cache_note ? ", " : "",
                        item->cache_note ? item->cache_note : "");
    if (o->attempt > item->attempt)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-log",
                        "step %s had %d attempt%s: --attempt %" PRId64 " is too much", name, item->attempt,
                        item->attempt == 1 ? "" : "s", o->attempt);
    *ret = (size_t)step;
    return 0;
}

static int logs(const struct options *o, const char *name, const char *step_name, struct err *err)
{
    _cleanup_record_ struct record *r = NULL;
    size_t step = 0;
    bool found = false;
    if (record_find(o->store, name, NULL, &r, err) < 0 || find_step(r, step_name, o, &step, err) < 0 ||
        print_local(r, step, o, &found, err) < 0)
        return -1;
    if (!found && print_kept(r, step, o, err) < 0)
        return -1;
    return fflush(stdout) == 0 ? 0 : err_errno(err, errno, "cannot write to standard output");
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    return logs(&o, argv[0], argv[1], &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_logs = {
    .name = "trainyard logs",
    .synopsis = "RUN STEP",
    .summary = "print a step's log",
    .description =
        "Prints what the step's processes wrote, also while they run. When the files are gone, the log that the stage kept in the store.",
    .examples =
        "trainyard logs click-ranker-3 train\ntrainyard logs click-ranker-3 train --attempt 1 --worker 0",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
