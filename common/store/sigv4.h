/* AWS Signature Version 4 for S3 and STS, as a pure function ("Authenticating Requests: Using the Authorization Header",
 * AWS documentation). No clock and no I/O here: time and payload hash are arguments, so the published examples are tests.
 * The path is signed as it is sent (S3 does not normalise it). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

/* Not encoded yet. */
struct sigv4_pair {
    const char *name, *value;
};

struct sigv4_request {
    const char *method;
    const char *host;               /* with :port unless it is the scheme's own */
    const char *path;               /* percent-encoded already, begins with "/" */
    const struct sigv4_pair *query; /* any order; names and values unencoded */
    size_t n_query;
    const struct sigv4_pair
        *headers; /* all are signed; any order and case; host and x-amz-date are added here */
    size_t n_headers;
    const char *payload_sha256; /* 64 hex digits, SIGV4_UNSIGNED, … */
    const char *region, *service;
    const char *access_key_id, *secret_access_key;
    int64_t time_ms; /* wall clock */
};

enum { SIGV4_DATE_MAX = 20, SIGV4_MAX_PAIRS = 64 };

/* "20130524T000000Z" */
void sigv4_date(int64_t time_ms, char ret[static SIGV4_DATE_MAX]);
/* Encodes and sorts: "a=1&b=". Appends. */
int sigv4_query(const struct sigv4_pair *query, size_t n, struct buf *out);
/* The value of the Authorization header, appended; ret_date is what x-amz-date must carry. */
int sigv4_sign(const struct sigv4_request *r, struct buf *out, char ret_date[static SIGV4_DATE_MAX],
               struct err *err);
