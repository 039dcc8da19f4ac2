/* Validation metrics against their definitions: AUC over all pairs, ties and weights; means by plain sums. */
#include "tests/unit/unit.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "stages/train-ddp/metrics.h"

enum { N = 700 };
static float scores[N], labels[N], weights[N];

static void fill(int levels)
{
    srandom(7);
    for (int i = 0; i < N; i++) {
        long r = random();
        scores[i] = (float)(r % levels) / (float)levels - (levels > 100 ? 0.5F : 0);
        labels[i] = (double)(random() % 1000) / 1000 < 0.3 + 0.4 * (double)scores[i] ? 1 : 0;
        weights[i] = (float)(random() % 8) * 0.25F;
    }
}

/* Every pair of a positive and a negative, the definition itself. */
static double auc_by_pairs(const float *w)
{
    double won = 0, all = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            if (labels[i] < 0.5F || labels[j] > 0.5F)
                continue;
            double pair = w ? (double)w[i] * (double)w[j] : 1;
            all += pair;
            won += scores[i] > scores[j] ? pair : scores[i] == scores[j] ? pair / 2 : 0;
        }
    return won / all;
}

static void close_to(double got, double want)
{
    if (!(fabs(got - want) < 1e-12))
        fail_msg("expected %.15g, found %.15g", want, got);
}

static void auc_counts_pairs_ties_and_weights(void **state)
{
    (void)state;
    static const int levels[] = {2, 9, 100000};
    for (size_t i = 0; i < 3; i++) {
        fill(levels[i]);
        close_to(metrics_auc(scores, labels, NULL, N), auc_by_pairs(NULL));
        close_to(metrics_auc(scores, labels, weights, N), auc_by_pairs(weights));
    }
    float same[3] = {0.5F, 0.5F, 0.5F}, both[3] = {1, 0, 0}, one[3] = {1, 1, 1},
          negative_zero[2] = {-0.0F, -1.0F}, order[2] = {1, 0};
    close_to(metrics_auc(same, both, NULL, 3), 0.5);
    assert_true(isnan(metrics_auc(same, one, NULL, 3)));
    close_to(metrics_auc(negative_zero, order, NULL, 2), 1);
}

static void losses_are_weighted_means(void **state)
{
    (void)state;
    const float p[3] = {0.25F, 0.75F, 1.0F}, y[3] = {1, 0, 1}, w[3] = {1, 3, 0.5F};
    close_to(metrics_logloss(p, y, NULL, 3), (log(4) + log(4) + 1.11e-15) / 3);
    close_to(metrics_logloss(p, y, w, 3), (log(4) + 3 * log(4)) / 4.5);
    const float wrong[1] = {1.0F}, zero[1] = {0};
    close_to(metrics_logloss(wrong, zero, NULL, 1), -log(1 - (1 - 1e-15)));
    close_to(metrics_mse(p, y, w, 3), (0.5625 + 3 * 0.5625) / 4.5);
    close_to(metrics_huber(p, y, NULL, 3, 0.5), (2 * 0.5 * (0.75 - 0.25)) / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auc_counts_pairs_ties_and_weights),
        cmocka_unit_test(losses_are_weighted_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
