/* The environment of a process: what we have ourselves, without the names of the contract, plus what is set here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct environment {
    char **items; /* "NAME=value", NULL-terminated, owned: what execve() takes */
    size_t n, capacity;
};

/* Copies `inherited` (environ) except the contract's and the launchers' own variables: nothing of an outer run may leak in. */
void environment_init(struct environment *e, char *const *inherited);
void environment_release(struct environment *e);
#define _cleanup_environment_ CLEANUP(environment_release)
/* Replaces; NULL is "not set". */
void environment_set(struct environment *e, const char *name, const char *value);
void environment_set_int(struct environment *e, const char *name, int64_t value);
const char *environment_get(const struct environment *e, const char *name);
