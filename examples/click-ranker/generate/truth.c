/* Best possible metrics: see truth.h. */
#include "examples/click-ranker/generate/truth.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/alloc.h"

void truth_add(struct truth *t, const struct world_row *row)
{
    if (t->n == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 4096;
        t->probability = xreallocarray(t->probability, t->capacity, sizeof *t->probability);
        t->relevance = xreallocarray(t->relevance, t->capacity, sizeof *t->relevance);
        t->clicked = xreallocarray(t->clicked, t->capacity, sizeof *t->clicked);
    }
    t->probability[t->n] = row->probability;
    t->relevance[t->n] = row->relevance;
    t->clicked[t->n++] = (unsigned char)row->clicked;
}

void truth_release(struct truth *t)
{
    free(t->probability);
    free(t->relevance);
    free(t->clicked);
    *t = (struct truth){0};
}

struct scored {
    double score;
    unsigned char label;
};

static int by_score(const void *a, const void *b)
{
    double x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return x < y ? -1 : x > y;
}

double truth_auc(const struct truth *t)
{
    struct scored *rows = xcalloc(t->n, sizeof *rows);
    for (size_t i = 0; i < t->n; i++)
        rows[i] = (struct scored){t->probability[i], t->clicked[i]};
    qsort(rows, t->n, sizeof *rows, by_score);
    double wins = 0, negatives = 0, positives = 0; /* Mann-Whitney U, ties count half */
    for (size_t i = 0; i < t->n;) {
        size_t j = i;
        double tied_positive = 0, tied_negative = 0;
        for (; j < t->n && rows[j].score == rows[i].score; j++)
            *(rows[j].label ? &tied_positive : &tied_negative) += 1;
        wins += tied_positive * (negatives + tied_negative / 2);
        negatives += tied_negative;
        positives += tied_positive;
        i = j;
    }
    free(rows);
    return positives > 0 && negatives > 0 ? wins / positives / negatives : NAN;
}

static double discount(int rank) /* from 1 */
{
    return 1 / log2(rank + 1);
}

/* Mean over sessions with a click; `dcg` gives a session's discounted gain. */
static double mean_ndcg(const struct truth *t, double (*dcg)(const struct scored *rows, int clicks))
{
    double sum = 0, sessions = 0;
    for (size_t first = 0; first + WORLD_SESSION_ROWS <= t->n; first += WORLD_SESSION_ROWS) {
        struct scored rows[WORLD_SESSION_ROWS];
        int clicks = 0;
        for (int i = 0; i < WORLD_SESSION_ROWS; i++) {
            rows[i] = (struct scored){-t->relevance[first + (size_t)i], t->clicked[first + (size_t)i]};
            clicks += rows[i].label;
        }
        if (!clicks)
            continue;
        double ideal = 0;
        for (int rank = 1; rank <= clicks; rank++)
            ideal += discount(rank);
        qsort(rows, WORLD_SESSION_ROWS, sizeof rows[0], by_score);
        sum += dcg(rows, clicks) / ideal;
        sessions++;
    }
    return sum / sessions;
}

static double dcg_ranked(const struct scored *rows, int clicks)
{
    (void)clicks;
    double sum = 0;
    for (int i = 0; i < WORLD_SESSION_ROWS; i++)
        sum += rows[i].label * discount(i + 1);
    return sum;
}

/* In a random order each rank holds a click with probability clicks/10. */
static double dcg_random(const struct scored *rows, int clicks)
{
    (void)rows;
    double sum = 0;
    for (int i = 0; i < WORLD_SESSION_ROWS; i++)
        sum += discount(i + 1) * clicks / WORLD_SESSION_ROWS;
    return sum;
}

double truth_ndcg(const struct truth *t)
{
    return mean_ndcg(t, dcg_ranked);
}

double truth_ndcg_random(const struct truth *t)
{
    return mean_ndcg(t, dcg_random);
}
