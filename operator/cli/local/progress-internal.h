/* Shared by progress.c (what a post means) and receiver.c (the socket). */
#pragma once

#include "common/http/listener.h"
#include "operator/cli/local/progress.h"

#define PROGRESS_PATH "/v1/progress/"

struct progress {
    char *run_uid;
    uint8_t key[SHA256_LEN];
    struct progress_entry **entries;
    size_t n, capacity;
    bool changed;
    struct listener *listener; /* NULL: not listening */
    const struct clock *clock;
};

void progress_unlisten(struct progress *p);
