/* Leader election against answers that a real API server does not give at will: other holders, conflicts, lost and late replies. */
#include "tests/unit/kube/script.h"

#include "operator/kube/lease.h"

#define SEEN(version, holder)                                                                      \
    "{\"kind\":\"Lease\",\"metadata\":{\"name\":\"l\",\"resourceVersion\":\"" version              \
    "\",\"labels\":{\"kept\":\"yes\"}},\"spec\":{\"holderIdentity\":\"" holder                     \
    "\",\"leaseDurationSeconds\":1,\"acquireTime\":\"2026-01-01T00:00:00.000000Z\",\"renewTime\":" \
    "\"2026-01-01T00:00:00.000000Z\",\"leaseTransitions\":4}}"
#define MINE(version) ANSWER("200 OK", SEEN(version, "me"))
#define THEIRS(version) ANSWER("200 OK", SEEN(version, "them"))
#define NOBODYS(version) ANSWER("200 OK", SEEN(version, ""))
#define NOT_FOUND ANSWER("404 Not Found", STATUS(404, "NotFound", "no such lease"))
#define CONFLICT ANSWER("409 Conflict", STATUS(409, "Conflict", "the object has been modified"))
#define EXISTS ANSWER("409 Conflict", STATUS(409, "AlreadyExists", "it exists"))
#define REFUSED ANSWER("403 Forbidden", STATUS(403, "Forbidden", "no"))
#define LOST "" /* closed without an answer */

enum { RENEW_MS = 300, RETRY_MS = 40 };

struct world {
    struct script script;
    struct lease *lease;
    int became, lost, released;
    int64_t became_ms, lost_ms;
};

static void changed(void *ctx, bool leading)
{
    struct world *w = ctx;
    assert_int_equal(lease_leading(w->lease), leading);
    if (leading) {
        w->became++;
        w->became_ms = loop_now_ms();
    } else {
        w->lost++;
        w->lost_ms = loop_now_ms();
    }
}

static void on_released(void *ctx)
{
    struct world *w = ctx;
    assert_false(lease_leading(w->lease));
    w->released++;
}

static void begin(struct world *w, const char *const *answers)
{
    *w = (struct world){0};
    script_start(&w->script, answers);
    const struct lease_config config = {.ns = "n",
                                        .name = "l",
                                        .identity = "me",
                                        .duration_ms = 1000,
                                        .renew_ms = RENEW_MS,
                                        .retry_ms = RETRY_MS,
                                        .changed = changed,
                                        .ctx = w};
    w->lease = lease_new(w->script.client, &config);
}

static void end(struct world *w)
{
    lease_free(w->lease);
    script_end(&w->script);
}

static void run_for(struct world *w, int64_t ms)
{
    struct err err = ERR_INIT;
    for (int64_t until = loop_now_ms() + ms; loop_now_ms() < until;)
        assert_ok(loop_step(w->script.loop, 5, &err), &err);
}

static void until(struct world *w, const int *count, int n)
{
    struct err err = ERR_INIT;
    for (int64_t end_ms = loop_now_ms() + 6000; *count < n;) {
        if (loop_now_ms() > end_ms)
            fail_msg("expected a count of %d, found %d; %zu requests", n, *count, w->script.n_requests);
        assert_ok(loop_step(w->script.loop, 5, &err), &err);
    }
}

static void until_requests(struct world *w, size_t n)
{
    struct err err = ERR_INIT;
    for (int64_t end_ms = loop_now_ms() + 6000; w->script.n_requests < n;) {
        if (loop_now_ms() > end_ms)
            fail_msg("expected %zu requests, found %zu", n, w->script.n_requests);
        assert_ok(loop_step(w->script.loop, 5, &err), &err);
    }
}

static void request_is(const struct world *w, size_t i, const char *beginning)
{
    assert_true(i < w->script.n_requests);
    if (strncmp(w->script.requests[i], beginning, strlen(beginning)) != 0)
        fail_msg("request %zu: expected \"%s\", found \"%.60s\"", i, beginning, w->script.requests[i]);
}

#define PATH "/apis/coordination.k8s.io/v1/namespaces/n/leases"

static void made_and_renewed(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, MINE("1"), MINE("2"), MINE("3"), NULL};
    begin(&w, answers);
    assert_false(lease_leading(w.lease));
    assert_string_equal(lease_holder(w.lease), "");
    until(&w, &w.became, 1);
    assert_string_equal(lease_holder(w.lease), "me");
    request_is(&w, 0, "GET " PATH "/l ");
    request_is(&w, 1, "POST " PATH " ");
    static const char *const parts[] = {"\"holderIdentity\":\"me\"", "\"leaseDurationSeconds\":1,",
                                        "\"leaseTransitions\":0", "\"acquireTime\":\"2", "000Z\""};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        assert_contains(w.script.requests[1], parts[i]);
    until_requests(&w, 4);
    request_is(&w, 2, "PUT " PATH "/l ");
    assert_contains(w.script.requests[2], "\"resourceVersion\":\"1\"");
    assert_contains(w.script.requests[3],
                    "\"resourceVersion\":\"2\""); /* what it wrote last, not read again */
    assert_contains(w.script.requests[3], "\"acquireTime\":\"2026-01-01T00:00:00.000000Z\"");
    assert_contains(w.script.requests[3], "\"leaseTransitions\":4");
    assert_contains(w.script.requests[3], "\"kept\":\"yes\""); /* others' fields stay */
    run_for(&w, 2 * RENEW_MS);
    assert_int_equal(w.became, 1);
    assert_int_equal(w.lost, 0);
    end(&w);
}

static void taken_after_its_whole_duration(void **state)
{
    (void)state;
    struct world w;
    /* The same version as often as it is asked for; the first PUT is known by its method below. */
    const char *const answers[] = {THEIRS("7"), NULL};
    begin(&w, answers);
    int64_t began = loop_now_ms();
    run_for(&w, 900);
    for (size_t i = 0; i < w.script.n_requests; i++)
        request_is(&w, i, "GET ");
    assert_true(w.script.n_requests >= 5);
    assert_string_equal(lease_holder(w.lease), "them");
    size_t first = w.script.n_requests;
    while (strncmp(w.script.requests[w.script.n_requests - 1], "PUT ", 4) != 0)
        run_for(&w, 5);
    assert_true(loop_now_ms() - began >= 1000);
    assert_true(w.script.n_requests >= first);
    const char *put = w.script.requests[w.script.n_requests - 1];
    assert_contains(put, "\"resourceVersion\":\"7\"");
    assert_contains(put, "\"holderIdentity\":\"me\"");
    assert_contains(put, "\"leaseTransitions\":5");
    assert_null(strstr(put, "\"acquireTime\":\"2026-01-01T00:00:00.000000Z\""));
    end(&w);
}

static void never_taken_from_one_who_renews(void **state)
{
    (void)state;
    struct world w;
    static const char *const answers[] =
        {THEIRS("1"),  THEIRS("2"),  THEIRS("3"),  THEIRS("4"),  THEIRS("5"),  THEIRS("6"),  THEIRS("7"),
         THEIRS("8"),  THEIRS("9"),  THEIRS("10"), THEIRS("11"), THEIRS("12"), THEIRS("13"), THEIRS("14"),
         THEIRS("15"), THEIRS("16"), THEIRS("17"), THEIRS("18"), THEIRS("19"), THEIRS("20"), THEIRS("21"),
         THEIRS("22"), THEIRS("23"), THEIRS("24"), THEIRS("25"), THEIRS("26"), THEIRS("27"), THEIRS("28"),
         THEIRS("29"), THEIRS("30"), THEIRS("31"), THEIRS("32"), THEIRS("33"), THEIRS("34"), THEIRS("35"),
         THEIRS("36"), THEIRS("37"), THEIRS("38"), THEIRS("39"), THEIRS("40"), NULL};
    begin(&w, answers);
    run_for(&w, 1400); /* longer than the duration */
    for (size_t i = 0; i < w.script.n_requests; i++)
        request_is(&w, i, "GET ");
    assert_int_equal(w.became, 0);
    end(&w);
}

static void free_ones_are_taken_at_once(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOBODYS("5"), MINE("6"), NULL};
    begin(&w, answers);
    int64_t began = loop_now_ms();
    until(&w, &w.became, 1);
    assert_true(w.became_ms - began < 500);
    request_is(&w, 1, "PUT ");
    assert_contains(w.script.requests[1], "\"leaseTransitions\":5");
    end(&w);
}

static void losers_read_again(void **state)
{
    (void)state;
    static const char *const first[][2] = {{NOT_FOUND, EXISTS}, {NOBODYS("5"), CONFLICT}};
    for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
        struct world w;
        const char *const answers[] = {first[i][0], first[i][1], THEIRS("6"), NULL};
        begin(&w, answers);
        until_requests(&w, 4);
        request_is(&w, 2, "GET ");
        request_is(&w, 3, "GET ");
        assert_int_equal(w.became, 0);
        assert_string_equal(lease_holder(w.lease), "them");
        end(&w);
    }
}

static void who_cannot_renew_stops_in_time(void **state)
{
    (void)state;
    static const char *const failures[] = {REFUSED, LOST,
                                           ANSWER("500 Oops", STATUS(500, "InternalError", "x")),
                                           HOLD /* no answer at all */};
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        struct world w;
        const char *const answers[] = {NOT_FOUND, MINE("1"), failures[i], NULL};
        begin(&w, answers);
        until(&w, &w.became, 1);
        until(&w, &w.lost, 1);
        if (w.lost_ms - w.became_ms > RENEW_MS + 50)
            fail_msg("failure %zu: led for %lld ms more", i, (long long)(w.lost_ms - w.became_ms));
        run_for(&w, 100);
        assert_int_equal(w.became, 1);
        end(&w);
    }
}

static void a_lost_reply_costs_nothing(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, MINE("1"), LOST, MINE("2"), MINE("3"), NULL};
    begin(&w, answers);
    until_requests(&w, 5);
    run_for(&w, RENEW_MS);
    request_is(&w, 2, "PUT ");
    request_is(&w, 3, "GET "); /* it may have happened: read first */
    request_is(&w, 4, "PUT ");
    assert_contains(w.script.requests[4], "\"resourceVersion\":\"2\"");
    assert_int_equal(w.became, 1);
    assert_int_equal(w.lost, 0);
    end(&w);
}

static void a_call_without_answer_is_not_waited_for(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, MINE("1"), HOLD, MINE("1"), MINE("2"), NULL};
    begin(&w, answers);
    until(&w, &w.lost, 1);
    until(&w, &w.became, 2);
    assert_true(w.became_ms - w.lost_ms < 1000); /* the client itself would have waited two seconds */
    request_is(&w, 3, "GET ");
    end(&w);
}

static void who_sees_another_holder_stops_at_once(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, MINE("1"), CONFLICT, THEIRS("2"), NULL};
    begin(&w, answers);
    until(&w, &w.lost, 1);
    request_is(&w, 3, "GET ");
    assert_int_equal(w.script.n_requests, 4);
    assert_string_equal(lease_holder(w.lease), "them");
    end(&w);
}

static void given_back(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, MINE("1"), NOBODYS("2"), NULL};
    begin(&w, answers);
    until(&w, &w.became, 1);
    lease_release(w.lease, on_released, &w);
    assert_int_equal(w.lost, 1); /* before anybody else can lead */
    until(&w, &w.released, 1);
    request_is(&w, 2, "PUT ");
    assert_contains(w.script.requests[2], "\"holderIdentity\":\"\"");
    assert_contains(w.script.requests[2], "\"resourceVersion\":\"1\"");
    run_for(&w, 200);
    assert_int_equal(w.script.n_requests, 3); /* and it does not come back */
    assert_int_equal(w.released, 1);
    end(&w);
}

static void given_back_with_a_renewal_under_way(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, MINE("1"), MINE("2"), NOBODYS("3"), NULL};
    begin(&w, answers);
    until_requests(&w, 3);
    lease_release(w.lease, on_released, &w);
    until(&w, &w.released, 1);
    run_for(&w, 100);
    assert_int_equal(w.became, 1);
    assert_int_equal(w.script.n_requests, 4);
    assert_contains(w.script.requests[3], "\"holderIdentity\":\"\"");
    assert_contains(w.script.requests[3], "\"resourceVersion\":\"2\"");
    end(&w);
}

static void giving_back_what_another_holds_writes_nothing(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {THEIRS("1"), NULL};
    begin(&w, answers);
    until_requests(&w, 2);
    lease_release(w.lease, on_released, &w);
    until(&w, &w.released, 1);
    for (size_t i = 0; i < w.script.n_requests; i++)
        request_is(&w, i, "GET ");
    assert_int_equal(w.lost, 0);
    end(&w);
}

static void giving_back_ends_also_without_an_answer(void **state)
{
    (void)state;
    static const char *const failures[] = {REFUSED, LOST, HOLD};
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        struct world w;
        const char *const answers[] = {NOT_FOUND, MINE("1"), failures[i], NULL};
        begin(&w, answers);
        until(&w, &w.became, 1);
        lease_release(w.lease, on_released, &w);
        until(&w, &w.released, 1);
        end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a Lease that is not there is made, then renewed by what was written last", made_and_renewed, NULL,
         NULL, NULL},
        {"another's is taken when it was not renewed for its whole duration", taken_after_its_whole_duration,
         NULL, NULL, NULL},
        {"never from one who renews it", never_taken_from_one_who_renews, NULL, NULL, NULL},
        {"nobody's is taken at once", free_ones_are_taken_at_once, NULL, NULL, NULL},
        {"who comes second reads again", losers_read_again, NULL, NULL, NULL},
        {"a leader that cannot renew stops in time", who_cannot_renew_stops_in_time, NULL, NULL, NULL},
        {"a reply lost after success costs no leadership", a_lost_reply_costs_nothing, NULL, NULL, NULL},
        {"a call without an answer is not waited for", a_call_without_answer_is_not_waited_for, NULL, NULL,
         NULL},
        {"a leader that sees another holder stops at once", who_sees_another_holder_stops_at_once, NULL, NULL,
         NULL},
        {"given back: leadership ends first, and it stays away", given_back, NULL, NULL, NULL},
        {"given back with a renewal under way", given_back_with_a_renewal_under_way, NULL, NULL, NULL},
        {"giving back what another holds writes nothing", giving_back_what_another_holds_writes_nothing, NULL,
         NULL, NULL},
        {"giving back ends also when the API server does not answer", giving_back_ends_also_without_an_answer,
         NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
