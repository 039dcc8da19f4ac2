/* stage_main() against a file:// store: every case runs the stage in a process of its own, as a planner would. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/runtime/stage.h"
#include "tests/unit/unit.h"

/* --- the stages under test ------------------------------------------------------------------------- */

static void write_text(const char *dir, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, name);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
}

/* One more line in the file that counts how often work() really ran. */
static void count_work(const char *path)
{
    if (!path)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, "x", 1) != 1)
        abort();
    (void)close(fd);
}

static int make_work(struct stage_run *run, struct err *err)
{
    const cJSON *c = stage_config(run);
    const char *text, *mode, *count;
    int64_t sleep_ms;
    if (json_get_string_or(c, NULL, "text", "hello", &text, err) < 0 ||
        json_get_string_or(c, NULL, "mode", "", &mode, err) < 0 ||
        json_get_int_or(c, NULL, "sleep", 0, &sleep_ms, err) < 0 ||
        json_get_string_or(c, NULL, "count", NULL, &count, err) < 0)
        return -1;
    if (text_equal(mode, "memo")) {
        bool hit;
        _cleanup_json_ cJSON *resolved = json_object();
        json_add_string(resolved, "etag", text);
        if (stage_memo_lookup(run, resolved, &hit, err) < 0)
            return -1;
        if (hit)
            return 0;
    }
    count_work(count);
    for (int64_t waited = 0; waited < sleep_ms; waited += 10) {
        if (stage_stopping(run))
            return stage_stopped(run, err);
        clock_system.sleep_ms(clock_system.ctx, 10);
    }
    write_text(stage_output(run, "made"), "a.txt", text);
    stage_value_int(run, "rows", 3);
    stage_value_string(run, "text", text);
    stage_progress(run, 0.5, "half way", NULL);
    if (text_equal(mode, "fail")) {
        stage_keep_on_failure(run, "made");
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-rows", "column a: expected no NULL, found 3");
    }
    for (int i = 0; text_equal(mode, "large") && i < 60; i++) {
        _cleanup_free_ char *name = xasprintf("value_%d", i);
        stage_value_string(run, name, "0123456789012345678901234567890123456789");
    }
    return 0;
}

static const struct stage_output make_outputs[] = {{"made", "text", NULL}, {NULL, NULL, NULL}};
static const char *const no_inputs[] = {NULL};
static struct {
    int64_t extra;
} make_options;
static const struct cli_option make_table[] = {
    {.name = "extra", .kind = CLI_INT, .metavar = "N", .offset = 0, .help = "A stage's own option."},
    CLI_END,
};
static const struct stage make = {.name = "make",
                                  .summary = "makes a text",
                                  .algorithm_version = "1",
                                  .inputs = no_inputs,
                                  .outputs = make_outputs,
                                  .looks_outside = true,
                                  .options = make_table,
                                  .option_values = &make_options,
                                  .work = make_work};

static int take_work(struct stage_run *run, struct err *err)
{
    const char *dir = stage_input(run, "text");
    _cleanup_free_ char *path = fs_join(dir, "a.txt");
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (fs_read_file(path, 1000, &text, &len, err) < 0)
        return -1;
    write_text(stage_output(run, "copy"), "b.txt", text);
    stage_value_bool(run, "optional", stage_input(run, "more") != NULL);
    const struct stage_world *w = stage_world(run);
    stage_value_int(run, "size", w->size);
    return 0;
}

static const struct stage_output take_outputs[] = {{"copy", "text", NULL}, {NULL, NULL, NULL}};
static const char *const take_inputs[] = {"text", "more?", NULL};
static const struct stage take = {.name = "take",
                                  .summary = "takes a text",
                                  .algorithm_version = "1",
                                  .inputs = take_inputs,
                                  .outputs = take_outputs,
                                  .work = take_work};

/* Writes down what it is told: checkpoints' places, a secret's path, its own option. */
static int probe_work(struct stage_run *run, struct err *err)
{
    const char *mode, *previous = stage_previous_checkpoint_prefix(run);
    if (json_get_string_or(stage_config(run), NULL, "mode", "", &mode, err) < 0)
        return -1;
    stage_value_string(run, "checkpoints", stage_checkpoint_prefix(run));
    stage_value_string(run, "previous", previous ? previous : "none");
    _cleanup_free_ char *path = NULL;
    if (text_equal(mode, "secret") && stage_secret_path(run, "model-signing", "key.pem", &path, err) < 0)
        return -1;
    if (path)
        stage_value_string(run, "secret", path);
    struct store *registry;
    if (stage_registry(run, &registry, err) < 0)
        return -1;
    stage_value_string(run, "registry", store_url(registry));
    if (text_equal(mode, "fail"))
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "probe", "failed as asked, previous %s",
                        previous ? previous : "none");
    return 0;
}

static const struct stage_output probe_outputs[] = {{NULL, NULL, NULL}};
static const struct stage probe = {.name = "probe",
                                   .summary = "probes",
                                   .algorithm_version = "1",
                                   .inputs = no_inputs,
                                   .outputs = probe_outputs,
                                   .work = probe_work};

/* --- running them ------------------------------------------------------------------------------------ */

struct fixture {
    char *dir, *store, *config, *result, *inputs, *count;
};

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    assert_ok(fs_make_temp_dir("/tmp", "stage-test", &f->dir, &err), &err);
    f->store = xasprintf("file://%s/store", f->dir);
    f->config = fs_join(f->dir, "config.json");
    f->result = fs_join(f->dir, "result.json");
    f->inputs = fs_join(f->dir, "inputs.json");
    f->count = fs_join(f->dir, "count");
    write_text(f->dir, "config.json", "{}");
    write_text(f->dir, "inputs.json", "{}");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = *state;
    assert_ok(fs_remove_tree(f->dir, &err), &err);
    free(f->dir);
    free(f->store);
    free(f->config);
    free(f->result);
    free(f->inputs);
    free(f->count);
    free(f);
    return 0;
}

/* Extra environment: NAME=VALUE texts, NULL-terminated. */
static pid_t start(const struct fixture *f, const struct stage *stage, const char *uid, const char *attempt,
                   const char *const *extra)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    const char *const pairs[][2] = {
        {ENV_RUN, uid},
        {ENV_RUN_UID, uid},
        {ENV_STEP, stage->name},
        {ENV_ATTEMPT, attempt},
        {ENV_STORE, f->store},
        {ENV_CONFIG, f->config},
        {ENV_INPUTS, f->inputs},
        {ENV_RESULT, f->result},
        {ENV_SCRATCH, f->dir},
        {ENV_SCHEDULED_TIME, "2026-01-31T02:00:00Z"},
        {"TRAINYARD_LOG_LEVEL", "warn"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
        (void)setenv(pairs[i][0], pairs[i][1], 1);
    for (size_t i = 0; extra && extra[i]; i++) {
        char *name = xstrdup(extra[i]), *eq = strchr(name, '=');
        *eq = '\0';
        (void)setenv(name, eq + 1, 1);
        free(name);
    }
    char *argv[] = {(char *)stage->name, NULL};
    int code = stage_main(stage, 1, argv);
    exit(code); /* not _exit(): leaks are looked for there */
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("the stage was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static int run_stage(const struct fixture *f, const struct stage *stage, const char *uid, const char *attempt,
                     const char *const *extra)
{
    return wait_for(start(f, stage, uid, attempt, extra));
}

static cJSON *read_json(const char *path)
{
    struct err err = ERR_INIT;
    cJSON *o = NULL;
    assert_ok(json_parse_file(path, LIMIT_RESULT_OBJECT_BYTES, &o, &err), &err);
    return o;
}

static const char *at(const cJSON *o, const char *a, const char *b)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, a), b);
    return cJSON_IsString(v) ? v->valuestring : "";
}

static size_t work_count(const struct fixture *f)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    return fs_exists(f->count) && fs_read_file(f->count, 1000, &text, &len, &err) == 0 ? len : 0;
}

static void set_config(const struct fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void set_config(const struct fixture *f, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    write_text(f->dir, "config.json", text);
}

static bool store_has(const struct fixture *f, const char *key)
{
    _cleanup_free_ char *path = xasprintf("%s/store/%s", f->dir, key);
    return fs_exists(path);
}

/* The scratch directory a stage makes must be gone: only our own files remain. */
static void expect_clean(const struct fixture *f)
{
    _cleanup_dir_ DIR *d = opendir(f->dir);
    for (struct dirent *e; (e = readdir(d));) {
        if (text_starts_with(e->d_name, "make-") || text_starts_with(e->d_name, "take-"))
            fail_msg("%s is left behind", e->d_name);
    }
}

/* --- cases -------------------------------------------------------------------------------------------- */

static void test_commit_then_a_second_attempt_adopts(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"count\": \"%s\"}", f->count);
    assert_int_equal(run_stage(f, &make, "u1", "1", NULL), 0);
    _cleanup_json_ cJSON *first = read_json(f->result);
    assert_true(digest_valid(at(first, "outputs", "made")));
    assert_string_equal(at(first, "values", "text"), "hello");
    assert_true(store_has(f, "runs/u1/make/g0/result.json"));
    assert_true(store_has(f, "runs/u1/make/g0/logs/a1.jsonl"));
    assert_true(store_has(f, "runs/u1/make/g0/provenance"));
    expect_clean(f);
    assert_int_equal(run_stage(f, &make, "u1", "2", NULL), 0);
    _cleanup_json_ cJSON *second = read_json(f->result);
    assert_true(cJSON_Compare(first, second, true));
    assert_int_equal(work_count(f), 1);
}

static void test_racing_attempts_agree(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"sleep\": 50}");
    pid_t pids[6];
    char results[6][300];
    for (int i = 0; i < 6; i++) {
        char attempt[16];
        (void)snprintf(attempt, sizeof attempt, "%d", i);
        (void)snprintf(results[i], sizeof results[i], "%s/result-%d", f->dir, i);
        _cleanup_free_ char *env = xasprintf(ENV_RESULT "=%s", results[i]);
        pids[i] = start(f, &make, "race", attempt, (const char *const[]){env, NULL});
    }
    for (int i = 0; i < 6; i++)
        assert_int_equal(wait_for(pids[i]), 0);
    _cleanup_json_ cJSON *first = read_json(results[0]);
    for (int i = 1; i < 6; i++) {
        _cleanup_json_ cJSON *other = read_json(results[i]);
        assert_true(cJSON_Compare(first, other, true));
    }
}

static void inputs_for(const struct fixture *f, const char *digest, const char *uid, const char *step)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "{\"text\": {\"digest\": \"%s\", \"run\": \"%s\", \"step\": \"%s\", \"restart\": 0}}",
                   digest, uid, step);
    write_text(f->dir, "inputs.json", text);
}

static void test_inputs_are_found_verified_and_missed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run_stage(f, &make, "u1", "1", NULL), 0);
    _cleanup_json_ cJSON *made = read_json(f->result);
    inputs_for(f, at(made, "outputs", "made"), "u1", "make");
    assert_int_equal(run_stage(f, &take, "u1", "1", NULL), 0);
    _cleanup_json_ cJSON *taken = read_json(f->result);
    assert_true(digest_valid(at(taken, "outputs", "copy")));

    /* The producer's file is altered: its consumer must ask for the producer again. */
    _cleanup_json_ cJSON *commit = NULL;
    struct err err = ERR_INIT;
    _cleanup_free_ char *commit_path = xasprintf("%s/store/runs/u1/make/g0/result.json", f->dir);
    assert_ok(json_parse_file(commit_path, 10000, &commit, &err), &err);
    _cleanup_free_ char *made_dir = xasprintf("%s/store/runs/u1/make/g0/%s/made", f->dir,
                                              cJSON_GetObjectItem(commit, "folder")->valuestring);
    write_text(made_dir, "a.txt", "HELLO");
    assert_int_equal(run_stage(f, &take, "u2", "1", NULL), EXITCODE_NOINPUT);
    _cleanup_json_ cJSON *altered = read_json(f->result);
    assert_string_equal(at(altered, "error", "reason"), REASON_ARTIFACT_MISSING);
    assert_string_equal(at(altered, "error", "class"), "user");
    assert_non_null(strstr(at(altered, "error", "message"), "step make of run u1"));

    inputs_for(f, at(made, "outputs", "made"), "u9", "make");
    assert_int_equal(run_stage(f, &take, "u3", "1", NULL), EXITCODE_NOINPUT);
    write_text(f->dir, "inputs.json", "{}");
    assert_int_equal(run_stage(f, &take, "u4", "1", NULL), EXITCODE_USAGE);
    write_text(f->dir, "inputs.json", "{\"other\": {}}");
    assert_int_equal(run_stage(f, &take, "u5", "1", NULL), EXITCODE_USAGE);
    inputs_for(f, at(made, "outputs", "made"), "../u1", "make");
    assert_int_equal(run_stage(f, &take, "u6", "1", NULL), EXITCODE_USAGE);
}

static void test_failure_keeps_log_and_report(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"mode\": \"fail\"}");
    assert_int_equal(run_stage(f, &make, "u1", "3", NULL), EXITCODE_DATA);
    _cleanup_json_ cJSON *r = read_json(f->result);
    assert_string_equal(at(r, "error", "reason"), "bad-rows");
    assert_string_equal(at(r, "error", "message"), "column a: expected no NULL, found 3");
    assert_true(store_has(f, "runs/u1/make/g0/logs/a3.jsonl"));
    assert_true(store_has(f, "runs/u1/make/g0/logs/a3-made/a.txt"));
    assert_false(store_has(f, "runs/u1/make/g0/result.json"));
    expect_clean(f);
}

static void test_memo(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"mode\": \"memo\", \"text\": \"one\", \"count\": \"%s\"}", f->count);
    assert_int_equal(run_stage(f, &make, "u1", "1", NULL), 0);
    _cleanup_json_ cJSON *first = read_json(f->result);
    assert_int_equal(run_stage(f, &make, "u2", "1", NULL), 0);
    _cleanup_json_ cJSON *second = read_json(f->result);
    assert_int_equal(work_count(f), 1);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(second, "cached")));
    assert_string_equal(at(first, "outputs", "made"), at(second, "outputs", "made"));
    assert_string_equal(at(second, "values", "text"), "one");

    /* What it republished stands by itself: the first run may be collected. */
    struct err err = ERR_INIT;
    _cleanup_free_ char *runs = xasprintf("%s/store/runs/u1", f->dir);
    assert_ok(fs_remove_tree(runs, &err), &err);
    inputs_for(f, at(second, "outputs", "made"), "u2", "make");
    set_config(f, "{}");
    assert_int_equal(run_stage(f, &take, "u2", "1", NULL), 0);
    write_text(f->dir, "inputs.json", "{}");

    /* The memo points to what is gone: the work is done again. Another config is another memo. */
    set_config(f, "{\"mode\": \"memo\", \"text\": \"one\", \"count\": \"%s\"}", f->count);
    assert_int_equal(run_stage(f, &make, "u3", "1", NULL), 0);
    assert_int_equal(work_count(f), 2);
    assert_int_equal(run_stage(f, &make, "u4", "1", NULL), 0);
    assert_int_equal(work_count(f), 2);
    set_config(f, "{\"mode\": \"memo\", \"text\": \"two\", \"count\": \"%s\"}", f->count);
    assert_int_equal(run_stage(f, &make, "u5", "1", NULL), 0);
    assert_int_equal(work_count(f), 3);
}

static void test_sigterm(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"sleep\": 20000, \"count\": \"%s\"}", f->count);
    pid_t pid = start(f, &make, "u1", "1", NULL);
    for (int i = 0; i < 500 && work_count(f) == 0; i++)
        clock_system.sleep_ms(clock_system.ctx, 10);
    assert_int_equal(work_count(f), 1);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(wait_for(pid), EXITCODE_TEMPFAIL);
    _cleanup_json_ cJSON *r = read_json(f->result);
    assert_string_equal(at(r, "error", "reason"), "stopped");
    assert_string_equal(at(r, "error", "class"), "infrastructure");
    expect_clean(f);
}

static void test_wrong_parent(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run_stage(f, &make, "u1", "1", (const char *const[]){ENV_PARENT_PID "=1", NULL}),
                     EXITCODE_TEMPFAIL);
    _cleanup_json_ cJSON *r = read_json(f->result);
    assert_string_equal(at(r, "error", "reason"), "orphaned");
    char parent[64];
    (void)snprintf(parent, sizeof parent, ENV_PARENT_PID "=%d", (int)getpid());
    assert_int_equal(run_stage(f, &make, "u1", "2", (const char *const[]){parent, NULL}), 0);
}

static void test_values_too_large(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"mode\": \"large\"}");
    assert_int_equal(run_stage(f, &make, "u1", "1", NULL), EXITCODE_DATA);
    _cleanup_json_ cJSON *r = read_json(f->result);
    assert_string_equal(at(r, "error", "reason"), REASON_RESULT_TOO_LARGE);
    assert_false(store_has(f, "runs/u1/make/g0/result.json"));
}

static void test_other_ranks_say_nothing(void **state)
{
    struct fixture *f = *state;
    static const char key[] =
        ENV_RENDEZVOUS_KEY "=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    assert_int_equal(run_stage(f, &make, "u1", "1",
                               (const char *const[]){"RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.2",
                                                     "MASTER_PORT=2000", key, NULL}),
                     0);
    _cleanup_json_ cJSON *r = read_json(f->result);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(r, "outputs")), 0);
    assert_false(store_has(f, "runs/u1/make/g0/result.json"));
    assert_true(store_has(f, "runs/u1/make/g0/logs/a1-r1.jsonl"));
    /* Half a world is a usage error, not a guess. */
    assert_int_equal(run_stage(f, &make, "u2", "1", (const char *const[]){"RANK=2", "WORLD_SIZE=2", NULL}),
                     EXITCODE_USAGE);
    assert_int_equal(run_stage(f, &make, "u2", "1",
                               (const char *const[]){"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=x",
                                                     "MASTER_PORT=1", NULL}),
                     EXITCODE_USAGE);
}

static void test_bad_environment(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run_stage(f, &make, "u1", "x", NULL), EXITCODE_USAGE);
    assert_int_equal(run_stage(f, &make, "a/b", "1", NULL), EXITCODE_USAGE);
    assert_int_equal(run_stage(f, &make, "..", "1", NULL), EXITCODE_USAGE);
    assert_int_equal(run_stage(f, &make, "u1", "1", (const char *const[]){ENV_STORE "=ftp://x/y", NULL}),
                     EXITCODE_CONFIG);
    set_config(f, "[1]");
    assert_int_equal(run_stage(f, &make, "u1", "1", NULL), EXITCODE_CONFIG);
    set_config(f, "{\"text\": ");
    assert_int_equal(run_stage(f, &make, "u1", "1", NULL), EXITCODE_CONFIG);
    _cleanup_json_ cJSON *r = read_json(f->result);
    assert_non_null(strstr(at(r, "error", "message"), "config.json"));
}

static int by_hand(const struct fixture *f, const struct stage *stage, char **arguments)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setenv("TMPDIR", f->dir, 1);
        int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(fd, STDOUT_FILENO);
        int n = 0;
        while (arguments[n])
            n++;
        int code = stage_main(stage, n, arguments);
        exit(code);
    }
    return wait_for(pid);
}

static void test_by_hand(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *out = fs_join(f->dir, "out"), *made = fs_join(out, "made"),
                        *manifest = fs_join(made, "manifest.json");
    assert_int_equal(by_hand(f, &make,
                             (char *[]){"make", "--config", f->config, "--output", out, "--extra", "7",
                                        "--log-level", "warn", NULL}),
                     0);
    assert_true(fs_exists(manifest));
    _cleanup_free_ char *input = xasprintf("text=%s", made), *out2 = fs_join(f->dir, "out2"),
                        *copied = fs_join(out2, "copy/b.txt");
    assert_int_equal(by_hand(f, &take,
                             (char *[]){"take", "--config", f->config, "--output", out2, "--input", input,
                                        "--log-level", "warn", NULL}),
                     0);
    assert_true(fs_exists(copied));
    /* The input describes itself: an altered file is found. */
    write_text(made, "a.txt", "altered");
    assert_int_equal(by_hand(f, &take,
                             (char *[]){"take", "--config", f->config, "--output", out2, "--input", input,
                                        NULL}),
                     EXITCODE_NOINPUT);
    assert_int_equal(by_hand(f, &take, (char *[]){"take", "--config", f->config, "--output", out2, NULL}),
                     EXITCODE_USAGE);
    assert_int_equal(by_hand(f, &make, (char *[]){"make", "--config", f->config, NULL}), EXITCODE_USAGE);
    assert_int_equal(by_hand(f, &make, (char *[]){"make", "--confg", f->config, NULL}), EXITCODE_USAGE);
    assert_int_equal(by_hand(f, &make, (char *[]){"make", "--help", NULL}), 0);
    expect_clean(f);
}

static void test_progress_file(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *url = xasprintf(ENV_PROGRESS_URL "=file://%s/progress.json", f->dir);
    assert_int_equal(run_stage(f, &make, "u1", "1", (const char *const[]){url, NULL}), 0);
    _cleanup_free_ char *path = fs_join(f->dir, "progress.json");
    _cleanup_json_ cJSON *o = read_json(path);
    assert_true(cJSON_GetObjectItem(o, "fraction")->valuedouble == 0.5);
    assert_string_equal(cJSON_GetObjectItem(o, "message")->valuestring, "half way");
}

static void test_checkpoints_of_an_earlier_restart(void **state)
{
    struct fixture *f = *state;
    set_config(f, "{\"mode\": \"fail\"}");
    assert_int_equal(run_stage(f, &probe, "u1", "1", NULL), EXITCODE_SOFTWARE);
    /* The same work failed before: its checkpoints are the place to go on from, also two restarts later. */
    assert_int_equal(run_stage(f, &probe, "u1", "2", (const char *const[]){ENV_RESTART "=1", NULL}),
                     EXITCODE_SOFTWARE);
    _cleanup_json_ cJSON *failed = read_json(f->result);
    assert_string_equal(at(failed, "error", "message"),
                        "failed as asked, previous runs/u1/probe/g0/checkpoints");
    assert_int_equal(run_stage(f, &probe, "u1", "3", (const char *const[]){ENV_RESTART "=3", NULL}),
                     EXITCODE_SOFTWARE);
    _cleanup_json_ cJSON *later = read_json(f->result);
    assert_string_equal(at(later, "error", "message"),
                        "failed as asked, previous runs/u1/probe/g1/checkpoints");
    /* Another config starts anew; so does what has succeeded. */
    set_config(f, "{}");
    assert_int_equal(run_stage(f, &probe, "u1", "4", (const char *const[]){ENV_RESTART "=4", NULL}), 0);
    _cleanup_json_ cJSON *other = read_json(f->result);
    assert_string_equal(at(other, "values", "previous"), "none");
    assert_string_equal(at(other, "values", "checkpoints"), "runs/u1/probe/g4/checkpoints");
    assert_int_equal(run_stage(f, &probe, "u1", "5", (const char *const[]){ENV_RESTART "=5", NULL}), 0);
    _cleanup_json_ cJSON *after = read_json(f->result);
    assert_string_equal(at(after, "values", "previous"), "none");
}

static void test_secrets_and_registry(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    set_config(f, "{\"mode\": \"secret\"}");
    _cleanup_free_ char *secrets = fs_join(f->dir, "secrets"), *secret = fs_join(secrets, "model-signing");
    _cleanup_free_ char *variable = xasprintf(ENV_SECRETS "=%s", secrets);
    assert_int_equal(run_stage(f, &probe, "u1", "1", (const char *const[]){variable, NULL}), EXITCODE_CONFIG);
    _cleanup_json_ cJSON *missing = read_json(f->result);
    assert_non_null(
        strstr(at(missing, "error", "message"), "Secret model-signing with the key key.pem is not there"));
    assert_ok(fs_mkdir_p(secret, &err), &err);
    write_text(secret, "key.pem", "key");
    _cleanup_free_ char *registry = xasprintf(ENV_REGISTRY "=file://%s/models", f->dir);
    assert_int_equal(run_stage(f, &probe, "u1", "2", (const char *const[]){variable, registry, NULL}), 0);
    _cleanup_json_ cJSON *found = read_json(f->result);
    _cleanup_free_ char *path = fs_join(secret, "key.pem");
    assert_string_equal(at(found, "values", "secret"), path);
    assert_string_equal(at(found, "values", "registry"), registry + strlen(ENV_REGISTRY "="));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_commit_then_a_second_attempt_adopts),
        CASE(test_racing_attempts_agree),
        CASE(test_inputs_are_found_verified_and_missed),
        CASE(test_failure_keeps_log_and_report),
        CASE(test_memo),
        CASE(test_sigterm),
        CASE(test_wrong_parent),
        CASE(test_values_too_large),
        CASE(test_other_ranks_say_nothing),
        CASE(test_bad_environment),
        CASE(test_by_hand),
        CASE(test_progress_file),
        CASE(test_checkpoints_of_an_earlier_restart),
        CASE(test_secrets_and_registry),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
