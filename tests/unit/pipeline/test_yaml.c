/* YAML → JSON: what is read, and what is refused with which advice. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/json.h"
#include "operator/pipeline/yaml.h"

/* The whole text → compact JSON, or "line N: path: message" of the first finding; caller frees. */
static char *read_text(const char *text)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    cJSON *tree = NULL;
    struct yaml_lines *lines = NULL;
    char *ret;
    if (yaml_parse(text, strlen(text), NULL, &findings, &tree, &lines, &err) < 0) {
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        const struct finding *f = &findings.items[0];
        ret = xasprintf("line %d: %s: %s", f->line, f->path, f->message);
    } else {
        struct buf out = BUF_INIT(1 << 20); /* cJSON's own printer loses digits */
        assert_ok(json_canonical(tree, &out, &err), &err);
        ret = buf_take(&out);
    }
    cJSON_Delete(tree);
    yaml_lines_free(lines);
    findings_release(&findings);
    return ret;
}

struct sample {
    const char *name, *text, *expected;
};

static void check(const struct sample *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *found = read_text(samples[i].text);
        if (!strstr(found, samples[i].expected))
            fail_msg("%s: expected \"%s\", found \"%s\"", samples[i].name, samples[i].expected, found);
        free(found);
    }
}

static void test_values_become_json(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"mappings, lists and scalars", "a: 1\nb: [x, 'y', \"z\"]\nc: {d: true, e: false}\n",
         "{\"a\":1,\"b\":[\"x\",\"y\",\"z\"],\"c\":{\"d\":true,\"e\":false}}"},
        {"a number with a point", "a: 0.25\n", "{\"a\":0.25}"},
        {"a negative number", "a: -3\n", "{\"a\":-3}"},
        {"a float with point and signed exponent", "a: 1.0e-8\n", "{\"a\":1e-8}"},
        {"the largest exact integer", "a: 9007199254740992\n", "{\"a\":9007199254740992}"},
        {"a quoted word of truth is text", "a: \"yes\"\n", "{\"a\":\"yes\"}"},
        {"a quoted number is text", "a: '010'\n", "{\"a\":\"010\"}"},
        {"a reference is text", "a: $(params.x)\n", "{\"a\":\"$(params.x)\"}"},
        {"a number with a unit is text", "a: 36h\nb: 1 epoch\nc: 20Gi\n",
         "{\"a\":\"36h\",\"b\":\"1 epoch\",\"c\":\"20Gi\"}"},
        {"null stays null for the schema to refuse", "a: ~\nb:\n", "{\"a\":null,\"b\":null}"},
        {"block text keeps its lines", "a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}"},
        {"an alias is expanded", "a: &x {b: 1}\nc: *x\n", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}"},
        {"comments and a document marker are ignored", "# c\n---\na: 1 # d\n", "{\"a\":1}"},
    };
    check(samples, ARRAY_SIZE(samples));
}

static void test_scalars_that_two_versions_of_yaml_read_differently_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"yes", "a: yes\n",
         "line 1: a: yes is a truth value in YAML 1.1 and text in YAML 1.2: write true, or \"yes\""},
        {"off, on the second line", "a: 1\nb: off\n",
         "line 2: b: off is a truth value in YAML 1.1 and text in YAML 1.2: write false, or \"off\""},
        {"n as a value", "a: n\n", "line 1: a: n is a truth value"},
        {"y as a key", "y: 1\n", "line 1: y: key y is a truth value"},
        {"on in a list", "a:\n  - x\n  - on\n", "line 3: a[1]: on is a truth value"},
        {"octal", "a: 010\n", "a: 010 is octal in YAML 1.1 and decimal in YAML 1.2: write \"010\""},
        {"octal of YAML 1.2", "a: 0o17\n",
         "a: 0o17 is a number to some readers of YAML and text to others: write the decimal number, or quotes"},
        {"binary", "a: 0b101\n", "a: 0b101 is a number to some"},
        {"hexadecimal", "a: 0x1F\n", "a: 0x1F is a number to some"},
        {"digits with underscores", "a: 1_000\n", "a: 1_000 is a number to some"},
        {"base 60", "a: 1:30\n",
         "a: 1:30 is a number to base 60 in YAML 1.1 and text in YAML 1.2: write \"1:30\""},
        {"base 60 with seconds", "a: 12:30:45\n", "a: 12:30:45 is a number to base 60"},
        {"an exponent without a point", "a: 1e-8\n",
         "a: 1e-8 is a number in YAML 1.2 and text in YAML 1.1: write 1.0e-8"},
        {"an exponent without a sign", "a: 1.5e8\n",
         "a: 1.5e8 is a number in YAML 1.2 and text in YAML 1.1: write 1.5e+8"},
        {"infinity", "a: .inf\n", "a: .inf is no number that JSON can hold: write \".inf\""},
        {"a date", "a: 2026-01-31\n",
         "a: 2026-01-31 is a time in YAML 1.1 and text in YAML 1.2: write \"2026-01-31\""},
        {"a time", "a: 2026-01-31T02:00:00Z\n", "a: 2026-01-31T02:00:00Z is a time"},
        {"a merge key", "a: &x {b: 1}\nc: {<<: *x}\n",
         "line 2: c[\"<<\"]: key << has a meaning of its own in YAML 1.1 only"},
        {"a number beyond 2^53", "a: 9007199254740993000\n",
         "beyond 2^53, where readers of JSON lose digits: write \"9007199254740993000\""},
    };
    check(samples, ARRAY_SIZE(samples));
}

static void test_structure_that_is_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"a key twice", "a: 1\nb: 2\na: 3\n",
         "line 3: a: the key \"a\" occurs twice in this mapping: remove one"},
        {"two documents", "a: 1\n---\nb: 2\n",
         "line 2: : a second document begins here: one file holds one manifest"},
        {"nothing", "# only a comment\n", "line 1: : the file is empty: expected one manifest"},
        {"a tag", "a: !!str 1\n", "line 1: a: tags are not supported: remove tag:yaml.org,2002:str"},
        {"a number as a key", "a: {1: x}\n", "line 1: a: the key 1 is not text: write \"1\""},
        {"a mapping as a key", "{a: 1}: 2\n", "a key must be text"},
        {"an alias without its anchor", "a: *x\n",
         "line 1: a: the alias *x has no finished anchor &x before it"},
        {"an alias to what surrounds it", "a: &x [*x]\n", "the alias *x has no finished anchor"},
        {"an unclosed bracket", "a: [1, 2\nb: 3\n", "not valid YAML"},
        {"a tab as indentation", "a:\n\tb: 1\n", "line 2: a: not valid YAML"},
        {"a NUL character", "a: \"x\\0y\"\n", "line 1: a: text with a NUL character"},
        {"bytes that are no UTF-8", "a: \xff\xfe\n", "not readable as UTF-8 text"},
    };
    check(samples, ARRAY_SIZE(samples));
}

static void test_bombs_are_refused(void **state)
{
    (void)state;
    static const char bomb[] =
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    char deep[200];
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    const struct sample samples[] = {
        {"aliases of aliases", bomb, "more than 200000 values (aliases expanded)"},
        {"brackets within brackets", deep, "nested deeper than 64 levels"},
    };
    check(samples, ARRAY_SIZE(samples));
}

static void test_every_refused_scalar_is_reported(void **state)
{
    (void)state;
    struct findings findings = {0};
    struct err err = ERR_INIT;
    cJSON *tree = NULL;
    struct yaml_lines *lines = NULL;
    const char *text = "a: yes\nb: 010\nc: 1\nd: 1:30\n";
    assert_fails(yaml_parse(text, strlen(text), "p.yaml", &findings, &tree, &lines, &err), &err, ERR_INVALID,
                 "p.yaml:1: a: yes is a truth value");
    assert_int_equal(findings.n, 3);
    assert_int_equal(findings.items[1].line, 2);
    assert_int_equal(findings.items[2].line, 4);
    findings_release(&findings);
}

static void test_lines_are_those_of_keys_and_items(void **state)
{
    (void)state;
    struct findings findings = {0};
    struct err err = ERR_INIT;
    cJSON *tree = NULL;
    struct yaml_lines *lines = NULL;
    const char *text = "a:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\n";
    assert_ok(yaml_parse(text, strlen(text), NULL, &findings, &tree, &lines, &err), &err);
    const cJSON *a = cJSON_GetObjectItem(tree, "a"), *b = cJSON_GetObjectItem(a, "b"),
                *second = cJSON_GetArrayItem(b, 1);
    assert_int_equal(yaml_line(lines, a), 1);
    assert_int_equal(yaml_line(lines, b), 2);
    assert_int_equal(yaml_line(lines, cJSON_GetArrayItem(b, 0)), 3);
    assert_int_equal(yaml_line(lines, second), 4);
    assert_int_equal(yaml_line(lines, cJSON_GetObjectItem(second, "d")), 5);
    assert_int_equal(yaml_line(lines, NULL), 0);
    assert_int_equal(yaml_line(NULL, a), 0);
    cJSON_Delete(tree);
    yaml_lines_free(lines);
    findings_release(&findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_become_json),
        cmocka_unit_test(test_scalars_that_two_versions_of_yaml_read_differently_are_refused),
        cmocka_unit_test(test_structure_that_is_refused),
        cmocka_unit_test(test_bombs_are_refused),
        cmocka_unit_test(test_every_refused_scalar_is_reported),
        cmocka_unit_test(test_lines_are_those_of_keys_and_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
