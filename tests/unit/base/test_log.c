/* Log lines as they reach stderr and the kept copy. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/log.h"
#include "tests/unit/unit.h"

/* What `emit` writes to stderr. */
static char *captured(void (*emit)(void))
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    emit();
    (void)fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    rewind(file);
    (void)fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    return text;
}

static void emit_some(void)
{
    log_debug("hidden", NULL);
    log_warn("disk \"slow\"", "path", "/a\nb", "ms", LOG_INT(-12), "share", LOG_DBL(0.25), "none",
             (const char *)NULL, NULL);
}

static void json_lines_carry_context_and_pairs(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_JSON);
    log_context("run", "r1", "step", "train", NULL);
    _cleanup_free_ char *text = captured(emit_some);
    log_context(NULL, NULL);
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *line = NULL;
    assert_ok(json_parse(text, strlen(text), 1 << 20, &line, &err), &err); /* exactly one line */
    static const char *const expected[] = {"level", "warn",  "msg",  "disk \"slow\"",
                                           "run",   "r1",    "step", "train",
                                           "path",  "/a\nb", "ms",   "-12",
                                           "share", "0.25",  "none", ""};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i += 2) {
        const char *value;
        assert_ok(json_get_string(line, NULL, expected[i], &value, &err), &err);
        assert_string_equal(value, expected[i + 1]);
    }
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static void text_lines_cannot_be_forged(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_TEXT);
    _cleanup_free_ char *text = captured(emit_some);
    assert_contains(text, " warn  disk \"slow\" path=\"/a\\nb\" ms=-12 share=0.25 none=\"\"\n");
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void emit_debug(void)
{
    log_debug("seen", NULL);
}

static void levels_filter(void **state)
{
    (void)state;
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(log_level_parse(names[i]), i);
    assert_true(log_level_parse("verbose") < 0);
    log_configure(LOG_DEBUG, LOG_JSON);
    _cleanup_free_ char *text = captured(emit_debug);
    assert_contains(text, "\"msg\":\"seen\"");
    log_configure(LOG_ERROR, LOG_JSON);
    _cleanup_free_ char *nothing = captured(emit_some);
    assert_string_equal(nothing, "");
}

static void emit_many(void)
{
    for (int i = 0; i < 100; i++)
        log_info("line", "i", LOG_INT(i), NULL);
}

static void kept_copy_ends_at_its_maximum(void **state)
{
    (void)state;
    FILE *kept = tmpfile();
    assert_non_null(kept);
    log_configure(LOG_INFO, LOG_TEXT);
    log_tee(kept, 500);
    _cleanup_free_ char *text = captured(emit_many);
    log_tee(NULL, 0);
    assert_contains(text, "i=99"); /* stderr goes on */
    char copy[2000];
    rewind(kept);
    size_t n = fread(copy, 1, sizeof copy - 1, kept);
    copy[n] = '\0';
    (void)fclose(kept);
    char *last = strstr(copy, "kept log ends here");
    assert_non_null(last);
    assert_contains(last, "\"max_bytes\":\"500\"}\n");
    assert_null(strchr(strchr(last, '\n') + 1, '\n')); /* nothing after it */
    while (*last != '\n')
        last--;
    assert_in_range(last + 1 - copy, 400, 500);
}

static void emit_long(void)
{
    static char value[200000];
    memset(value, 'x', sizeof value - 1);
    log_info("long", "value", value, NULL);
}

static void overlong_lines_are_told(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_JSON);
    _cleanup_free_ char *text = captured(emit_long);
    assert_contains(text, "log line over 65536 bytes left out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_carry_context_and_pairs),
        cmocka_unit_test(text_lines_cannot_be_forged),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(kept_copy_ends_at_its_maximum),
        cmocka_unit_test(overlong_lines_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
