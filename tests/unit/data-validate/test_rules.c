/* The pure parts of the rules: types, drift measures, the leakage test, the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "stages/data-validate/drift.h"
#include "stages/data-validate/findings.h"
#include "stages/data-validate/leakage.h"
#include "stages/data-validate/sort.h"
#include "stages/data-validate/source.h"

enum { SCRATCH = 2 * STAT_BUCKETS + 1 };

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *found, *declared;
        bool text;
        enum type_fit fit;
    } cases[] = {
        {"BIGINT", "int64", false, TYPE_EXACT},
        {"INTEGER", "int64", false, TYPE_WIDENS},
        {"UINTEGER", "int64", false, TYPE_WIDENS},
        {"UBIGINT", "int64", false, TYPE_WRONG},
        {"BIGINT", "int32", false, TYPE_WRONG},
        {"BIGINT", "int32", true, TYPE_WIDENS},
        {"INTEGER", "uint64", false, TYPE_WRONG},
        {"FLOAT", "double", false, TYPE_WIDENS},
        {"INTEGER", "double", false, TYPE_WIDENS},
        {"BIGINT", "double", false, TYPE_WRONG},
        {"BIGINT", "double", true, TYPE_WIDENS},
        {"DOUBLE", "float", false, TYPE_WRONG},
        {"VARCHAR", "double", false, TYPE_WRONG},
        {"VARCHAR", "double", true, TYPE_WRONG},
        {"BIGINT", "string", true, TYPE_WIDENS},
        {"BIGINT", "string", false, TYPE_WRONG},
        {"TIMESTAMP_NS", "timestamp", false, TYPE_EXACT},
        {"TIMESTAMP WITH TIME ZONE", "timestamp", false, TYPE_EXACT},
        {"DATE", "timestamp", false, TYPE_WIDENS},
        {"DECIMAL(18,3)", "decimal", false, TYPE_EXACT},
        {"BOOLEAN", "boolean", false, TYPE_EXACT},
        {"INTEGER", "boolean", false, TYPE_WRONG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        enum type_fit fit = schema_fit(cases[i].found, cases[i].declared, cases[i].text);
        if (fit != cases[i].fit)
            fail_msg("%s as %s%s: expected %d, found %d", cases[i].found, cases[i].declared,
                     cases[i].text ? " (text)" : "", cases[i].fit, fit);
    }
    assert_string_equal(schema_unify("INTEGER", "BIGINT"), "BIGINT");
    assert_string_equal(schema_unify("UINTEGER", "INTEGER"), "BIGINT");
    assert_string_equal(schema_unify("FLOAT", "INTEGER"), "DOUBLE");
    assert_null(schema_unify("BIGINT", "VARCHAR"));
    assert_null(schema_unify("BIGINT", "UBIGINT"));
}

static struct stats numbers(int n, double from, double step, int nulls)
{
    struct stats s;
    stats_init(&s, STAT_NUMBER);
    double *v = xcalloc((size_t)(n + nulls), sizeof *v);
    uint8_t *valid = xcalloc((size_t)(n + nulls), 1);
    int64_t *scratch = xcalloc(SCRATCH, sizeof *scratch);
    for (int i = 0; i < n; i++) {
        v[i] = from + step * i;
        valid[i] = 1;
    }
    struct column c = {.type = COLUMN_F64, .f64 = v, .valid = valid};
    stats_add_batch(&s, &c, (size_t)(n + nulls), scratch);
    stats_collect(&s, scratch);
    free(v);
    free(valid);
    free(scratch);
    return s;
}

static void test_drift_measures(void **state)
{
    (void)state;
    struct stats base = numbers(10000, 1, 0.01, 0), same = numbers(5000, 1, 0.02, 0),
                 shifted = numbers(10000, 60, 0.01, 0), nulls = numbers(7000, 1, 0.0142857, 3000),
                 tiny = numbers(8, 1, 12, 0), none = numbers(0, 0, 0, 0);
    for (int m = DRIFT_PSI; m <= DRIFT_CHI2; m++) {
        struct drift d;
        assert_true(drift_compare((enum drift_method)m, &base, &same, &d));
        if (d.value > d.noise)
            fail_msg("%s of equal distributions: %g is above the noise %g", drift_method_names[m], d.value,
                     d.noise);
        assert_true(drift_compare((enum drift_method)m, &base, &shifted, &d));
        if (d.value < 0.2 || d.value < 5 * d.noise)
            fail_msg("%s of shifted distributions: only %g (noise %g)", drift_method_names[m], d.value,
                     d.noise);
        if (m != DRIFT_KS) {
            assert_true(drift_compare((enum drift_method)m, &base, &nulls, &d));
            if (d.value <= d.noise)
                fail_msg("%s does not see 30 %% nulls: %g (noise %g)", drift_method_names[m], d.value,
                         d.noise);
        }
        /* Eight rows say little: the noise is large. */
        assert_true(drift_compare((enum drift_method)m, &base, &tiny, &d));
        if (d.value > d.noise)
            fail_msg("%s of eight rows: %g is above the noise %g", drift_method_names[m], d.value, d.noise);
        assert_false(drift_compare((enum drift_method)m, &base, &none, &d));
    }
    /* By hand: shares 1/2, 1/2 against 3/4, 1/4 of 4,000 rows each (smoothing changes the fourth digit). */
    struct stats p = numbers(2000, 1, 0, 2000), q = numbers(3000, 1, 0, 1000);
    struct drift d;
    assert_true(drift_compare(DRIFT_PSI, &p, &q, &d));
    double expected = 0.25 * log(1.5) - 0.25 * log(0.5);
    if (fabs(d.value - expected) > 1e-3)
        fail_msg("psi: expected %g, found %g", expected, d.value);
    assert_true(drift_compare(DRIFT_CHI2, &p, &q, &d));
    if (fabs(d.value - sqrt(1.0 / 15)) > 1e-9) /* χ² = 8000/15 */
        fail_msg("Cramér's V: expected %g, found %g", sqrt(1.0 / 15), d.value);
    struct stats *const all[] = {&base, &same, &shifted, &nulls, &tiny, &none, &p, &q};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        stats_release(all[i]);
}

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void test_leakage(void **state)
{
    (void)state;
    enum { ROWS = 4000, COLUMNS = 5 };
    /* label; leaks; anti-leaks; noise; identifier; a text that leaks */
    struct schema_column columns[] = {{"y", "INTEGER"},
                                      {"leak", "DOUBLE"},
                                      {"noise", "DOUBLE"},
                                      {"id", "VARCHAR"},
                                      {"text", "VARCHAR"}};
    struct schema schema = {columns, COLUMNS};
    struct scan_plan plan = {.schema = &schema, .label_index = 0};
    struct leak_rows rows = {.n = ROWS};
    rows.label = xcalloc(ROWS, 1);
    rows.values = xcalloc(COLUMNS, sizeof *rows.values);
    for (int c = 1; c < COLUMNS; c++)
        rows.values[c] = xcalloc(ROWS, sizeof **rows.values);
    srand(5);
    for (int i = 0; i < ROWS; i++) {
        rows.label[i] = rand() % 4 == 0;
        rows.values[1][i] = bits_of(rows.label[i] ? -3000.0 - i : (double)i);
        rows.values[2][i] = bits_of((double)rand());
        rows.values[3][i] = stats_hash_integer(i);
        rows.values[4][i] = stats_hash_integer(rows.label[i] ? 1 + i % 3 : 10 + i % 3);
    }
    struct stats stats[COLUMNS];
    static const enum stat_kind kinds[] = {STAT_INTEGER, STAT_NUMBER, STAT_NUMBER, STAT_TEXT, STAT_TEXT};
    for (int c = 0; c < COLUMNS; c++)
        stats_init(&stats[c], kinds[c]);
    const struct leak_rows *parts[] = {&rows};
    struct leak *leaks;
    size_t n;
    leakage_measure(&plan, parts, 1, stats, &leaks, &n);
    assert_int_equal(n, 4);
    double auc[COLUMNS] = {0};
    for (size_t i = 0; i < n; i++)
        auc[leaks[i].column] = leaks[i].auc;
    if (auc[1] < 0.999999 || auc[4] < 0.999 || auc[2] > 0.55 || auc[3] > 0.55)
        fail_msg("AUC: leak %g, noise %g, identifier %g, text %g", auc[1], auc[2], auc[3], auc[4]);
    free(leaks);
    for (int c = 0; c < COLUMNS; c++) {
        stats_release(&stats[c]);
        free(rows.values[c]);
    }
    free(rows.values);
    free(rows.label);
}

static void test_sort_keys(void **state)
{
    (void)state;
    enum { KEYS = 5000 };
    uint64_t keys[KEYS], spare[KEYS], sum = 0, after = 0;
    for (int i = 0; i < KEYS; i++) {
        keys[i] = stats_hash_integer(i % 4000) >> (i % 50);
        sum += keys[i];
    }
    sort_keys(keys, spare, KEYS);
    for (int i = 0; i < KEYS; i++) {
        assert_true(i == 0 || keys[i - 1] <= keys[i]);
        after += keys[i];
    }
    assert_true(sum == after);
}

static void test_partition_days(void **state)
{
    (void)state;
    int64_t day;
    assert_true(source_partition_day("day=1970-01-08", &day));
    assert_int_equal(day, 7);
    assert_true(source_partition_day("region=eu/clicks-2026-10-31.csv", &day));
    assert_false(source_partition_day("hour=12", &day));
    assert_false(source_partition_day("day=2026-13-01", &day));
}

static void test_config_faults(void **state)
{
    (void)state;
    static const struct {
        const char *json, *word; /* NULL: accepted */
    } cases[] = {
        {"{\"source\": {\"uri\": \"a/\"}}", NULL},
        {"{}", "source"},
        {"{\"source\": {\"uri\": \"a/\", \"widow\": 3}}", "widow"},
        {"{\"source\": {\"uri\": \"a/\", \"window\": \"7\"}}", NULL},
        {"{\"source\": {\"uri\": \"a/\", \"format\": \"xml\"}}", "source.format"},
        {"{\"source\": {\"uri\": \"a/\"}, \"columns\": [{\"name\": \"a\", \"type\": \"integer\"}]}",
         "columns[0].type"},
        {"{\"source\": {\"uri\": \"a/\"}, \"columns\": [{\"name\": \"a\"}, {\"name\": \"a\"}]}", "twice"},
        {"{\"source\": {\"uri\": \"a/\"}, \"columns\": [{\"name\": \"a\", \"min\": 2, \"max\": 1}]}", "min"},
        {"{\"source\": {\"uri\": \"a/\"}, \"checks\": [{\"name\": \"a\", \"sql\": \"x\", \"aggregate\": \"y\"}]}",
         "checks[0]"},
        {"{\"source\": {\"uri\": \"a/\"}, \"checks\": [{\"name\": \"a\", \"aggregate\": \"y\"}]}",
         "min or max"},
        {"{\"source\": {\"uri\": \"a/\"}, \"unique\": [\"a\"]}", "unique"},
        {"{\"source\": {\"uri\": \"a/\"}, \"volume\": {\"tolerance\": 0.1, \"baseline\": \"trailing:0\"}}",
         "baseline"},
        {"{\"source\": {\"uri\": \"a/\"}, \"volume\": {\"tolerance\": 0.1, \"baseline\": \"trailing:7\"}}",
         NULL},
        {"{\"source\": {\"uri\": \"a/\"}, \"volume\": {}}", "tolerance"},
        {"{\"source\": {\"uri\": \"a/\"}, \"drift\": {\"max\": 0.1, \"method\": \"tv\"}}", "drift.method"},
        {"{\"source\": {\"uri\": \"a/\"}, \"drift\": {\"max\": 0.1, \"baseline\": \"s3://a/p.json@12\"}}",
         "baseline"},
        {"{\"source\": {\"uri\": \"a/\"}, \"freshness\": {\"column\": \"t\", \"maxAge\": \"soon\"}}",
         "maxAge"},
        {"{\"source\": {\"uri\": \"a/\"}, \"leakage\": {\"label\": \"y\", \"maxAuc\": 0.2}}", "maxAuc"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = ERR_INIT;
        _cleanup_json_ cJSON *o = NULL;
        _cleanup_config_ struct config *c = NULL;
        if (json_parse(cases[i].json, strlen(cases[i].json), 10000, &o, &err) < 0)
            fail_msg("%s", err.msg);
        int r = config_decode(o, &c, &err);
        if ((r == 0) != !cases[i].word ||
            (r < 0 && (!strstr(err.msg, cases[i].word) || err_exit_code(&err) != EXITCODE_CONFIG)))
            fail_msg("%s: expected %s, found %d \"%s\" (exit %d)", cases[i].json,
                     cases[i].word ? cases[i].word : "success", r, err.msg, err_exit_code(&err));
    }
}

static void test_findings_are_told_worst_first(void **state)
{
    (void)state;
    struct findings f = {0};
    (void)findings_add(&f, FINDING_DRIFT, LEVEL_ERROR, "b", 1, "drift");
    (void)findings_add(&f, FINDING_SCHEMA, LEVEL_WARN, "a", 9, "only a warning");
    (void)findings_add(&f, FINDING_NULLS, LEVEL_ERROR, "c", 0.1, "some nulls");
    (void)findings_add(&f, FINDING_NULLS, LEVEL_ERROR, "d", 0.9, "many nulls");
    findings_sort(&f);
    char text[200];
    findings_summary(&f, text, sizeof text);
    assert_string_equal(text, "many nulls; some nulls; drift");
    findings_summary(&f, text, 45);
    assert_string_equal(text, "many nulls; and 2 more");
    assert_int_equal(findings_count(&f, LEVEL_WARN), 1);
    findings_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_drift_measures),
        cmocka_unit_test(test_leakage),
        cmocka_unit_test(test_sort_keys),
        cmocka_unit_test(test_partition_days),
        cmocka_unit_test(test_config_faults),
        cmocka_unit_test(test_findings_are_told_worst_first),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
