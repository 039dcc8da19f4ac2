/* Keys to look at: once each, one hand each, in order, with back-off. */
#include "operator/kube/queue.h"

#include "common/base/alloc.h"
#include "tests/unit/unit.h"

struct world {
    struct loop *loop;
    struct queue *queue;
    char log[4096];          /* "a b a" */
    const char *finish;      /* "done", "retry", or NULL: it stays in hand */
    const char *add_in_hand; /* added while it is in hand */
    int64_t times[64];
    int n, waited, handled;
};

static void process(void *ctx, const char *key)
{
    struct world *w = ctx;
    (void)snprintf(w->log + strlen(w->log), sizeof w->log - strlen(w->log), "%s%s", w->log[0] ? " " : "",
                   key);
    w->times[w->n++ % 64] = loop_now_ms();
    if (w->add_in_hand) {
        queue_add(w->queue, w->add_in_hand);
        w->add_in_hand = NULL;
    }
    if (w->finish && strcmp(w->finish, "done") == 0)
        queue_done(w->queue, key);
    else if (w->finish)
        queue_retry(w->queue, key);
}

static void waited(void *ctx, int64_t ms)
{
    struct world *w = ctx;
    assert_true(ms >= 0);
    w->waited++;
}

static void handled(void *ctx, int64_t ms)
{
    struct world *w = ctx;
    assert_true(ms >= 0);
    w->handled++;
}

static void begin(struct world *w, int max_in_hand)
{
    struct err err = ERR_INIT;
    *w = (struct world){.finish = "done"};
    assert_ok(loop_new(&w->loop, &err), &err);
    const struct queue_config config = {.process = process,
                                        .ctx = w,
                                        .max_in_hand = max_in_hand,
                                        .initial_ms = 20,
                                        .max_ms = 80,
                                        .seed = 7,
                                        .waited = waited,
                                        .handled = handled};
    w->queue = queue_new(w->loop, &config);
}

static void end(struct world *w)
{
    queue_free(w->queue);
    loop_free(w->loop);
}

static void run_for(struct world *w, int64_t ms)
{
    struct err err = ERR_INIT;
    for (int64_t until = loop_now_ms() + ms; loop_now_ms() < until;)
        assert_ok(loop_step(w->loop, 5, &err), &err);
}

static void once_each_in_order(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    static const char *const keys[] = {"a", "b", "a", "c", "b"};
    for (size_t i = 0; i < 5; i++)
        queue_add(w.queue, keys[i]);
    assert_string_equal(w.log, ""); /* never inside queue_add() */
    assert_int_equal(queue_depth(w.queue), 3);
    run_for(&w, 30);
    assert_string_equal(w.log, "a b c");
    assert_int_equal(w.waited, 3);
    assert_int_equal(w.handled, 3);
    assert_int_equal(queue_depth(w.queue), 0);
    queue_add(w.queue, "a");
    run_for(&w, 30);
    assert_string_equal(w.log, "a b c a");
    end(&w);
}

static void the_earliest_time_counts(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    queue_add_after(w.queue, "late", 10 * 1000);
    queue_add_after(w.queue, "soon", 40);
    queue_add_after(w.queue, "soon", 5000);
    queue_add_after(w.queue, "late", 60);
    run_for(&w, 30);
    assert_string_equal(w.log, "");
    run_for(&w, 100);
    assert_string_equal(w.log, "soon late");
    run_for(&w, 30);
    assert_string_equal(w.log, "soon late"); /* the later times are gone with them */
    end(&w);
}

static void added_in_hand_comes_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    w.add_in_hand = "a";
    queue_add(w.queue, "a");
    run_for(&w, 30);
    assert_string_equal(w.log, "a a");

    w.finish = NULL;
    queue_add(w.queue, "b");
    run_for(&w, 20);
    queue_add(w.queue, "b"); /* in one hand only */
    queue_add(w.queue, "b");
    run_for(&w, 20);
    assert_string_equal(w.log, "a a b");
    assert_int_equal(queue_in_hand(w.queue), 1);
    queue_done(w.queue, "b");
    run_for(&w, 20);
    assert_string_equal(w.log, "a a b b");
    queue_done(w.queue, "b");
    run_for(&w, 20);
    assert_string_equal(w.log, "a a b b");
    end(&w);
}

static void hands_are_bounded(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 2);
    w.finish = NULL;
    queue_add(w.queue, "a");
    queue_add(w.queue, "b");
    queue_add(w.queue, "c");
    run_for(&w, 30);
    assert_string_equal(w.log, "a b");
    queue_done(w.queue, "a");
    run_for(&w, 30);
    assert_string_equal(w.log, "a b c");
    end(&w);
}

static void back_off_grows_and_is_forgotten(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    w.finish = "retry";
    queue_add(w.queue, "a");
    run_for(&w, 600);
    assert_true(w.n >= 7 && w.n <= 20); /* 20, 40, 80, 80, … each halved at most */
    for (int i = 1; i < w.n; i++) {
        int64_t pause = w.times[i] - w.times[i - 1], longest = i == 1 ? 20 : i == 2 ? 40 : 80;
        if (pause < longest / 2 - 1)
            fail_msg("pause %d is %lld ms, expected at least %lld", i, (long long)pause,
                     (long long)longest / 2);
    }
    w.finish = "done";
    run_for(&w, 150);
    int before = w.n;
    w.finish = "retry";
    queue_add(w.queue, "a");
    run_for(&w, 35);
    assert_true(w.n >= before + 2); /* the first pause is short again */
    queue_forget(w.queue, "a");
    before = w.n;
    run_for(&w, 150);
    assert_int_equal(w.n, before);
    end(&w);
}

static void news_come_before_the_back_off(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    w.finish = "retry";
    w.add_in_hand = "a";
    queue_add(w.queue, "a");
    run_for(&w, 5);
    assert_true(w.n >= 2);
    end(&w);
}

static void paused_keys_stay(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    queue_pause(w.queue, true);
    queue_add(w.queue, "a");
    run_for(&w, 30);
    assert_string_equal(w.log, "");
    assert_int_equal(queue_depth(w.queue), 1);
    queue_pause(w.queue, false);
    run_for(&w, 30);
    assert_string_equal(w.log, "a");
    end(&w);
}

/* Against a plain list: after any order of additions, keys come by time, then by order of addition. */
static void many_in_any_order(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1);
    unsigned x = 12345;
    char expected[4096] = "";
    for (int i = 0; i < 300; i++) {
        char key[8];
        x = x * 1664525u + 1013904223u;
        (void)snprintf(key, sizeof key, "k%u", (x >> 16) % 50);
        x = x * 1664525u + 1013904223u;
        queue_add_after(w.queue, key, 100000 + (int64_t)((x >> 16) % 1000));
        if (i % 3 == 0)
            queue_forget(w.queue, key);
    }
    for (int i = 0; i < 50; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", (i * 7) % 50);
        queue_add(w.queue, key);
        (void)snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%s", i ? " " : "",
                       key);
    }
    run_for(&w, 100);
    assert_string_equal(w.log, expected);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a key is in the queue once, and order is kept", once_each_in_order, NULL, NULL, NULL},
        {"of several times the earliest counts", the_earliest_time_counts, NULL, NULL, NULL},
        {"what is added while in hand comes again, in one hand at a time", added_in_hand_comes_again, NULL,
         NULL, NULL},
        {"no more are in hand than may be", hands_are_bounded, NULL, NULL, NULL},
        {"back-off grows up to its maximum; success forgets it", back_off_grows_and_is_forgotten, NULL, NULL,
         NULL},
        {"news come before the back-off has passed", news_come_before_the_back_off, NULL, NULL, NULL},
        {"a paused queue keeps its keys", paused_keys_stay, NULL, NULL, NULL},
        {"many keys in any order", many_in_any_order, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
