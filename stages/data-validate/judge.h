/* From counts to findings. */
#pragma once

#include "stages/data-validate/dataset.h"
#include "stages/data-validate/drift.h"
#include "stages/data-validate/leakage.h"

/* A comparison with a baseline, for the report. */
struct judged_drift {
    size_t column; /* schema index */
    struct drift drift;
    char *baseline; /* what it was compared with */
    enum drift_method method;
    double max;
    bool serving; /* with serving logs */
};

struct judge {
    struct dataset *d;
    const struct config *config;
    const struct source *const *references; /* one a reference rule, resolved with the source */
    const struct source *serving;           /* NULL: no such rule */
    struct findings findings;
    struct table *checker;       /* all threads; opened when a rule needs it */
    struct stats **by_partition; /* index: partition; NULL before the first looked at */
    size_t first;
    bool *accepted; /* partitions that may be baselines: none of their own error-level comparisons fails */
    struct judged_drift *drifts;
    size_t n_drifts, drift_capacity;
    double max_drift;       /* NaN: none compared */
    double volume_baseline; /* rows; NaN: none */
    struct leak *leaks;
    size_t n_leaks;
};

/* first: the oldest partition of the dataset, whose statistics it takes over. */
void judge_init(struct judge *j, struct dataset *d, size_t first);
void judge_release(struct judge *j);
/* Sums over the window; caller frees with dataset_stats_free(). */
struct stats *judge_window_stats(const struct judge *j);

void judge_rows(struct judge *j); /* row rules over the window, null shares of the newest */
int judge_show_rows(struct judge *j, struct err *err);  /* the first rows that break a rule in SQL, as JSON */
int judge_aggregates(struct judge *j, struct err *err); /* on the newest partition */
int judge_unique(struct judge *j, struct err *err);     /* over the window */
int judge_references(struct judge *j, struct err *err);
int judge_baselines(struct judge *j, struct err *err); /* volume and drift of the newest */
int judge_leakage(struct judge *j, struct err *err);
int judge_serving(struct judge *j, struct err *err);
/* Newest time of the freshness column in the newest partition; false: no rows. */
bool judge_newest_time(const struct judge *j, int64_t *ret_ms);
/* Not part of any artifact: depends on the clock. Adds to findings when too old. */
void judge_freshness(struct findings *f, const struct config *c, const char *partition, bool known,
                     int64_t newest_ms, int64_t scheduled_ms);

/* The oldest partition that the rules need, the window's first given. */
size_t judge_first_partition(const struct config *c, const struct source *s, size_t first_window);
/* For judge_*.c. */
int judge_checker(struct judge *j, struct table **ret, struct err *err);
cJSON *judge_sample(const struct part *p, int64_t row, const char *value);
const struct part *judge_part_by_path(const struct judge *j, const char *path);
