/* Shared by workers.c (life of attempts) and launch.c (files and environment of one). */
#pragma once

#include "operator/cli/local/environment.h"
#include "operator/cli/local/process.h"
#include "operator/cli/local/workers.h"

struct rank {
    pid_t pid; /* 0: not running */
    enum pod_phase phase;
    int exit_code, signal;
    char *message; /* of the result file; NULL: none */
    char *detail;
    const char *reason;
    int64_t started_ms, finished_ms;
    int64_t max_rss_bytes, cpu_ms;
};

struct attempt {
    size_t step;
    int64_t item;
    int restart, number;
    char *dir;
    struct rank *ranks;
    int64_t workers, per_worker;    /* ranks = workers × per_worker */
    int64_t created_ms, kill_at_ms; /* 0: not being ended */
    int64_t oom_kills;              /* the machine's count when it began */
    bool over, measured;
};

/* What all ranks of an attempt share. */
struct launch {
    const struct workers_config *config;
    const struct step *step;
    const struct job *job;
    const char *dir;
    int64_t workers, per_worker;
    char address_base[16]; /* "127.a.b." */
    unsigned address_third;
    int master_port;
};

/* Writes config, inputs and store descriptions. */
int launch_prepare(const struct workers_config *config, const struct step *step, const struct job *job,
                   const char *dir, struct launch *ret, struct err *err);
/* The environment of a rank; scratch is its directory. */
void launch_environment(const struct launch *l, int rank, const char *scratch, struct environment *ret);
int launch_rank(const struct launch *l, int rank, pid_t *ret_pid, struct err *err);
char *launch_result_path(const char *dir, int rank);
void launch_remove_scratch(const char *dir, int64_t ranks);
