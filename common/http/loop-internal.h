/* How http.c hangs its transfers into the loop. */
#pragma once

#include <curl/curl.h>

#include "common/http/loop.h"

/* The easy handle's CURLOPT_PRIVATE is the struct; the loop calls `done` when libcurl has finished with it, after
 * taking the handle out of the multi handle. */
struct loop_transfer {
    void (*done)(struct loop_transfer *t, CURLcode code);
};

CURLM *loop_curl(struct loop *l);
