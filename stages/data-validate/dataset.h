/* The files that are looked at, from source to counted part. */
#pragma once

#include "stages/data-validate/findings.h"
#include "stages/data-validate/scan.h"
#include "stages/data-validate/source.h"

/* One source file. */
struct part {
    const struct source *source;
    const struct source_file *file;
    size_t partition; /* index in the source */
    bool in_window;   /* becomes part of the snapshot; else only a baseline */
    bool newest;
    char *staged; /* the source's bytes, here */
    char *path;   /* the Parquet file that is counted; equals staged when taken as it is */
    char *name;   /* in the snapshot: "data/…" */
    struct schema *found;
    struct scan_result *scan;
};

struct dataset {
    struct stage_run *run;
    const struct config *config;
    const struct source *source;
    size_t first_window, newest; /* partitions */
    struct part *parts;
    size_t n_parts;
    struct table **tables; /* one engine with one thread for each of ours */
    size_t n_tables;
    struct schema *schema; /* of the snapshot; NULL until dataset_check_schema() */
    struct scan_plan *plan;
};

/* Partitions first…newest; those before first_window are baselines only. `tag` keeps the files of several datasets apart. */
int dataset_open(struct stage_run *run, const char *tag, const struct config *config,
                 const struct source *source, size_t first, size_t first_window, struct dataset **ret,
                 struct err *err);
struct dataset *dataset_free(struct dataset *d);
/* Brings all files here and reads their schemas. */
int dataset_stage(struct dataset *d, struct err *err);
/* Compares schemas with the rules and with each other; without an error-level finding d->schema is set. */
int dataset_check_schema(struct dataset *d, struct findings *findings, struct err *err);
/* Converts and counts every part; d->plan and every part's scan are set. */
int dataset_scan(struct dataset *d, struct err *err);

const struct partition *dataset_partition(const struct dataset *d, const struct part *p);
/* Sums over the parts of one partition; caller frees with dataset_stats_free(). The parts' own are given up: once only. */
struct stats *dataset_take_stats(struct dataset *d, size_t partition);
struct stats *dataset_empty_stats(const struct dataset *d);
void dataset_stats_free(const struct dataset *d, struct stats *s);
int64_t dataset_rows(const struct dataset *d, size_t partition);
/* "read_parquet([…])" of the window's parts; caller frees. */
char *dataset_relation(const struct dataset *d, bool newest_only, const char *options);

/* Runs do_item(ctx, table, i) for all i on the dataset's engines; the first failure ends it. */
int dataset_each(struct dataset *d, size_t n,
                 int (*do_item)(void *ctx, struct table *t, size_t i, struct err *err), void *ctx,
                 struct err *err);

DEFINE_CLEANUP(struct dataset *, dataset_free);
#define _cleanup_dataset_ CLEANUP(dataset_free_cleanup)
