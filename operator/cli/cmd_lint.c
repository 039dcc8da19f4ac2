/* trainyard lint: everything that is wrong with manifests, before anything runs. */
#include "common/base/json.h"
#include "common/base/tz.h"
#include "operator/cli/command.h"
#include "operator/pipeline/schedule.h"

struct options {
    bool json;
};

static const struct cli_option options[] = {
    {.name = "json",
     .kind = CLI_FLAG,
     .offset = offsetof(struct options, json),
     .help = "One JSON array of findings on standard output."},
    CLI_END,
};

/* A file that says so is a TrainingRun; everything else is checked as a TrainingPipeline, whose errors then name the kind. */
static bool is_run(const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, "kind:", 5) == 0)
            return strncmp(line + 5 + strspn(line + 5, " \"'"), "TrainingRun", strlen("TrainingRun")) == 0;
    }
    return false;
}

static void add_json(cJSON *all, const char *file, const struct findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        cJSON *o = json_object();
        json_add_string(o, "file", file);
        json_add_int(o, "line", f->items[i].line);
        json_add_string(o, "path", f->items[i].path ? f->items[i].path : "");
        json_add_string(o, "level", f->items[i].warning ? "warning" : "error");
        json_add_string(o, "message", f->items[i].message);
        json_append(all, o);
    }
}

/* Names are looked up in this machine's database: the planner has none. 0, or negative with a finding. */
static int check_zone(const struct pipeline *p, struct findings *findings)
{
    const cJSON *schedule = cJSON_GetObjectItemCaseSensitive(p->spec, "schedule"),
                *zone = cJSON_GetObjectItemCaseSensitive(schedule, "timeZone");
    _cleanup_tz_ struct tz *found = NULL;
    struct schedule ignored;
    struct err err = ERR_INIT, why = ERR_INIT;
    if (!cJSON_IsString(zone) || schedule_parse("@daily", zone->valuestring, &ignored, &err) == 0 ||
        tz_load(NULL, zone->valuestring, &found, &why) == 0)
        return 0;
    bool unknown = why.class_ == ERR_NOTFOUND;
    findings_add(findings, "spec.schedule.timeZone", 0, unknown, "%s%s", why.msg,
                 unknown ? "; the name is not checked here" : "");
    return unknown ? 0 : -1;
}

/* 0 or an exit code. */
static int lint_file(const char *path, bool json, cJSON *all, struct err *err)
{
    _cleanup_manifest_ struct manifest m = {0};
    struct findings findings = {0};
    struct run_spec spec = {0};
    struct err why = ERR_INIT;
    if (manifest_read(path, &m, err) < 0)
        return -1;
    int r;
    if (is_run(m.text)) {
        r = run_decode_yaml(m.text, m.len, m.name, &spec, &findings, &why);
        run_spec_release(&spec);
    } else {
        r = pipeline_decode_yaml(m.text, m.len, m.name, &m.pipeline, &findings, &why);
        if (r == 0)
            r = check_zone(m.pipeline, &findings);
    }
    if (r < 0 && findings.n == 0)
        findings_add(&findings, "", 0, false, "%s", why.msg);
    if (json)
        add_json(all, m.name, &findings);
    else
        manifest_print_findings(m.name, &findings, false);
    size_t warnings = 0;
    for (size_t i = 0; i < findings.n; i++)
        warnings += findings.items[i].warning;
    if (!json && r == 0)
        (void)printf("%s: valid", m.name);
    if (!json && r == 0 && warnings)
        (void)printf(", %zu warning%s", warnings, warnings == 1 ? "" : "s");
    if (!json && r == 0)
        (void)printf("\n");
    findings_release(&findings);
    return r == 0 ? EXITCODE_OK : EXITCODE_CONFIG;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n, code = EXITCODE_OK;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    _cleanup_json_ cJSON *all = json_array();
    for (int i = 0; i < n; i++) {
        int one = lint_file(argv[i], o.json, all, &err);
        if (one < 0)
            return cli_fail(cmd, &err);
        code = one ? one : code;
    }
    if (o.json && command_print_json(all, &err) < 0)
        return cli_fail(cmd, &err);
    return code;
}

const struct cli_command command_lint = {
    .name = "trainyard lint",
    .synopsis = "FILE…",
    .summary = "check manifests",
    .description =
        "Checks TrainingPipeline and TrainingRun files against the schema of the API, then what a schema cannot say: references, types, cycles, budgets. Every finding is a line: "
        "file:line: field path: what was expected and found, and what to do. Ends with 78 if there is an error; warnings alone are fine.",
    .examples = "trainyard lint pipeline.yaml\ntrainyard lint --json - < pipeline.yaml",
    .options = options,
    .min_args = 1,
    .max_args = 1000,
    .run = run,
};
