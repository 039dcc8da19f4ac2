/* trainyard logs: what a step's processes wrote. */
#include <errno.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/cluster/podlogs.h"
#include "operator/cli/command.h"
#include "operator/cli/describe.h"
#include "operator/cli/lock.h"
#include "operator/cli/where.h"

enum { FOLLOW_MS = 500 };

struct options {
    const char *store;
    struct where_options cluster;
    struct cli_list secrets;
    int64_t attempt, item, worker;
    bool follow;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    WHERE_OPTIONS_CLUSTER(struct options),
    {.name = "follow",
     .short_name = 'f',
     .kind = CLI_FLAG,
     AT(follow),
     .help = "Go on printing until the attempt has ended."},
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
    COMMAND_OPTION_SECRET(struct options),
    CLI_END,
};

/* --- this machine ------------------------------------------------------------------------------------------ */

/* A worker's log being copied to stdout. */
struct copy {
    FILE *file;
    char *path, *prefix;
    bool any, midline;
};

static void copies_release(struct copy **copies)
{
    for (struct copy *c = *copies; c && c->file; c++) {
        (void)fclose(c->file);
        free(c->path);
        free(c->prefix);
    }
    free(*copies);
}

/* What the file holds beyond what was copied. */
static int copy_more(struct copy *c, struct err *err)
{
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    clearerr(c->file);
    for (ssize_t n; (n = getline(&line, &capacity, c->file)) > 0;) {
        if (c->prefix && !c->midline)
            (void)fputs(c->prefix, stdout);
        if (fwrite(line, 1, (size_t)n, stdout) != (size_t)n)
            return err_errno(err, errno, "cannot write to standard output");
        c->midline = line[n - 1] != '\n';
        c->any = true;
    }
    return fflush(stdout) == 0 ? 0 : err_errno(err, errno, "cannot write to standard output");
}

/* Ends with one whose file is NULL. */
static int open_logs(const struct record *r, size_t step, const struct options *o, struct copy *copies,
                     struct err *err)
{
    _cleanup_free_ char *second = describe_log_path(r, step, (size_t)o->item, (int)o->attempt, 1);
    bool several = o->worker < 0 && second && fs_exists(second);
    size_t n = 0;
    for (int rank = o->worker >= 0 ? (int)o->worker : 0; rank < LIMIT_WORKERS; rank++) {
        _cleanup_free_ char *path = describe_log_path(r, step, (size_t)o->item, (int)o->attempt, rank);
        if (!path || !fs_exists(path))
            break;
        FILE *f = fopen(path, "re");
        if (!f)
            return err_errno(err, errno, "cannot open the log %s", path);
        copies[n++] = (struct copy){.file = f,
                                    .path = steal_ptr(path),
                                    .prefix = several ? xasprintf("[%d] ", rank) : NULL};
        if (o->worker >= 0)
            break;
    }
    return 0;
}

/* Does the attempt run? Asked of the record as it is now, for its driver goes on writing it. */
static bool still_running(const struct record *r, size_t step, const struct options *o)
{
    struct record *now = NULL;
    struct err ignored = ERR_INIT;
    _cleanup_free_ char *lock = record_path(r, "lock");
    if (!lock_is_held(lock) || record_load(r->state_dir, r->spec.uid, &now, &ignored) < 0)
        return false;
    const struct item_status *item =
        step < now->status.n_steps && (size_t)o->item < now->status.steps[step].n_items
            ? &now->status.steps[step].items[o->item]
            : NULL;
    int64_t wanted = o->attempt ? o->attempt : r->status.steps[step].items[o->item].attempt;
    bool running = item && item->state == STATE_RUNNING && item->attempt == wanted;
    record_free(now);
    return running;
}

/* *ret_found: there was at least one local log. */
static int print_local(const struct record *r, size_t step, const struct options *o, bool *ret_found,
                       struct err *err)
{
    CLEANUP(copies_release) struct copy *copies = xcalloc(LIMIT_WORKERS + 1, sizeof *copies);
    if (open_logs(r, step, o, copies, err) < 0)
        return -1;
    *ret_found = copies[0].file != NULL;
    for (bool more = true; more;) {
        more = *ret_found && o->follow && still_running(r, step, o);
        for (struct copy *c = copies; c->file; c++) {
            if (copy_more(c, err) < 0)
                return -1;
        }
        if (more)
            clock_system.sleep_ms(clock_system.ctx, FOLLOW_MS);
    }
    for (const struct copy *c = copies; c->file; c++) {
        if (!c->any)
            (void)fprintf(stderr, "%s is empty\n", c->path);
    }
    return 0;
}

/* --- the store ------------------------------------------------------------------------------------------------ */

/* The log that the stage kept in the store: on another machine, or when the run's directory or pods are gone. */
static int print_kept(const struct record *r, size_t step, const struct options *o, const cJSON *description,
                      const cJSON *secrets, struct err *err)
{
    _cleanup_store_ struct store *store = NULL;
    _cleanup_free_ char *prefix = describe_step_prefix(r, step, (size_t)o->item);
    int64_t attempt = o->attempt ? o->attempt : r->status.steps[step].items[o->item].attempt;
    _cleanup_free_ char *key =
        o->worker > 0 ? xasprintf("%s/logs/a%" PRId64 "-r%" PRId64 ".jsonl", prefix, attempt, o->worker)
                      : xasprintf("%s/logs/a%" PRId64 ".jsonl", prefix, attempt);
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (location_open(description, secrets, &store, err) < 0)
        return -1;
    if (store_get(store, key, LIMIT_KEPT_LOG_BYTES + 4096, &text, &len, NULL, err) < 0) {
        if (err->class_ != ERR_NOTFOUND)
            return -1;
        err_clear(err);
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-log",
                        "attempt %" PRId64 " of step %s left no log: neither %s nor in the store (%s)",
                        attempt, r->status.steps[step].name, r->namespace_ ? "in a pod" : "here", key);
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

static int local_logs(const struct options *o, const char *name, const char *step_name, struct err *err)
{
    _cleanup_record_ struct record *r = NULL;
    size_t step = 0;
    bool found = false;
    if (record_find(o->store, name, NULL, &r, err) < 0 || find_step(r, step_name, o, &step, err) < 0 ||
        print_local(r, step, o, &found, err) < 0)
        return -1;
    return found ? 0 : print_kept(r, step, o, r->options.store, r->options.secrets, err);
}

/* --- the cluster ------------------------------------------------------------------------------------------------ */

/* Pods are gone: the store may still know, if this machine may read it. */
static int kept_of_cluster(const struct options *o, const struct record *r, size_t step, struct err *err)
{
    _cleanup_location_ struct location l = {0};
    _cleanup_json_ cJSON *secrets = NULL;
    if (!r->pipeline->store)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-log",
                        "the pods of step %s are gone, and so is what the pipeline said about its store",
                        r->status.steps[step].name);
    if (location_parse_secrets(o->secrets.items, o->secrets.n, &secrets, err) < 0 ||
        location_resolve(r->pipeline, NULL, NULL, secrets, &l, err) < 0)
        return -1;
    (void)fprintf(stderr, "the pods of step %s are gone: reading the log kept in %s\n",
                  r->status.steps[step].name, location_url(l.store));
    if (print_kept(r, step, o, l.store, secrets, err) == 0)
        return 0;
    return err->class_ == ERR_NOTFOUND
               ? -1
               : err_wrap(
                     err,
                     "the kept log cannot be read from here; it needs the store's credentials (the AWS_* variables, or --secret NAME=DIR)");
}

/* One look. *ret_again: the attempt runs, but its pods are not there yet. */
static int look(const struct options *o, const struct cluster *c, const struct where *w,
                const char *step_name, bool *ret_again, struct err *err)
{
    _cleanup_record_ struct record *r = NULL;
    size_t step = 0;
    bool found = false;
    if (clusterrun_get(c, w->name, &r, NULL, err) < 0 || find_step(r, step_name, o, &step, err) < 0)
        return -1;
    const struct step_status *s = &r->status.steps[step];
    const struct item_status *item = &s->items[o->item];
    const struct podlogs_request q = {.run_uid = r->spec.uid,
                                      .step = step_name,
                                      .item = s->axes ? o->item : -1,
                                      .attempt = o->attempt ? o->attempt : item->attempt,
                                      .worker = o->worker,
                                      .follow = o->follow};
    if (podlogs_print(c, &q, &found, err) < 0)
        return -1;
    *ret_again = !found && item->state == STATE_RUNNING && q.attempt == item->attempt;
    return found || *ret_again ? 0 : kept_of_cluster(o, r, step, err);
}

static int cluster_logs(const struct options *o, const struct where *w, const char *step_name,
                        struct err *err)
{
    _cleanup_cluster_ struct cluster *c = NULL;
    bool again = true;
    if (cluster_open(&o->cluster, w->ns, &c, err) < 0)
        return -1;
    while (again) {
        if (look(o, c, w, step_name, &again, err) < 0)
            return -1;
        if (again && !o->follow)
            return err_fail(
                err, ERR_RETRY, EXITCODE_TEMPFAIL, "no-pods",
                "the pods of step %s are not there yet: try again, or wait for them with --follow",
                step_name);
        if (again)
            clock_system.sleep_ms(clock_system.ctx, FOLLOW_MS);
    }
    return 0;
}

static int logs(const struct options *o, const char *name, const char *step_name, struct err *err)
{
    _cleanup_where_ struct where w = {0};
    if (where_choose(&o->cluster, o->store, name, &w, err) < 0)
        return -1;
    if ((w.cluster ? cluster_logs(o, &w, step_name, err) : local_logs(o, name, step_name, err)) < 0)
        return -1;
    return fflush(stdout) == 0 ? 0 : err_errno(err, errno, "cannot write to standard output");
}

static void release(struct options *o)
{
    cli_list_release(&o->secrets);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    CLEANUP(release) struct options o = {0};
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
        "Prints what the step's processes or pods wrote, also while they run. When the files or pods are gone, the log that the stage kept in the store, for which a run of the "
        "cluster needs the store's credentials here.\n\n" WHERE_HELP,
    .examples =
        "trainyard logs click-ranker-3 train\ntrainyard logs click-ranker-3 train --attempt 1 --worker 0\ntrainyard logs ranking/click-ranker-7 train -f",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
