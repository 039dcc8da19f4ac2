/* Metrics against brute force and values worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "stages/evaluate/auc.h"
#include "stages/evaluate/bootstrap.h"
#include "stages/evaluate/comparison.h"
#include "stages/evaluate/metric.h"
#include "stages/evaluate/ndcg.h"
#include "stages/evaluate/normal.h"

static void near_to(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("expected %.17g, found %.17g", expected, found);
}

static uint64_t state_;
static double uniform(void)
{
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (double)(state_ >> 11) * 0x1p-53;
}

static double brute_auc(const float *score, const float *label, const float *weight, size_t n)
{
    double wins = 0, pairs = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            if (!(label[i] > 0.5f && label[j] <= 0.5f))
                continue;
            double w = (double)weight[i] * (double)weight[j];
            pairs += w;
            wins += w * (score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0);
        }
    }
    return wins / pairs;
}

static void auc_equals_brute_force_with_ties_weights_and_signs(void **state)
{
    (void)state;
    enum { N = 300 };
    float score[N], label[N], weight[N];
    uint32_t order[N];
    for (int round = 0; round < 20; round++) {
        state_ = (uint64_t)round + 1;
        for (int i = 0; i < N; i++) {
            score[i] = (float)((int)(uniform() * 40) - 20) / 8; /* many ties; negative ones; -0 */
            label[i] = uniform() < 0.3;
            weight[i] = round % 2 ? (float)(int)(uniform() * 4) : 1;
        }
        score[0] = -0.0f;
        auc_sort(score, N, order);
        near_to(auc_of_order(order, score, label, weight, NULL, N), brute_auc(score, label, weight, N),
                1e-12);
    }
}

static void auc_of_one_class_is_undefined(void **state)
{
    (void)state;
    float score[] = {1, 2, 3}, label[] = {1, 1, 1};
    struct scored rows = {3, score, score, label, NULL, NULL, 0};
    struct metric_name name;
    struct err err = ERR_INIT;
    assert_int_equal(metric_name_parse("auc", &name, &err), 0);
    struct metric *m = metric_new(&name, &rows);
    assert_true(isnan(metric_value(m, NULL, NULL)));
    assert_string_equal(metric_undefined_reason(m), "only one class occurs");
    metric_free(m);
}

static void ndcg_by_hand(void **state)
{
    (void)state;
    size_t order[8];
    /* Ranked: 0, 1, 0, 1 → (1/log2 3 + 1/log2 5) / (1 + 1/log2 3). */
    float score[] = {4, 3, 2, 1}, label[] = {0, 1, 0, 1};
    near_to(ndcg_at(score, label, 4, 10, order), (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)), 1e-12);
    /* Cut at 1: the ideal is cut too. */
    near_to(ndcg_at(score, label, 4, 1, order), 0, 1e-12);
    /* All tied: every place holds half a click. */
    float tied[] = {1, 1, 1, 1};
    near_to(ndcg_at(tied, label, 4, 4, order),
            0.5 * (1 + 1 / log2(3) + 0.5 + 1 / log2(5)) / (1 + 1 / log2(3)), 1e-12);
    float none[] = {0, 0, 0, 0};
    assert_true(isnan(ndcg_at(score, none, 4, 4, order)));
}

static void mrr_by_hand(void **state)
{
    (void)state;
    size_t order[8];
    float score[] = {4, 3, 2, 1}, label[] = {0, 0, 1, 1};
    near_to(mrr_at(score, label, 4, 10, order), 1.0 / 3, 1e-12);
    near_to(mrr_at(score, label, 4, 2, order), 0, 1e-12);
    /* Tied: the first of two hits among four places: 1/2·1 + 1/2·2/3·1/2 + 1/2·1/3·1·1/3. */
    float tied[] = {1, 1, 1, 1};
    near_to(mrr_at(tied, label, 4, 10, order), 0.5 + 0.5 * 2 / 3 / 2 + 0.5 / 3 / 3, 1e-12);
}

static void row_metrics_by_hand(void **state)
{
    (void)state;
    float score[] = {0.9f, 0.2f, 0.6f}, label[] = {1, 0, 0}, weight[] = {1, 1, 2};
    struct scored rows = {3, score, score, label, weight, NULL, 0};
    static const struct {
        const char *name;
        double expected;
    } cases[] = {
        {"logloss", (-log(0.9) - log(0.8) - 2 * log(0.4)) / 4},
        {"brier", (0.01 + 0.04 + 2 * 0.36) / 4},
        {"accuracy", 0.5},
        {"mae", (0.1 + 0.2 + 2 * 0.6) / 4},
        {"rmse", 0.43874821936960611},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct metric_name name;
        struct err err = ERR_INIT;
        assert_int_equal(metric_name_parse(cases[i].name, &name, &err), 0);
        struct metric *m = metric_new(&name, &rows);
        near_to(metric_value(m, NULL, NULL), cases[i].expected, 1e-6);
        metric_free(m);
    }
}

static void unknown_metrics_get_a_suggestion(void **state)
{
    (void)state;
    static const char *const bad[] = {"aux", "ndcg", "ndcg@0", "auc@5", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct metric_name name;
        struct err err = ERR_INIT;
        assert_int_equal(metric_name_parse(bad[i], &name, &err), -1);
        assert_int_equal(err_exit_code(&err), 78);
    }
    struct metric_name name;
    struct err err = ERR_INIT;
    assert_int_equal(metric_name_parse("aux", &name, &err), -1);
    assert_non_null(strstr(err.msg, "did you mean 'auc'"));
    err_clear(&err);
    assert_int_equal(metric_name_parse("ndcg@10", &name, &err), 0);
    assert_string_equal(name.value, "ndcg_at_10");
}

/* DeLong's standard error beside the spread of many independent samples. */
static void delong_agrees_with_simulation(void **state)
{
    (void)state;
    enum { N = 400, ROUNDS = 400 };
    float a[N], b[N], label[N];
    uint32_t order[N];
    double sum = 0, squares = 0, se = 0;
    state_ = 42;
    for (int r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < N; i++) {
            label[i] = i % 3 == 0;
            double common = uniform() + uniform() + (double)label[i] * 0.5;
            a[i] = (float)(common + 0.5 * uniform());
            b[i] = (float)(common + 1.0 * uniform());
        }
        auc_sort(a, N, order);
        double delta = auc_of_order(order, a, label, NULL, NULL, N);
        auc_sort(b, N, order);
        delta -= auc_of_order(order, b, label, NULL, NULL, N);
        sum += delta;
        squares += delta * delta;
        se += auc_delong_se(a, b, label, N) / ROUNDS;
    }
    double spread = sqrt(squares / ROUNDS - (sum / ROUNDS) * (sum / ROUNDS));
    near_to(se / spread, 1, 0.15);
    near_to(auc_delong_se(a, a, label, N), 0, 1e-12);
}

static void normal_quantiles_are_the_tabulated_ones(void **state)
{
    (void)state;
    near_to(normal_quantile(0.95), 1.6448536269514722, 1e-9);
    near_to(normal_quantile(0.975), 1.9599639845400545, 1e-9);
    near_to(normal_quantile(0.001), -3.0902323061678132, 1e-9);
    near_to(normal_quantile(0.5), 0, 1e-12);
}

static void bootstrap_does_not_depend_on_threads(void **state)
{
    (void)state;
    enum { N = 600, GROUPS = 60, SAMPLES = 200 };
    float score[N], label[N];
    uint32_t group[N];
    state_ = 7;
    for (int i = 0; i < N; i++) {
        label[i] = uniform() < 0.4;
        score[i] = (float)(uniform() + 0.3 * (double)label[i]);
        group[i] = (uint32_t)(i / 10);
    }
    struct scored rows = {N, score, score, label, NULL, group, GROUPS};
    struct metric_name names[2];
    struct err err = ERR_INIT;
    assert_int_equal(metric_name_parse("auc", &names[0], &err), 0);
    assert_int_equal(metric_name_parse("ndcg@5", &names[1], &err), 0);
    struct metric *m[2] = {metric_new(&names[0], &rows), metric_new(&names[1], &rows)};
    double one[2 * SAMPLES], five[2 * SAMPLES];
    bootstrap_run(&(struct bootstrap){SAMPLES, 3, 1}, &rows, (const struct metric *const *)m, 2, one);
    bootstrap_run(&(struct bootstrap){SAMPLES, 3, 5}, &rows, (const struct metric *const *)m, 2, five);
    for (int i = 0; i < 2 * SAMPLES; i++)
        assert_true(one[i] == five[i]);
    double value = metric_value(m[0], NULL, NULL);
    assert_true(bootstrap_quantile(one, SAMPLES, 2, 0.025) < value &&
                value < bootstrap_quantile(one, SAMPLES, 2, 0.975));
    bootstrap_run(&(struct bootstrap){SAMPLES, 4, 1}, &rows, (const struct metric *const *)m, 2, five);
    assert_true(one[0] != five[0]); /* another seed, other samples */
    metric_free(m[0]);
    metric_free(m[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auc_equals_brute_force_with_ties_weights_and_signs),
        cmocka_unit_test(auc_of_one_class_is_undefined),
        cmocka_unit_test(ndcg_by_hand),
        cmocka_unit_test(mrr_by_hand),
        cmocka_unit_test(row_metrics_by_hand),
        cmocka_unit_test(unknown_metrics_get_a_suggestion),
        cmocka_unit_test(delong_agrees_with_simulation),
        cmocka_unit_test(normal_quantiles_are_the_tabulated_ones),
        cmocka_unit_test(bootstrap_does_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
