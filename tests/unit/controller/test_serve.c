/* What the operator serves: metrics as text, probes, progress posts with their answers, over real connections. */
#include "operator/controller/serve.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/http/http.h"
#include "tests/unit/unit.h"

/* --- metrics ------------------------------------------------------------------------------------------------- */

static char *text_of(const struct metrics *m)
{
    struct buf out = BUF_INIT(LIMIT_HTTP_BODY_BYTES);
    metrics_print(m, &out);
    return buf_take(&out);
}

static void metrics_as_text(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_add(m, METRIC_API_REQUESTS, (const char *[3]){"get", "jobs", "200"}, 1);
    metrics_add(m, METRIC_API_REQUESTS, (const char *[3]){"get", "jobs", "200"}, 2);
    metrics_set(m, METRIC_TIME_TO_TRAIN, (const char *[3]){"team", "a\"b\\c\nd"}, 1.5);
    metrics_set(m, METRIC_LEADER, NULL, 1);
    metrics_observe(m, METRIC_HANDOFF, NULL, 0.004);
    metrics_observe(m, METRIC_HANDOFF, NULL, 0.2);
    metrics_observe(m, METRIC_HANDOFF, NULL, 600);
    char *text = text_of(m);
    static const char *const parts[] = {
        "# TYPE trainyard_api_requests_total counter\n",
        "trainyard_api_requests_total{verb=\"get\",resource=\"jobs\",code=\"200\"} 3\n",
        "trainyard_time_to_train_seconds{namespace=\"team\",pipeline=\"a\\\"b\\\\c\\nd\"} 1.5\n",
        "# HELP trainyard_leader 1 for the leader.\n",
        "\ntrainyard_leader 1\n",
        "trainyard_handoff_seconds_bucket{le=\"0.0025\"} 0\n",
        "trainyard_handoff_seconds_bucket{le=\"0.005\"} 1\n",
        "trainyard_handoff_seconds_bucket{le=\"0.25\"} 2\n",
        "trainyard_handoff_seconds_bucket{le=\"60\"} 2\n",
        "trainyard_handoff_seconds_bucket{le=\"+Inf\"} 3\n",
        "trainyard_handoff_seconds_sum 600.204\n",
        "trainyard_handoff_seconds_count 3\n",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_contains(text, parts[i]);
    assert_null(strstr(text, "trainyard_queue_depth")); /* nothing is known of it yet */
    free(text);
    metrics_free(m);
}

static void series_are_bounded_and_forgotten(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    for (int i = 0; i < LIMIT_METRIC_SERIES + 100; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "p%d", i);
        metrics_add(m, METRIC_VALIDATION_FAILURES, (const char *[3]){"team", name}, 1);
    }
    char *text = text_of(m);
    assert_contains(text,
                    "trainyard_validation_failures_total{namespace=\"other\",pipeline=\"other\"} 100\n");
    free(text);
    /* Also where somebody's namespace has the name of what is beyond. */
    for (int i = 0; i < LIMIT_METRIC_SERIES + 100; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "p%d", i);
        metrics_set(m, METRIC_DATA_AGE, (const char *[3]){"other", name}, i);
    }
    text = text_of(m);
    assert_contains(text, "trainyard_data_age_seconds{namespace=\"other\",pipeline=\"p7\"} 7\n");
    assert_contains(text, "trainyard_data_age_seconds{namespace=\"other\",pipeline=\"other\"} 2099\n");
    free(text);
    metrics_set(m, METRIC_CHECKPOINT_AGE, (const char *[3]){"team", "p", "a"}, 1);
    metrics_set(m, METRIC_CHECKPOINT_AGE, (const char *[3]){"team", "p", "b"}, 1);
    metrics_set(m, METRIC_CHECKPOINT_AGE, (const char *[3]){"team", "q", "a"}, 1);
    metrics_forget(m, METRIC_CHECKPOINT_AGE, (const char *[3]){"team", "p"});
    text = text_of(m);
    assert_null(strstr(text, "pipeline=\"p\",step"));
    assert_contains(text, "pipeline=\"q\",step=\"a\"");
    free(text);
    metrics_free(m);
}

/* --- over connections ------------------------------------------------------------------------------------------ */

struct world {
    struct loop *loop;
    struct http_client *client;
    struct server *server;
    struct metrics *metrics;
    struct progress *progress;
    const char *not_ready, *leader;
    char woken[64];
    int status; /* of the last answer */
    char body[1024], location[256];
    bool answered;
};

static const char *not_ready(void *ctx)
{
    return ((struct world *)ctx)->not_ready;
}
static const char *healthy(void *ctx)
{
    (void)ctx;
    return NULL;
}
static const char *leader(void *ctx)
{
    return ((struct world *)ctx)->leader;
}
static struct progress *progress_of(void *ctx)
{
    return ((struct world *)ctx)->progress;
}
static void collect(void *ctx)
{
    metrics_set(((struct world *)ctx)->metrics, METRIC_LEADER, NULL, 1);
}
static void woken(void *ctx, const char *run_uid)
{
    struct world *w = ctx;
    (void)snprintf(w->woken, sizeof w->woken, "%s", run_uid);
}

static void begin(struct world *w)
{
    struct err err = ERR_INIT;
    *w = (struct world){0};
    assert_ok(loop_new(&w->loop, &err), &err);
    assert_ok(http_client_new(w->loop, &(struct http_config){0}, &w->client, &err), &err);
    w->metrics = metrics_new();
    w->progress = progress_new("0123456789012345678901234567890123456789", 40, woken, w);
    const struct server_config config = {.address = "127.0.0.1",
                                         .metrics = w->metrics,
                                         .not_healthy = healthy,
                                         .not_ready = not_ready,
                                         .collect = collect,
                                         .leader = leader,
                                         .progress = progress_of,
                                         .ctx = w};
    assert_ok(server_new(w->loop, &config, &w->server, &err), &err);
}

static void end(struct world *w)
{
    http_client_free(w->client);
    server_free(w->server);
    progress_free(w->progress);
    metrics_free(w->metrics);
    loop_free(w->loop);
}

static void answered(void *ctx, struct http_response *response, struct err *failure)
{
    struct world *w = ctx;
    if (err_is_set(failure))
        fail_msg("%s", failure->msg);
    w->answered = true;
    w->status = response->status;
    (void)snprintf(w->body, sizeof w->body, "%s", buf_str(&response->body));
    char *location = http_header_dup(response, "Location");
    (void)snprintf(w->location, sizeof w->location, "%s", location ? location : "");
    free(location);
}

static int ask(struct world *w, int port, const char *method, const char *path, const char *token,
               const char *body)
{
    struct err err = ERR_INIT;
    struct http_exchange *exchange = NULL;
    _cleanup_free_ char *url = xasprintf("http://127.0.0.1:%d%s", port, path),
                        *header = xasprintf("Authorization: Bearer %s", token ? token : "");
    const char *headers[] = {token ? header : NULL, NULL};
    const struct http_request r = {.method = method,
                                   .url = url,
                                   .headers = headers,
                                   .body = body,
                                   .body_len = body ? strlen(body) : 0};
    w->answered = false;
    assert_ok(http_start(w->client, &r, answered, w, &exchange, &err), &err);
    for (int64_t until = loop_now_ms() + 5000; !w->answered && loop_now_ms() < until;)
        assert_ok(loop_step(w->loop, 50, &err), &err);
    assert_true(w->answered);
    return w->status;
}

static void probes(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    int port = server_metrics_port(w.server);
    assert_int_equal(ask(&w, port, "GET", "/healthz", NULL, NULL), 200);
    assert_int_equal(ask(&w, port, "GET", "/readyz", NULL, NULL), 200);
    w.not_ready = "waiting for the first list of jobs";
    assert_int_equal(ask(&w, port, "GET", "/readyz", NULL, NULL), 503);
    assert_contains(w.body, "first list of jobs");
    assert_int_equal(ask(&w, port, "GET", "/metrics", NULL, NULL), 200);
    assert_contains(w.body, "trainyard_leader 1");
    assert_int_equal(ask(&w, port, "GET", "/", NULL, NULL), 404);
    assert_int_equal(ask(&w, port, "DELETE", "/metrics", NULL, NULL), 405);
    end(&w);
}

static void pause_ms(struct world *w, int64_t ms)
{
    struct err err = ERR_INIT;
    for (int64_t until = loop_now_ms() + ms; loop_now_ms() < until;)
        assert_ok(loop_step(w->loop, 5, &err), &err);
}

static void posts(void **state)
{
    (void)state;
    struct world w;
    char token[65], other[65];
    static const char path[] = "/v1/progress/team/rank-1/train/0/2";
    begin(&w);
    int port = server_progress_port(w.server);
    progress_token(w.progress, "uid-1", "train", 2, 0, token);
    progress_token(w.progress, "uid-1", "train", 1, 0, other);
    assert_string_not_equal(token, other);
    assert_int_equal(ask(&w, port, "POST", path, token, "{}"), 404); /* not announced */
    progress_expect(w.progress, "team", "rank-1", "uid-1", "train", 0, 2);
    assert_null(progress_get(w.progress, "uid-1", "train", 0, 2));
    assert_int_equal(ask(&w, port, "POST", path, other, "{\"fraction\":0.5}"), 401);
    assert_int_equal(ask(&w, port, "POST", path, NULL, "{\"fraction\":0.5}"), 401);
    assert_int_equal(ask(&w, port, "GET", path, token, NULL), 405);
    assert_int_equal(ask(&w, port, "POST", path, token, "no json"), 400);
    assert_null(progress_get(w.progress, "uid-1", "train", 0, 2));
    assert_int_equal(
        ask(&w, port, "POST", path, token,
            "{\"fraction\":0.25,\"metrics\":{\"step\":10,\"checkpoint_step\":5,\"training_throughput_samples_per_sec\":1000,"
            "\"checkpoint_duration_ms\":1500,\"data_loading_latency_ms\":1}}"),
        204);
    const struct progress_attempt *a = progress_get(w.progress, "uid-1", "train", 0, 2);
    assert_non_null(a);
    assert_true(a->fraction == 0.25 && a->checkpoint_step == 5 && a->samples_per_second == 1000 &&
                a->checkpoint_seconds == 1.5);
    assert_string_equal(w.woken, "uid-1"); /* the checkpoint goes to the status at once */
    w.woken[0] = '\0';
    assert_int_equal(ask(&w, port, "POST", path, token, "{}"), 429);
    pause_ms(&w, 120);
    assert_int_equal(ask(&w, port, "POST", path, token,
                         "{\"fraction\":7,\"metrics\":{\"step\":20,\"checkpoint_step\":4,"
                         "\"data_loading_latency_ms\":2}}"),
                     204);
    assert_true(a->fraction == 1 && a->checkpoint_step == 5); /* a checkpoint never goes back */
    assert_true(a->data_wait_ratio > 0 && a->data_wait_ratio < 0.5);
    assert_string_equal(w.woken, "");
    _cleanup_free_ char *large = xcalloc(LIMIT_PROGRESS_BYTES + 2, 1);
    memset(large, ' ', LIMIT_PROGRESS_BYTES + 1);
    assert_int_equal(ask(&w, port, "POST", path, token, large), 413);
    progress_ended(w.progress, "uid-1", "train", 0, 2);
    pause_ms(&w, 120);
    assert_int_equal(ask(&w, port, "POST", path, token, "{}"), 410);
    /* Another run of the same name is another attempt, with another token. */
    progress_expect(w.progress, "team", "rank-1", "uid-2", "train", 0, 2);
    assert_int_equal(ask(&w, port, "POST", path, token, "{}"), 401);
    _cleanup_free_ char *url = progress_url("http://op:8081", "team", "rank-1", "train", 0, 2);
    assert_string_equal(url, "http://op:8081/v1/progress/team/rank-1/train/0/2");
    end(&w);
}

static void a_standby_points_to_the_leader(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    int port = server_progress_port(w.server);
    w.leader = "10.1.2.3:8081";
    assert_int_equal(ask(&w, port, "POST", "/v1/progress/a/b/c/0/1", "t", "{}"), 307);
    assert_string_equal(w.location, "http://10.1.2.3:8081/v1/progress/a/b/c/0/1");
    w.leader = "";
    assert_int_equal(ask(&w, port, "POST", "/v1/progress/a/b/c/0/1", "t", "{}"), 503);
    w.leader = NULL;
    w.progress = progress_free(w.progress);
    assert_int_equal(ask(&w, port, "POST", "/v1/progress/a/b/c/0/1", "t", "{}"), 503);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"metrics in the text format", metrics_as_text, NULL, NULL, NULL},
        {"series are bounded, and forgotten with their pipeline", series_are_bounded_and_forgotten, NULL,
         NULL, NULL},
        {"probes say why", probes, NULL, NULL, NULL},
        {"progress posts and their answers", posts, NULL, NULL, NULL},
        {"a standby points to the leader", a_standby_points_to_the_leader, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
