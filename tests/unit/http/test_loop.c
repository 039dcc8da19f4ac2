/* Timers and descriptors of the loop, above all: what was cancelled never fires. */

#include <poll.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/http/loop.h"
#include "tests/unit/unit.h"

static struct buf seen = {.max = 1000};
static struct loop *loop;
static struct loop_timer *victim_timer;
static struct loop_fd *fds[3];

static int setup(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    buf_reset(&seen);
    assert_ok(loop_new(&loop, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop = loop_free(loop);
    buf_release(&seen);
    return 0;
}

static void note(void *ctx)
{
    (void)buf_adds(&seen, ctx);
}

static void stop(void *ctx)
{
    loop_stop(ctx);
}

static void cancel_victim(void *ctx)
{
    note(ctx);
    victim_timer = loop_timer_cancel(victim_timer);
}

static void timers_fire_in_order_and_cancelled_ones_never(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    (void)loop_timer_start(loop, 20, note, "c");
    (void)loop_timer_start(loop, 0, note, "a");
    (void)loop_timer_start(loop, 0, note, "b");
    (void)loop_timer_start(loop, 10, cancel_victim, "x");
    victim_timer = loop_timer_start(loop, 10, note, "NEVER");
    (void)loop_timer_start(loop, 40, stop, loop);
    assert_ok(loop_run(loop, &err), &err);
    assert_string_equal(buf_str(&seen), "abxc");
    assert_null(loop_timer_cancel(NULL));
}

static void stop_both(void *ctx, short revents)
{
    assert_true(revents & POLLIN);
    (void)buf_adds(&seen, ctx);
    fds[0] = loop_fd_stop(fds[0]);
    fds[1] = loop_fd_stop(fds[1]);
}

static void a_stopped_descriptor_is_silent_within_the_same_round(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int a[2], b[2];
    assert_int_equal(pipe(a), 0);
    assert_int_equal(pipe(b), 0);
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    fds[0] = loop_fd_start(loop, a[0], POLLIN, stop_both, "a");
    fds[1] = loop_fd_start(loop, b[0], POLLIN, stop_both, "b");
    assert_ok(loop_step(loop, 100, &err), &err);
    assert_ok(loop_step(loop, 10, &err), &err);
    assert_string_equal(buf_str(&seen), "a");
    for (int i = 0; i < 2; i++) {
        (void)close(a[i]);
        (void)close(b[i]);
    }
}

static void on_hang_up(void *ctx, short revents)
{
    (void)ctx;
    (void)buf_adds(&seen, revents & POLLHUP ? "hup" : "?");
    fds[2] = loop_fd_stop(fds[2]);
    loop_stop(loop);
}

static void a_hang_up_is_reported(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int p[2];
    assert_int_equal(pipe(p), 0);
    fds[2] = loop_fd_start(loop, p[0], POLLIN, on_hang_up, NULL);
    (void)close(p[1]);
    assert_ok(loop_run(loop, &err), &err);
    assert_string_equal(buf_str(&seen), "hup");
    (void)close(p[0]);
}

static void waiting_ends_at_the_given_time(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int64_t before = loop_now_ms();
    assert_ok(loop_step(loop, 30, &err), &err);
    int64_t took = loop_now_ms() - before;
    if (took < 25)
        fail_msg("expected a wait of 30 ms, found %lld", (long long)took);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(timers_fire_in_order_and_cancelled_ones_never),
        T(a_stopped_descriptor_is_silent_within_the_same_round),
        T(a_hang_up_is_reported),
        T(waiting_ends_at_the_given_time),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
