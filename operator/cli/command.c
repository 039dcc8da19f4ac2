#include "operator/cli/command.h"

#include <errno.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/describe.h"

const char *const command_output_formats[] = {"text", "json", NULL};

static const struct cli_command *const commands[] = {&command_run,     &command_lint,    &command_plan,
                                                     &command_submit,  &command_get,     &command_watch,
                                                     &command_logs,    &command_stop,    &command_suspend,
                                                     &command_resume,  &command_restart, &command_approve,
                                                     &command_compare, &command_models,  NULL};

const struct cli_command command_trainyard = {
    .name = "trainyard",
    .summary = "training pipelines: check them, run them here or in a cluster, look at runs and models",
    .description =
        "A pipeline is a TrainingPipeline manifest. `trainyard run` carries it out on this machine with the planner and the stage programs that a cluster uses; "
        "artifacts go to the store that the manifest or --store names, and equal steps are not done twice. `trainyard submit` gives it to the operator in a Kubernetes cluster; "
        "get, logs, restart and compare know runs of both, watch, stop, suspend, resume and approve those of a cluster. Installed as kubectl-trainyard this program is the plugin "
        "`kubectl trainyard`.\n\n"
        "Exit codes: 0 done; 1 the run failed; 64 wrong usage; 65 bad data; 66 something named does not exist; 69 a service is unavailable; 70 internal error; "
        "74 input/output error; 75 try again; 78 the manifest or the configuration is wrong; 130 the run was stopped.",
    .commands = commands,
};

int command_print(const struct buf *text, struct err *err)
{
    if (fwrite(buf_str(text), 1, text->len, stdout) != text->len || fflush(stdout) != 0)
        return err_errno(err, errno, "cannot write to standard output");
    return 0;
}

int command_print_json(const cJSON *value, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RUN_RECORD_BYTES * 4);
    (void)json_pretty(value, &text);
    return buf_check(&text, "the answer", err) < 0 ? -1 : command_print(&text, err);
}

const char *command_user(void)
{
    static const char *const names[] = {"USER", "LOGNAME", NULL};
    for (const char *const *n = names; *n; n++) {
        const char *v = getenv(*n);
        if (v && *v)
            return v;
    }
    const struct passwd *pw = getpwuid(getuid());
    return pw ? pw->pw_name : "unknown";
}

/* --- manifests ---------------------------------------------------------------------------------------- */

void manifest_release(struct manifest *m)
{
    free(m->name);
    free(m->text);
    pipeline_free(m->pipeline);
    *m = (struct manifest){0};
}

bool manifest_is_file(const char *argument)
{
    struct stat st;
    return strcmp(argument, "-") == 0 || text_ends_with(argument, ".yaml") ||
           text_ends_with(argument, ".yml") || text_ends_with(argument, ".json") ||
           (stat(argument, &st) == 0 && !S_ISDIR(st.st_mode));
}

static int read_stdin(char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_MANIFEST_FILE_BYTES);
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stdin)) > 0)
        (void)buf_add(&text, part, n);
    if (ferror(stdin))
        return err_errno(err, errno, "cannot read standard input");
    if (buf_check(&text, "standard input", err) < 0)
        return -1;
    *ret_len = text.len;
    *ret = buf_take(&text);
    return 0;
}

int manifest_read(const char *path, struct manifest *ret, struct err *err)
{
    struct manifest m = {0};
    bool piped = strcmp(path, "-") == 0;
    if ((piped ? read_stdin(&m.text, &m.len, err)
               : fs_read_file(path, LIMIT_MANIFEST_FILE_BYTES, &m.text, &m.len, err)) < 0) {
        if (err->class_ == ERR_NOTFOUND)
            err->exit_code = EXITCODE_NOINPUT;
        return -1;
    }
    m.name = xstrdup(piped ? "standard input" : path);
    *ret = m;
    return 0;
}

void manifest_print_findings(const char *name, const struct findings *f, bool errors_only)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *item = &f->items[i];
        if (item->warning && errors_only)
            continue;
        (void)fprintf(stderr, "%s:", name);
        if (item->line > 0)
            (void)fprintf(stderr, "%d:", item->line);
        (void)fprintf(stderr, " %s%s%s%s\n", item->warning ? "warning: " : "", item->path ? item->path : "",
                      item->path && *item->path ? ": " : "", item->message);
    }
}

int manifest_finish(const struct manifest *m, struct findings *findings, int r, struct err *err)
{
    manifest_print_findings(m->name, findings, false);
    size_t errors = 0;
    for (size_t i = 0; i < findings->n; i++)
        errors += !findings->items[i].warning;
    findings_release(findings);
    if (r < 0 && errors > 0) { /* they were printed just now: say only what follows from them */
        err_clear(err);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "%s has %zu error%s, listed above; nothing was done", m->name, errors,
                        errors == 1 ? "" : "s");
    }
    return r < 0 ? -1 : 0;
}

int manifest_decode(struct manifest *m, struct err *err)
{
    struct findings findings = {0};
    int r = pipeline_decode_yaml(m->text, m->len, m->name, &m->pipeline, &findings, err);
    return manifest_finish(m, &findings, r, err);
}

int manifest_load(const char *path, struct manifest *ret, struct err *err)
{
    _cleanup_manifest_ struct manifest m = {0};
    if (manifest_read(path, &m, err) < 0 || manifest_decode(&m, err) < 0)
        return -1;
    *ret = m;
    m = (struct manifest){0};
    return 0;
}

/* --- parameters ---------------------------------------------------------------------------------------- */

void command_free_params(struct run_param *params, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(params[i].name);
        free(params[i].value);
    }
    free(params);
}

int command_parse_params(const struct cli_list *items, struct run_param **ret, struct err *err)
{
    struct run_param *params = xcalloc(items->n + 1, sizeof *params);
    for (size_t i = 0; i < items->n; i++) {
        const char *equals = strchr(items->items[i], '=');
        if (!equals || equals == items->items[i]) {
            command_free_params(params, i);
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "--param %s: expected NAME=VALUE",
                            items->items[i]);
        }
        params[i].name = xstrndup(items->items[i], (size_t)(equals - items->items[i]));
        params[i].value = xstrdup(equals + 1);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(params[k].name, params[i].name) != 0)
                continue;
            (void)err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "--param %s is given twice",
                           params[i].name);
            command_free_params(params, i + 1);
            return -1;
        }
    }
    *ret = params;
    return 0;
}

int command_run_inputs(const char *scheduled_time, const struct cli_list *params, int64_t now_ms,
                       struct run_spec *spec, struct err *err)
{
    spec->created_ms = spec->scheduled_ms = now_ms;
    if (scheduled_time && clock_parse_rfc3339(scheduled_time, &spec->scheduled_ms, err) < 0) {
        err->exit_code = EXITCODE_USAGE;
        return err_wrap(err, "--scheduled-time");
    }
    if (command_parse_params(params, &spec->params, err) < 0)
        return -1;
    spec->n_params = params->n;
    return 0;
}

/* --- the end of a run ------------------------------------------------------------------------------------ */

int command_say_end(const struct record *r, struct store *store, bool json, const char *hint, struct err *err)
{
    _cleanup_json_ cJSON *run = describe_run(r, store);
    _cleanup_buf_ struct buf text = BUF_INIT(4 << 20);
    struct ui_style style = ui_style_of(stdout);
    if (json)
        return command_print_json(run, err);
    (void)buf_addc(&text, '\n');
    describe_summary(run, &style, &text);
    if (command_print(&text, err) < 0)
        return -1;
    if (r->status.phase != PHASE_FAILED && r->status.phase != PHASE_STOPPED)
        return 0;
    buf_reset(&text);
    (void)buf_addc(&text, '\n');
    describe_failure(r, run, hint, &text);
    (void)fputs(buf_str(&text), stderr);
    return 0;
}

int command_exit_code(const struct record *r)
{
    if (r->status.phase == PHASE_SUCCEEDED)
        return EXITCODE_OK;
    return r->status.phase == PHASE_STOPPED && r->spec.stop != RUN_STOP_NONE ? EXIT_RUN_STOPPED
                                                                             : EXIT_RUN_FAILED;
}
