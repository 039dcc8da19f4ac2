/* click-ranker-generate: click logs with a known ground truth, a partition a day, and on request one
 * of the accidents of production in the newest partition. Writes <out>/day=YYYY-MM-DD/clicks.parquet and, with --truth,
 * what the best possible ranker reaches on the held-out days. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cli.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "examples/click-ranker/generate/partition.h"

struct options {
    const char *out, *last_day, *accident, *truth;
    int64_t rows, seed, days, test_days;
    bool only_newest;
};

static const struct cli_option option_table[] = {
    {.name = "out",
     .kind = CLI_STRING,
     .metavar = "DIR",
     .offset = offsetof(struct options, out),
     .help = "Where the partitions go (required)."},
    {.name = "rows",
     .kind = CLI_INT,
     .metavar = "N",
     .offset = offsetof(struct options, rows),
     .fallback = "1000000",
     .min = 1000,
     .max = 1000000000,
     .help = "Rows over all days; sessions of ten."},
    {.name = "seed",
     .kind = CLI_INT,
     .metavar = "N",
     .offset = offsetof(struct options, seed),
     .fallback = "17",
     .min = 0,
     .max = INT64_MAX,
     .help = "Seed of the ground truth and of the logs."},
    {.name = "days",
     .kind = CLI_INT,
     .metavar = "N",
     .offset = offsetof(struct options, days),
     .fallback = "31",
     .min = 1,
     .max = 3660,
     .help = "Number of daily partitions."},
    {.name = "last-day",
     .kind = CLI_STRING,
     .metavar = "YYYY-MM-DD",
     .offset = offsetof(struct options, last_day),
     .fallback = "2026-10-31",
     .help = "The newest partition."},
    {.name = "accident",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = offsetof(struct options, accident),
     .fallback = "none",
     .choices = accident_names,
     .help = "What befalls the newest partition; 'changing' rewrites it until interrupted."},
    {.name = "only-newest",
     .kind = CLI_FLAG,
     .offset = offsetof(struct options, only_newest),
     .help = "Write only the newest partition (after an accident, to repair it)."},
    {.name = "truth",
     .kind = CLI_STRING,
     .metavar = "FILE",
     .offset = offsetof(struct options, truth),
     .help = "Write the best possible AUC and NDCG@10 over the held-out days as JSON."},
    {.name = "test-days",
     .kind = CLI_INT,
     .metavar = "N",
     .offset = offsetof(struct options, test_days),
     .fallback = "2",
     .min = 1,
     .max = 3660,
     .help = "How many of the newest days are held out for --truth."},
    CLI_END,
};

static volatile sig_atomic_t stopping;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

static int write_truth(const struct truth *t, const char *path, struct err *err)
{
    _cleanup_json_ cJSON *o = json_object();
    json_add_int(o, "rows", (int64_t)t->n);
    json_add_double(o, "auc_best", truth_auc(t));
    json_add_double(o, "auc_random", 0.5);
    json_add_double(o, "ndcg10_best", truth_ndcg(t));
    json_add_double(o, "ndcg10_random", truth_ndcg_random(t));
    _cleanup_buf_ struct buf text = BUF_INIT(4096);
    (void)json_pretty(o, &text);
    return fs_write_atomic(path, buf_str(&text), text.len, err);
}

static int generate(const struct options *o, struct err *err)
{
    int64_t last_ms;
    _cleanup_free_ char *midnight = xasprintf("%sT00:00:00Z", o->last_day);
    if (clock_parse_rfc3339(midnight, &last_ms, err) < 0)
        return err_wrap(err, "--last-day: expected YYYY-MM-DD, found '%s'", o->last_day);
    enum accident accident = ACCIDENT_NONE;
    while (strcmp(accident_names[accident], o->accident) != 0)
        accident++;
    int64_t sessions = o->rows / WORLD_SESSION_ROWS;
    if (sessions < o->days)
        return err_set(err, ERR_INVALID,
                       "--rows %" PRId64 " is less than one session of ten a day over %" PRId64 " days",
                       o->rows, o->days);
    struct world *w = xcalloc(1, sizeof *w);
    world_init(w, (uint64_t)o->seed);
    struct truth truth = {0};
    int rc = 0;
    for (int64_t d = o->only_newest ? o->days - 1 : 0; d < o->days && rc == 0 && !stopping; d++) {
        struct partition p = {
            .directory = o->out,
            .day = last_ms / 86400000 - (o->days - 1) + d,
            .first_session = sessions * d / o->days,
            .sessions = sessions * (d + 1) / o->days - sessions * d / o->days,
            .accident = d == o->days - 1 ? accident : ACCIDENT_NONE,
        };
        rc = partition_write(&p, w, d >= o->days - o->test_days ? &truth : NULL, err);
        if (rc == 0 && p.accident == ACCIDENT_CHANGING)
            rc = partition_keep_changing(&p, &stopping, err);
    }
    if (rc == 0 && o->truth && !stopping)
        rc = write_truth(&truth, o->truth, err);
    truth_release(&truth);
    free(w);
    return rc;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int parsed = cli_parse(cmd, argc, argv, &o, &argc, &err);
    if (parsed > 0)
        return EXITCODE_OK;
    if (parsed == 0 && !o.out)
        parsed = err_fail(&err, ERR_INVALID, EXITCODE_USAGE, "usage", "--out DIR is required");
    if (parsed == 0) {
        (void)signal(SIGINT, on_signal);
        (void)signal(SIGTERM, on_signal);
        if (generate(&o, &err) == 0)
            return EXITCODE_OK;
    }
    (void)fprintf(stderr, "%s: %s\n", cmd->name, err.msg);
    return err_exit_code(&err);
}

static const struct cli_command command = {
    .name = "click-ranker-generate",
    .synopsis = "--out DIR",
    .summary = "Generate click logs with a known ground truth.",
    .options = option_table,
    .run = run,
};

int main(int argc, char **argv)
{
    return cli_main(&command, argc, argv);
}
