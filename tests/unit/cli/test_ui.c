/* What people see, as golden lines: frames of the live view, small formats, tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/cli/describe.h"
#include "operator/cli/ui.h"

#define EXPECT_LINES(found, ...) assert_string_equal(found, ((const char *)(__VA_ARGS__)))

/* A pipeline of five steps, built by hand: validate → features → train → evaluate → register. */
struct fixture {
    struct pipeline pipeline;
    struct step steps[5];
    struct step_input inputs[5];
    struct run_spec run;
    struct run_status status;
    uint8_t key[SHA256_LEN];
    struct progress *progress;
};

static int set_up(void **state)
{
    static const char *const names[] = {"validate", "features", "train", "evaluate", "register"};
    struct fixture *f = xcalloc(1, sizeof *f);
    f->pipeline.name = "ranker";
    f->pipeline.steps = f->steps;
    f->pipeline.n_steps = 5;
    f->run.name = (char *)"ranker-1";
    f->run.uid = (char *)"uid";
    run_status_init(&f->status);
    f->status.phase = PHASE_RUNNING;
    f->status.started_ms = 1000;
    f->status.n_steps = 5;
    f->status.steps = xcalloc(5, sizeof *f->status.steps);
    for (size_t i = 0; i < 5; i++) {
        f->steps[i].name = names[i];
        f->inputs[i].from = i ? i - 1 : 0;
        f->steps[i].inputs = &f->inputs[i];
        f->steps[i].n_inputs = i > 0;
        struct step_status *s = &f->status.steps[i];
        s->name = xstrdup(names[i]);
        s->state = STATE_WAITING;
        s->n_items = 1;
        s->items = xcalloc(1, sizeof *s->items);
        item_status_init(&s->items[0]);
    }
    f->progress = progress_new("uid", f->key);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    progress_free(f->progress);
    run_status_release(&f->status);
    free(f);
    return 0;
}

static void set_state(struct fixture *f, size_t step, enum step_state s)
{
    f->status.steps[step].state = s;
    f->status.steps[step].items[0].state = s;
}

static void set_ended(struct fixture *f, size_t step, enum step_state s, int64_t ms, cJSON *values)
{
    struct item_status *i = &f->status.steps[step].items[0];
    set_state(f, step, s);
    i->attempt = 1;
    i->started_ms = i->attempt_started_ms = 1000;
    i->finished_ms = 1000 + ms;
    i->values = values;
}

static char *frame(const struct fixture *f, unsigned width, unsigned height, bool unicode, bool color,
                   const char *notice)
{
    struct buf out = BUF_INIT(1 << 20);
    struct ui_style style = {.width = width, .height = height, .unicode = unicode, .color = color};
    ui_render(&(struct ui_view){&f->pipeline, &f->run, &f->status, f->progress, 43000, notice}, &style, &out);
    return buf_take(&out);
}

static void a_frame_shows_every_step(void **state)
{
    struct fixture *f = *state;
    cJSON *values = json_object();
    json_add_int(values, "rows", 1000000);
    json_add_double(values, "max_drift", 0.123456);
    set_ended(f, 0, STATE_SUCCEEDED, 3100, values);
    set_ended(f, 1, STATE_CACHED, 0, json_object());
    set_state(f, 2, STATE_RUNNING);
    f->status.steps[2].items[0].attempt = 2;
    f->status.steps[2].items[0].attempt_started_ms = 13000;
    struct progress_entry *e = progress_begin(f->progress, "train", 2, 0);
    e->fraction = 0.5;
    (void)snprintf(e->message, sizeof e->message, "epoch 2/3");
    e->metrics = json_object();
    json_add_double(e->metrics, "loss", 0.4);
    json_add_double(e->metrics, "training_throughput_samples_per_sec", 12345);
    _cleanup_free_ char *text = frame(f, 120, 24, true, false, NULL);
    EXPECT_LINES(
        text,
        "ranker-1  Running  42 s  2 of 5 steps\n"
        "  ✓ validate  succeeded  3.1 s  rows 1000000, max_drift 0.1235\n"
        "  ✓ features  cached     \n"
        "  ● train     [████████        ]  50 %  30 s  attempt 2  12.3k samples/s  ETA 30 s  epoch 2/3\n"
        "  · evaluate  waiting for train\n"
        "  · register  waiting for evaluate\n");
}

static void failures_and_retries_say_why(void **state)
{
    struct fixture *f = *state;
    set_ended(f, 0, STATE_FAILED, 61000, NULL);
    f->status.steps[0].items[0].message = xstrdup("column price: expected double, found string");
    set_state(f, 1, STATE_RETRYING);
    f->status.steps[1].items[0].attempt = 1;
    f->status.steps[1].items[0].retry_at_ms = 48000;
    f->status.steps[1].items[0].message = xstrdup("fell over");
    set_state(f, 2, STATE_AWAITING_APPROVAL);
    set_state(f, 3, STATE_SKIPPED);
    set_state(f, 4, STATE_STOPPED);
    _cleanup_free_ char *text = frame(f, 100, 24, false, false, "stopping");
    EXPECT_LINES(text, "ranker-1  Running  42 s  3 of 5 steps  stopping\n"
                       "  ! validate  failed     1:01  column price: expected double, found string\n"
                       "  ~ features  retrying  in 5.0 s  fell over\n"
                       "  ? train     awaits approval\n"
                       "  - evaluate  skipped  \n"
                       "  # register  stopped  \n");
}

static void lines_fit_the_terminal(void **state)
{
    struct fixture *f = *state;
    set_ended(f, 0, STATE_FAILED, 100, NULL);
    f->status.steps[0].items[0].message =
        xstrdup("ä very löng messäge that does not fit into a narrow terminal at all");
    _cleanup_free_ char *text = frame(f, 40, 24, true, false, NULL);
    const char *cursor = text, *line;
    size_t len;
    while (text_next_part(&cursor, '\n', &line, &len)) {
        _cleanup_free_ char *one = xstrndup(line, len);
        if (ui_columns(one) >= 40)
            fail_msg("%zu columns: %s", ui_columns(one), one);
    }
    assert_non_null(strstr(text, "…"));
}

static void many_steps_do_not_scroll(void **state)
{
    struct fixture *f = *state;
    set_state(f, 3, STATE_RUNNING);
    _cleanup_free_ char *text = frame(f, 60, 5, false, false, NULL);
    EXPECT_LINES(text, "ranker-1  Running  42 s  0 of 5 steps\n"
                       "  * evaluate  running  43 s\n"
                       "  4 more steps wait or are done\n");
}

static void a_fan_out_counts_its_items(void **state)
{
    struct fixture *f = *state;
    struct step_status *s = &f->status.steps[0];
    s->items = xreallocarray(s->items, 4, sizeof *s->items);
    s->n_items = 4;
    for (size_t i = 0; i < 4; i++) {
        item_status_init(&s->items[i]);
        s->items[i].state = i < 3 ? STATE_SUCCEEDED : STATE_RUNNING;
    }
    s->state = STATE_RUNNING;
    _cleanup_free_ char *text = frame(f, 80, 24, false, false, NULL);
    assert_non_null(strstr(text, "  * validate  [############    ]  75 %  3 of 4 items\n"));
}

static void color_is_only_there_when_asked_for(void **state)
{
    struct fixture *f = *state;
    set_state(f, 0, STATE_FAILED);
    _cleanup_free_ char *plain = frame(f, 80, 24, true, false, NULL),
                        *color = frame(f, 80, 24, true, true, NULL);
    assert_null(strchr(plain, '\033'));
    assert_non_null(strstr(color, "\033[31m✗\033[0m validate"));
}

static void formats_are_short(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } durations[] = {{-5, "0.0 s"},   {0, "0.0 s"},    {449, "0.4 s"},   {9990, "10.0 s"},    {10000, "10 s"},
                     {59400, "59 s"}, {59600, "1:00"}, {187000, "3:07"}, {3723000, "1:02:03"}};
    static const struct {
        double n;
        const char *text;
    } counts[] = {{0, "0"}, {950, "950"}, {12345, "12.3k"}, {4200000, "4.2M"}, {3e9, "3.0G"}, {0.5, "0.5"}};
    char text[UI_TEXT_MAX], rate[64];
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        ui_format_duration(durations[i].ms, text);
        assert_string_equal(text, durations[i].text);
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        ui_format_count(counts[i].n, text);
        assert_string_equal(text, counts[i].text);
    }
    ui_format_rate(NULL, rate);
    assert_string_equal(rate, "");
}

static void texts_are_cut_between_characters(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF_INIT(100);
    ui_add_cut(&out, "äöü", 3, true);
    assert_string_equal(buf_str(&out), "äöü");
    buf_reset(&out);
    ui_add_cut(&out, "äöüß", 3, true);
    assert_string_equal(buf_str(&out), "äö…");
    buf_reset(&out);
    ui_add_cut(&out, "abcdef\n", 5, false);
    assert_string_equal(buf_str(&out), "ab...");
    buf_reset(&out);
    ui_add_cut(&out, "abc", 0, true);
    assert_string_equal(buf_str(&out), "");
}

static void the_table_names_steps_states_and_values(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static const char run[] =
        "{\"name\":\"r-1\",\"phase\":\"Failed\",\"store\":\"file:///s\",\"seconds\":75.2,\"steps\":["
        "{\"name\":\"validate\",\"state\":\"Succeeded\",\"cached\":true,\"attempts\":1,\"seconds\":0.31,\"values\":{\"rows\":10},\"reports\":[\"/s/report.html\"]},"
        "{\"name\":\"register\",\"model\":\"ranker\",\"state\":\"Succeeded\",\"cached\":false,\"attempts\":2,\"seconds\":12,\"values\":{\"version\":3,\"created\":false}},"
        "{\"name\":\"many\",\"state\":\"Succeeded\",\"cached\":false,\"attempts\":1,\"items\":[{\"index\":0,\"cacheNote\":\"new\"},{\"index\":1,\"cacheNote\":\"new\"},{\"index\":2,\"cacheNote\":\"cached\"}]},"
        "{\"name\":\"train\",\"state\":\"Failed\",\"cached\":false,\"attempts\":3,\"values\":{},\"cacheNote\":\"not cached: config.epochs changed\",\"message\":\"fell over\"}]}";
    _cleanup_json_ cJSON *j = NULL;
    assert_int_equal(json_parse(run, sizeof run - 1, 4096, &j, &err), 0);
    struct ui_style style = {.width = 80, .height = 24, .unicode = true};
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
    describe_summary(j, &style, &out);
    EXPECT_LINES(buf_str(&out), "STEP      STATE      TRIES  TIME     CACHED  VALUES\n"
                                "validate  Succeeded  1      0.3 s    yes     rows 10\n"
                                "register  Succeeded  2      12 s     no      version 3, created false\n"
                                "many      Succeeded  1      -        no      3 items\n"
                                "train     Failed     3      -        no      fell over\n"
                                "\n"
                                "report of validate: /s/report.html\n"
                                "cache of many[0]: new\n"
                                "cache of many[2]: cached\n"
                                "cache of train: not cached: config.epochs changed\n"
                                "registered: ranker version 3 (it existed already)\n"
                                "run r-1: Failed after 1:15, in file:///s\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_shows_every_step),
        TEST(failures_and_retries_say_why),
        TEST(lines_fit_the_terminal),
        TEST(many_steps_do_not_scroll),
        TEST(a_fan_out_counts_its_items),
        TEST(color_is_only_there_when_asked_for),
        cmocka_unit_test(formats_are_short),
        cmocka_unit_test(texts_are_cut_between_characters),
        cmocka_unit_test(the_table_names_steps_states_and_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
