/* Option tables: parsing, fall-backs, errors with suggestions, and the three renderings. */
#include <stdlib.h>
#include <unistd.h>

#include "common/base/cli.h"
#include "tests/unit/unit.h"

struct values {
    const char *store, *device;
    int64_t workers, timeout_ms, memory;
    double rate;
    bool follow, color;
    struct cli_list set;
};

static const char *const devices[] = {"cpu", "cuda", NULL};
static const struct cli_option options[] = {
    {.name = "store",
     .short_name = 's',
     .kind = CLI_STRING,
     .metavar = "URI",
     .offset = offsetof(struct values, store),
     .env = "TEST_CLI_STORE",
     .help = "Where artifacts live."},
    {.name = "device",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = offsetof(struct values, device),
     .fallback = "cpu",
     .choices = devices,
     .help = "Where to train."},
    {.name = "workers",
     .short_name = 'w',
     .kind = CLI_INT,
     .metavar = "N",
     .offset = offsetof(struct values, workers),
     .fallback = "2",
     .env = "TEST_CLI_WORKERS",
     .min = 1,
     .max = 8,
     .help = "Processes."},
    {.name = "timeout",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = offsetof(struct values, timeout_ms),
     .min = 1000,
     .max = 3600000,
     .help = "Give up after this."},
    {.name = "memory",
     .kind = CLI_BYTES,
     .metavar = "SIZE",
     .offset = offsetof(struct values, memory),
     .help = "Bound."},
    {.name = "rate",
     .kind = CLI_DOUBLE,
     .metavar = "X",
     .offset = offsetof(struct values, rate),
     .help = "Rate."},
    {.name = "follow",
     .short_name = 'f',
     .kind = CLI_FLAG,
     .offset = offsetof(struct values, follow),
     .help = "Go on."},
    {.name = "color",
     .short_name = 'c',
     .kind = CLI_FLAG,
     .offset = offsetof(struct values, color),
     .fallback = "true",
     .help = "Paint."},
    {.name = "set",
     .kind = CLI_LIST,
     .metavar = "KEY=VALUE",
     .offset = offsetof(struct values, set),
     .help = "A parameter."},
    CLI_END,
};

static int seen_argc;
static int run_it(const struct cli_command *cmd, int argc, char **argv)
{
    struct values v = {0};
    struct err err = ERR_INIT;
    int r = cli_parse(cmd, argc, argv, &v, &seen_argc, &err);
    cli_list_release(&v.set);
    return r < 0 ? cli_fail(cmd, &err) : 0;
}

static const struct cli_command run = {
    .name = "train run",
    .synopsis = "FILE [STEP…]",
    .summary = "Run a pipeline.",
    .description =
        "First paragraph, long enough that it has to be filled into more than one line of the help text.\n\n"
        "'Second paragraph.",
    .examples = "train run x.yaml\n.hidden",
    .options = options,
    .min_args = 1,
    .max_args = 2,
    .run = run_it,
};
static const struct cli_command list = {.name = "train models list", .summary = "List | all.", .run = run_it};
static const struct cli_command *const model_commands[] = {&list, NULL};
static const struct cli_command models = {.name = "train models",
                                          .summary = "Models.",
                                          .commands = model_commands};
static const struct cli_command *const commands[] = {&run, &models, NULL};
static const struct cli_command root = {.name = "train", .summary = "Trains.", .commands = commands};

enum { ARGS_MAX = 12 };
static int parse(const char *const *args, struct values *v, char **ret_argv, int *ret_argc, struct err *err)
{
    int argc = 0;
    for (; args[argc]; argc++)
        ret_argv[argc] = (char *)(uintptr_t)args[argc];
    *v = (struct values){.rate = 9};
    return cli_parse(&run, argc, ret_argv, v, ret_argc, err);
}

static void every_form_of_an_option(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct values v;
    char *argv[ARGS_MAX];
    int argc;
    const char *const long_forms[] =
        {"--store=s3://b", "file", "--workers", "4", "--time=90s", "--mem", "2Gi",
         "--rate",         "0.5",  "step",      NULL};
    assert_ok(parse(long_forms, &v, argv, &argc, &err), &err);
    assert_string_equal(v.store, "s3://b");
    assert_int_equal(v.workers, 4);
    assert_int_equal(v.timeout_ms, 90000);
    assert_int_equal(v.memory, 2147483648);
    assert_true(v.rate == 0.5);
    assert_string_equal(v.device, "cpu");
    assert_true(v.color);
    assert_int_equal(argc, 2);
    assert_string_equal(argv[0], "file");
    assert_string_equal(argv[1], "step");
    const char *const short_forms[] = {"-fw3", "-s", "x", "--no-color", "--", "--store", NULL};
    assert_ok(parse(short_forms, &v, argv, &argc, &err), &err);
    assert_true(v.follow);
    assert_false(v.color);
    assert_int_equal(v.workers, 3);
    assert_string_equal(v.store, "x");
    assert_true(v.rate == 9); /* no fall-back: what the struct held */
    assert_int_equal(argc, 1);
    assert_string_equal(argv[0], "--store");
    const char *const repeated[] = {"-", "--set", "a=1", "--set=b=2", "--follow", "--no-follow", NULL};
    assert_ok(parse(repeated, &v, argv, &argc, &err), &err);
    assert_int_equal(v.set.n, 2);
    assert_string_equal(v.set.items[1], "b=2");
    assert_false(v.follow);
    assert_string_equal(argv[0], "-");
    cli_list_release(&v.set);
    assert_int_equal(v.set.n, 0);
}

static void environment_stands_behind_the_command_line(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct values v;
    char *argv[ARGS_MAX];
    int argc;
    const char *const none[] = {"f", NULL}, *const given[] = {"f", "-w", "5", NULL};
    assert_int_equal(setenv("TEST_CLI_WORKERS", "7", 1), 0);
    assert_ok(parse(none, &v, argv, &argc, &err), &err);
    assert_int_equal(v.workers, 7);
    assert_ok(parse(given, &v, argv, &argc, &err), &err);
    assert_int_equal(v.workers, 5);
    assert_int_equal(setenv("TEST_CLI_WORKERS", "many", 1), 0);
    assert_ok(parse(given, &v, argv, &argc, &err), &err); /* not looked at */
    assert_fails(parse(none, &v, argv, &argc, &err), &err, ERR_INVALID,
                 "environment variable TEST_CLI_WORKERS: expected a whole number, found \"many\"");
    assert_int_equal(setenv("TEST_CLI_WORKERS", "", 1), 0);
    assert_ok(parse(none, &v, argv, &argc, &err), &err);
    assert_int_equal(v.workers, 2);
    assert_int_equal(unsetenv("TEST_CLI_WORKERS"), 0);
}

static void errors_name_the_option(void **state)
{
    (void)state;
    static const struct {
        const char *args[4];
        const char *message;
    } cases[] = {
        {{"f", "--wrokers", "1"}, "unknown option --wrokers; did you mean --workers?"},
        {{"f", "--xyzzy"}, "unknown option --xyzzy"},
        {{"f", "-x"}, "unknown option -x"},
        {{"f",
          "--"
          "s",
          "1"},
         "--s is ambiguous: it could be --store or --set"},
        {{"f", "--store"}, "--store needs a value: --store URI"},
        {{"f", "-s"}, "-s needs a value: -s URI"},
        {{"f", "--workers", "9"}, "--workers: expected at least 1 and at most 8, found 9"},
        {{"f", "--workers=x"}, "--workers: expected a whole number, found \"x\""},
        {{"f", "--timeout=2h"}, "--timeout: expected at least 1s and at most 1h, found 2h"},
        {{"f", "--device=cdua"},
         "--device: expected one of cpu, cuda, found \"cdua\"; did you mean \"cuda\"?"},
        {{"f", "--follow=maybe"}, "--follow: expected true or false"},
        {{"f", "--no-follow=true"}, "--no-follow takes no value"},
        {{"f", "--help=x"}, "--help takes no value"},
        {{NULL}, "missing argument: expected FILE [STEP…]"},
        {{"a", "b", "c"}, "unexpected argument \"c\": expected FILE [STEP…]"},
        {{"f", "--rate", "fast"}, "--rate: expected a number, found \"fast\""},
        {{"f", "--memory", "lots"}, "--memory: expected a quantity"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        struct values v;
        char *argv[ARGS_MAX];
        int argc;
        if (parse(cases[i].args, &v, argv, &argc, &err) >= 0)
            fail_msg("case %zu succeeded, expected \"%s\"", i, cases[i].message);
        assert_int_equal(err_exit_code(&err), EXITCODE_USAGE);
        assert_string_equal(err.reason, "usage");
        assert_contains(err.msg, cases[i].message);
        cli_list_release(&v.set);
    }
}

/* Runs `train args…` with output to files; the texts are at most 8 KiB. */
static int run_main(const char *const *args, char out[static 8192], char errors[static 8192])
{
    char *argv[ARGS_MAX] = {(char *)(uintptr_t) "train"};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    FILE *files[2] = {tmpfile(), tmpfile()};
    int saved[2];
    (void)fflush(stdout);
    for (int i = 0; i < 2; i++) {
        assert_non_null(files[i]);
        saved[i] = dup(i + 1);
        assert_true(dup2(fileno(files[i]), i + 1) >= 0);
    }
    int code = cli_main(&root, argc, argv);
    (void)fflush(stdout);
    (void)fflush(stderr);
    char *texts[2] = {out, errors};
    for (int i = 0; i < 2; i++) {
        assert_true(dup2(saved[i], i + 1) >= 0);
        (void)close(saved[i]);
        rewind(files[i]);
        texts[i][fread(texts[i], 1, 8191, files[i])] = '\0';
        (void)fclose(files[i]);
    }
    return code;
}

static void commands_are_dispatched(void **state)
{
    (void)state;
    static const struct {
        const char *args[4];
        int code;
        const char *out, *errors;
    } cases[] = {
        {{"run", "x"}, 0, "", ""},
        {{"models", "list"}, 0, "", ""},
        {{"--version"}, 0, "train ", ""},
        {{"run", "--version"}, 0, "train ", ""},
        {{"run", "--help"}, 0, "Usage: train run [OPTION…] FILE [STEP…]", ""},
        {{"help", "models", "list"}, 0, "Usage: train models list", ""},
        {{"help"}, 0, "  run     Run a pipeline.", ""},
        {{"--help-man"}, 0, ".TH \"TRAIN\" 1", ""},
        {{"models", "--help-markdown"}, 0, "# train models", ""},
        {{NULL}, 64, "", "train: a command is needed\nSee 'train --help'."},
        {{"rnu"}, 64, "", "train: unknown command \"rnu\"; did you mean \"run\"?"},
        {{"help", "nothing"}, 64, "", "train: unknown command \"nothing\""},
        {{"run"}, 64, "", "train run: missing argument: expected FILE [STEP…]\nSee 'train run --help'."},
        {{"models", "list", "x"},
         64,
         "",
         "train models list: unexpected argument \"x\": expected options only"},
        {{"--store", "x"}, 64, "", "train: unknown option --store"},
    };
    char out[8192], errors[8192];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int code = run_main(cases[i].args, out, errors);
        if (code != cases[i].code)
            fail_msg("case %zu: exit code %d, expected %d: %s", i, code, cases[i].code, errors);
        assert_contains(out, cases[i].out);
        assert_contains(errors, cases[i].errors);
    }
}

static void renderings_come_from_the_table(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf help = BUF_INIT(1 << 16), man = BUF_INIT(1 << 16), markdown = BUF_INIT(1 << 16);
    assert_int_equal(cli_help(&run, &help), 0);
    const char *text = buf_str(&help);
    assert_contains(text, "  -w, --workers N\n      Processes. Default: 2. Environment: TEST_CLI_WORKERS.\n");
    assert_contains(text, "  --device NAME\n      Where to train. One of cpu, cuda. Default: cpu.\n");
    assert_contains(text, "  -c, --[no-]color\n");
    assert_contains(text, "  --set KEY=VALUE\n      A parameter. May be repeated.\n");
    assert_contains(text, "\nExamples:\n  train run x.yaml\n  .hidden\n");
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        assert_in_range(n, 0, 84); /* 80 columns; "…" has three bytes */
        line += n + (line[n] == '\n');
    }
    assert_int_equal(cli_man(&run, &man), 0);
    text = buf_str(&man);
    assert_contains(text, ".TH \"TRAIN\\-RUN\" 1");
    assert_contains(text, "\n\\&'Second paragraph.\n");
    assert_contains(text, "\n\\&.hidden\n");
    assert_contains(text, "\\fB\\-w, \\-\\-workers N\\fR\n");
    assert_int_equal(cli_markdown(&root, &markdown), 0);
    text = buf_str(&markdown);
    assert_contains(text, "# train\n");
    assert_contains(text, "\n## train run\n");
    assert_contains(text, "\n### train models list\n");
    assert_contains(text, "List \\| all.");
    assert_contains(text,
                    "| `-w, --workers N` | Processes. Default: 2. Environment: TEST\\_CLI\\_WORKERS. |\n");
    _cleanup_buf_ struct buf tiny = BUF_INIT(10);
    assert_true(cli_help(&run, &tiny) < 0);
}

static void a_plugin_is_called_as_its_user_calls_it(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf help = BUF_INIT(64 << 10), markdown = BUF_INIT(64 << 10);
    assert_string_equal(cli_program("train"), "train");
    cli_set_program("tool train");
    _cleanup_free_ char *name = cli_called(&run);
    int helped = cli_help(&run, &help), rendered = cli_markdown(&run, &markdown);
    cli_set_program(NULL);
    assert_string_equal(name, "tool train run");
    assert_int_equal(helped, 0);
    assert_int_equal(rendered, 0);
    assert_contains(buf_str(&help), "Usage: tool train run ");
    assert_contains(buf_str(&help), "\nExamples:\n  tool train run x.yaml\n  .hidden\n");
    assert_contains(buf_str(&markdown), "# train run\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_option),
        cmocka_unit_test(environment_stands_behind_the_command_line),
        cmocka_unit_test(errors_name_the_option),
        cmocka_unit_test(commands_are_dispatched),
        cmocka_unit_test(renderings_come_from_the_table),
        cmocka_unit_test(a_plugin_is_called_as_its_user_calls_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
