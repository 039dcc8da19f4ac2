/* What no model can beat: AUC and NDCG@10 of the true probabilities over the rows a split holds out. */
#pragma once

#include <stddef.h>

#include "examples/click-ranker/generate/world.h"

struct truth {
    double *probability, *relevance;
    unsigned char *clicked;
    size_t n, capacity;
};
void truth_add(struct truth *t, const struct world_row *row);
void truth_release(struct truth *t);

/* Exact AUC of the true click probability. NaN without both classes. */
double truth_auc(const struct truth *t);
/* Mean over sessions with a click of NDCG@10: gain = click, discount 1/log2(rank + 1), ranked by true relevance (position
 * is unknown at serving). Rows come in sessions of ten. */
double truth_ndcg(const struct truth *t);
/* Expected NDCG@10 of a random order. */
double truth_ndcg_random(const struct truth *t);
