/* The frame: options → inputs → work → publish → result → exit code. */
#include "stages/runtime/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "stages/runtime/run-internal.h"

/* --- options: ours and the stage's in one table ---------------------------------------------------- */

static size_t option_size(enum cli_kind kind)
{
    switch (kind) {
    case CLI_FLAG:
        return sizeof(bool);
    case CLI_STRING:
        return sizeof(const char *);
    case CLI_DOUBLE:
        return sizeof(double);
    case CLI_LIST:
        return sizeof(struct cli_list);
    default:
        return sizeof(int64_t);
    }
}

static size_t count_options(const struct cli_option *o)
{
    size_t n = 0;
    while (o && o[n].name)
        n++;
    return n;
}

/* Parses into one block, run_options first, then the stage's values; these are copied back to where the stage wants them. */
static int parse_options(const struct stage *stage, struct stage_run *run, int *argc, char **argv,
                         struct err *err)
{
    size_t own = count_options(run_option_table), extra = count_options(stage->options);
    size_t base = (sizeof(struct run_options) + 15) & ~(size_t)15, size = base;
    _cleanup_free_ struct cli_option *table = xcalloc(own + extra + 1, sizeof *table);
    for (size_t i = 0; i < own; i++)
        table[i] = run_option_table[i];
    for (size_t i = 0; i < extra; i++) {
        const struct cli_option *o = &stage->options[i];
        table[own + i] = *o;
        table[own + i].offset += base;
        size_t end = base + o->offset + option_size(o->kind);
        size = end > size ? end : size;
    }
    _cleanup_free_ char *values = xcalloc(1, size);
    for (size_t i = 0; i < extra; i++)
        memcpy(values + table[own + i].offset, (char *)stage->option_values + stage->options[i].offset,
               option_size(stage->options[i].kind));
    const struct cli_command command = {.name = stage->name,
                                        .synopsis = "",
                                        .summary = stage->summary,
                                        .description = stage->description,
                                        .options = table,
                                        .max_args = stage->alternative ? 1024 : 0};
    int r = cli_parse(&command, *argc, argv, values, argc, err);
    if (r != 0)
        return r;
    memcpy(&run->options, values, sizeof run->options);
    for (size_t i = 0; i < extra; i++)
        memcpy((char *)stage->option_values + stage->options[i].offset, values + table[own + i].offset,
               option_size(stage->options[i].kind));
    return 0;
}

static void configure_log(const struct run_options *o)
{
    int level = o->log_level ? log_level_parse(o->log_level) : LOG_INFO;
    enum log_format format = text_equal(o->log_format, "json")   ? LOG_JSON
                             : text_equal(o->log_format, "text") ? LOG_TEXT
                                                                 : LOG_AUTO;
    log_configure(level < 0 ? LOG_INFO : (enum log_level)level, format);
}

/* --- the result, where the planner reads it -------------------------------------------------------- */

/* TRAINYARD_RESULT, else the kubelet's file when there is one. In place: the kubelet has mounted the file itself. */
static void write_message(const char *path, const struct result *result)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
    struct err err = ERR_INIT;
    if (result_format(result, &text, &err) < 0) {
        log_error("the result does not fit", "why", err.msg, NULL);
        return;
    }
    int flags = O_WRONLY | O_TRUNC | O_CLOEXEC | (path ? O_CREAT : 0);
    _cleanup_close_ int fd = open(path ? path : "/dev/termination-log", flags, 0644);
    if (fd < 0) {
        if (path)
            log_error("the result cannot be written", "path", path, "why", strerror(errno), NULL);
        return;
    }
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.data + done, text.len - done);
        if (n < 0 && errno != EINTR) {
            log_error("the result cannot be written", "path", path ? path : "/dev/termination-log", "why",
                      strerror(errno), NULL);
            return;
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

/* --- the steps of a run ------------------------------------------------------------------------------ */

static int get_inputs(struct stage_run *run, struct err *err)
{
    if (!run->contract)
        return inputs_local(run->options.inputs.items, run->options.inputs.n, run->stage->inputs,
                            &run->inputs, err);
    const char *path = getenv(ENV_INPUTS);
    _cleanup_json_ cJSON *document = NULL;
    if (path && *path && json_parse_file(path, LIMIT_CONFIG_BYTES, &document, err) < 0) {
        err->exit_code = EXITCODE_USAGE;
        return err_wrap(err, "%s", ENV_INPUTS);
    }
    _cleanup_free_ char *dir = fs_join(run->scratch, "in");
    return inputs_fetch(run->store, document, run->stage->inputs, dir, &run->inputs, err);
}

/* Publishes and commits, or adopts what another attempt has committed. */
static int finish(struct stage_run *run, struct result *ret, struct err *err)
{
    _cleanup_result_ struct result mine;
    result_init(&mine);
    if (run->world.rank != 0) { /* rank 0 speaks for the gang */
        *ret = mine;
        mine.outputs = mine.values = NULL;
        return 0;
    }
    if (run->memo_hit) {
        mine.cached = true;
        cJSON_Delete(mine.outputs);
        mine.outputs = cJSON_Duplicate(run->memo_outputs, true);
    } else if (run_publish(run, mine.outputs, err) < 0) {
        return -1;
    }
    cJSON_Delete(mine.values);
    mine.values = cJSON_Duplicate(run->values, true);
    if (!run->contract) {
        *ret = mine;
        mine.outputs = mine.values = NULL;
        return 0;
    }
    if (run_write_provenance(run, mine.outputs, err) < 0)
        return err_wrap(err, "provenance");
    bool adopted;
    if (commit_result(run->store, &run->place, &mine, ret, &adopted, err) < 0)
        return -1;
    if (adopted)
        log_info("another attempt committed first: its result holds", "folder", ret->folder, NULL);
    struct err ignored = ERR_INIT;
    if (!adopted && !run->memo_hit && run_write_memo(run, ret, &ignored) < 0)
        log_warn("the next run will not find this result", "why", ignored.msg, NULL);
    return 0;
}

static int perform(struct stage_run *run, struct result *ret, struct err *err)
{
    if (run_setup(run, err) < 0 || run_open_stores(run, err) < 0)
        return -1;
    if (run->contract) {
        bool found;
        if (commit_find(run->store, run->place.step, &found, ret, err) < 0)
            return err_wrap(err, "looking for an earlier attempt's result");
        if (found) {
            log_info("an earlier attempt has committed: its result holds", "folder", ret->folder, NULL);
            return 0;
        }
        if (run->world.rank == 0 && store_probe(run->store, err) < 0)
            return -1;
    }
    if (get_inputs(run, err) < 0)
        return -1;
    if (stage_stopping(run))
        return stage_stopped(run, err);
    log_info("step started", "stage", run->stage->name, "version", trainyard_version, NULL);
    failpoint("work.before");
    if (run->stage->work(run, err) < 0)
        return -1;
    failpoint("work.after");
    if (finish(run, ret, err) < 0)
        return -1;
    int64_t spent = clock_system.wall_ms(clock_system.ctx) - run->started_ms;
    log_info("step succeeded", "stage", run->stage->name, "seconds", LOG_DBL((double)spent / 1000), NULL);
    return 0;
}

static void print_hand_run(const struct stage_run *run, const struct result *result)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
    struct err err = ERR_INIT;
    if (!run->contract && result_format(result, &text, &err) == 0)
        (void)printf("%s\n", buf_str(&text));
}

static int report(struct stage_run *run, int r, struct result *result, const struct err *err)
{
    if (r < 0) {
        int code = err_exit_code(err);
        if (text_equal(err->reason, "stopped"))
            log_info("stopped", "why", err->msg, NULL);
        else
            log_error("failed", "why", err->msg, "reason", err->reason, "exit", LOG_INT(code), NULL);
        run_keep(run, true);
        result_release(result);
        result_init(result);
        result_set_error(result, err);
        write_message(run->options.result, result);
        return code;
    }
    run_keep(run, false);
    result->folder[0] = '\0'; /* the store's business */
    write_message(run->options.result, result);
    print_hand_run(run, result);
    return EXITCODE_OK;
}

int stage_main(const struct stage *stage, int argc, char **argv)
{
    struct stage_run run = {.stage = stage};
    struct err err = ERR_INIT;
    process_watch_signals();
    argc--;
    argv++;
    int r = parse_options(stage, &run, &argc, argv, &err);
    if (r > 0) {
        run_release(&run);
        return EXITCODE_OK;
    }
    _cleanup_result_ struct result result;
    result_init(&result);
    if (r < 0) {
        run.options.result = getenv(ENV_RESULT);
        err.exit_code = EXITCODE_USAGE;
    } else {
        configure_log(&run.options);
        bool taken = false;
        if (stage->alternative)
            r = stage->alternative(argc, argv, &taken, &err);
        if (taken || r < 0) {
            if (r < 0)
                log_error("failed", "why", err.msg, NULL);
            run_release(&run);
            return r < 0 ? err_exit_code(&err) : EXITCODE_OK;
        }
        if (argc > 0) {
            r = err_fail(&err, ERR_INVALID, EXITCODE_USAGE, "usage", "unexpected argument \"%s\"", argv[0]);
        } else {
            struct result done = {0};
            r = perform(&run, &done, &err);
            if (r == 0) {
                result_release(&result);
                result = done;
            }
        }
    }
    int code = report(&run, r, &result, &err);
    run_release(&run);
    return code;
}
