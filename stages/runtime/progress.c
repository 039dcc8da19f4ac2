/* The poster's thread. It owns its curl handle; the rest of the program never waits for it. */
#include "stages/runtime/progress.h"

#include <curl/curl.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"

enum { INTERVAL_MS = 500, POST_TIMEOUT_MS = 2000, LAST_TIMEOUT_MS = 1000, MESSAGE_MAX = 512 };

struct progress {
    char *url, *token;
    CURL *curl;
    struct curl_slist *headers;
    pthread_t thread;
    bool threaded;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    char *pending; /* the newest body not yet posted */
    bool quit;
};

static size_t discard(char *data, size_t size, size_t n, void *ctx)
{
    (void)data;
    (void)ctx;
    return size * n;
}

static void post(struct progress *p, const char *body, long timeout_ms)
{
    struct err err = ERR_INIT;
    if (text_starts_with(p->url, "file://")) {
        if (fs_write_atomic(p->url + strlen("file://"), body, strlen(body), &err) < 0)
            log_debug("progress not written", "why", err.msg, NULL);
        return;
    }
    (void)curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, body);
    (void)curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    CURLcode code = curl_easy_perform(p->curl);
    if (code != CURLE_OK)
        log_debug("progress not posted", "why", curl_easy_strerror(code), NULL);
}

static void pause_posting(struct progress *p)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += INTERVAL_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    while (!p->quit && pthread_cond_timedwait(&p->wake, &p->mutex, &until) == 0)
        ;
}

static void *poster(void *arg)
{
    struct progress *p = arg;
    (void)pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->pending && !p->quit)
            (void)pthread_cond_wait(&p->wake, &p->mutex);
        if (!p->pending)
            break;
        _cleanup_free_ char *body = steal_ptr(p->pending);
        bool last = p->quit;
        (void)pthread_mutex_unlock(&p->mutex);
        post(p, body, last ? LAST_TIMEOUT_MS : POST_TIMEOUT_MS);
        (void)pthread_mutex_lock(&p->mutex);
        pause_posting(p);
    }
    (void)pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static bool prepare_curl(struct progress *p)
{
    p->curl = curl_easy_init();
    if (!p->curl)
        return false;
    p->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (p->token) {
        _cleanup_free_ char *header = xasprintf("Authorization: Bearer %s", p->token);
        p->headers = curl_slist_append(p->headers, header);
    }
    (void)curl_easy_setopt(p->curl, CURLOPT_URL, p->url);
    (void)curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, p->headers);
    (void)curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, discard);
    (void)curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(p->curl, CURLOPT_FOLLOWLOCATION, 1L); /* a standby answers 307 to the leader */
    (void)curl_easy_setopt(p->curl, CURLOPT_UNRESTRICTED_AUTH, 1L);
    (void)curl_easy_setopt(p->curl, CURLOPT_MAXREDIRS, 3L);
    (void)curl_easy_setopt(p->curl, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(p->curl, CURLOPT_POSTREDIR, CURL_REDIR_POST_ALL);
    return true;
}

struct progress *progress_new(const char *url, const char *token)
{
    struct progress *p = xcalloc(1, sizeof *p);
    if (!url || !*url)
        return p;
    p->url = xstrdup(url);
    p->token = token && *token ? xstrdup(token) : NULL;
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&p->mutex, NULL);
    (void)pthread_cond_init(&p->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (!text_starts_with(url, "file://") && !prepare_curl(p))
        return p;
    p->threaded = pthread_create(&p->thread, NULL, poster, p) == 0;
    return p;
}

static char *body_of(double fraction, const char *message, const cJSON *metrics)
{
    char text[MESSAGE_MAX + 1];
    size_t n = message ? strlen(message) : 0;
    if (n > MESSAGE_MAX) {
        n = MESSAGE_MAX;
        while (n > 0 && ((unsigned char)message[n] & 0xc0) == 0x80)
            n--;
    }
    if (n)
        memcpy(text, message, n);
    text[n] = '\0';
    for (int with_metrics = metrics ? 1 : 0; with_metrics >= 0; with_metrics--) {
        _cleanup_json_ cJSON *o = json_object();
        if (!(fraction < 0))
            json_add_double(o, "fraction", isfinite(fraction) ? fmin(fraction, 1) : 0);
        if (message)
            json_add_string(o, "message", text);
        if (with_metrics)
            json_add(o, "metrics", cJSON_Duplicate(metrics, true));
        struct err err = ERR_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT(LIMIT_PROGRESS_BYTES);
        if (json_canonical(o, &b, &err) == 0)
            return buf_take(&b);
    }
    return NULL;
}

void progress_report(struct progress *p, double fraction, const char *message, const cJSON *metrics)
{
    if (!p || !p->threaded)
        return;
    char *body = body_of(fraction, message, metrics);
    if (!body)
        return;
    (void)pthread_mutex_lock(&p->mutex);
    free(p->pending);
    p->pending = body;
    (void)pthread_cond_signal(&p->wake);
    (void)pthread_mutex_unlock(&p->mutex);
}

struct progress *progress_free(struct progress *p)
{
    if (!p)
        return NULL;
    if (p->threaded) {
        (void)pthread_mutex_lock(&p->mutex);
        p->quit = true;
        (void)pthread_cond_signal(&p->wake);
        (void)pthread_mutex_unlock(&p->mutex);
        (void)pthread_join(p->thread, NULL);
    }
    if (p->url) {
        (void)pthread_cond_destroy(&p->wake);
        (void)pthread_mutex_destroy(&p->mutex);
    }
    curl_slist_free_all(p->headers);
    if (p->curl)
        curl_easy_cleanup(p->curl);
    free(p->pending);
    free(p->url);
    free(p->token);
    free(p);
    return NULL;
}
