/* Checkpoints on a real file:// store: saved and restored bit for bit, kept by count, damaged and foreign ones passed over,
 * attempts that were overtaken refused. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "stages/train-ddp/checkpoint.h"

enum { WEIGHTS = 1000, MOMENTS = 2000 };
static const char *const print_a = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char *const print_b = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct fixture {
    char *dir, *scratch;
    struct store *store;
};

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    if (fs_make_temp_dir("/tmp", "test-checkpoint", &f->dir, &err) < 0 ||
        fs_make_temp_dir("/tmp", "test-scratch", &f->scratch, &err) < 0)
        return -1;
    _cleanup_free_ char *url = xasprintf("file://%s", f->dir);
    struct store_config config = {.url = url};
    *state = f;
    return store_open(&config, &f->store, &err);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    store_free(f->store);
    int r = fs_remove_tree(f->dir, &err) < 0 || fs_remove_tree(f->scratch, &err) < 0 ? -1 : 0;
    free(f->dir);
    free(f->scratch);
    free(f);
    return r;
}

static struct checkpoint_options options(const struct fixture *f, int attempt)
{
    return (struct checkpoint_options){.store = f->store,
                                       .prefix = "runs/u/train/g1/checkpoints",
                                       .attempt = attempt,
                                       .claim = true,
                                       .keep = 2,
                                       .scratch = f->scratch,
                                       .fingerprint = print_a};
}

static float value(int64_t step, size_t i)
{
    return (float)step * 0.37F + (float)i / 3.0F;
}

static void save(struct checkpoints *c, int64_t step, bool best)
{
    static float weights[WEIGHTS], moments[MOMENTS], kept[WEIGHTS];
    for (size_t i = 0; i < WEIGHTS; i++) {
        weights[i] = value(step, i);
        kept[i] = -weights[i];
    }
    for (size_t i = 0; i < MOMENTS; i++)
        moments[i] = value(step + 1, i);
    struct checkpoint_data d = {.step = step,
                                .weights = weights,
                                .n_weights = WEIGHTS,
                                .optimizer = moments,
                                .n_optimizer = MOMENTS,
                                .best = kept,
                                .has_best = best};
    d.text = xasprintf("{\"step\":%lld}", (long long)step);
    checkpoints_save(c, &d);
    checkpoints_await(c);
}

/* Step restored to, or -1. */
static int64_t restore(struct checkpoints *c, bool expect_best)
{
    struct err err = ERR_INIT;
    float weights[WEIGHTS], moments[MOMENTS], best[WEIGHTS];
    struct checkpoint_data d = {.weights = weights,
                                .n_weights = WEIGHTS,
                                .optimizer = moments,
                                .n_optimizer = MOMENTS,
                                .best = best};
    bool found;
    assert_ok(checkpoints_restore(c, &d, &found, &err), &err);
    if (!found)
        return -1;
    for (size_t i = 0; i < WEIGHTS; i++)
        assert_true(weights[i] == value(d.step, i));
    for (size_t i = 0; i < MOMENTS; i++)
        assert_true(moments[i] == value(d.step + 1, i));
    assert_int_equal(d.has_best, expect_best);
    assert_true(!expect_best || best[5] == -weights[5]);
    _cleanup_free_ char *text = xasprintf("{\"step\":%lld}", (long long)d.step);
    assert_string_equal(d.text, text);
    free(d.text);
    return d.step;
}

static void saved_kept_and_restored(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT, failure = ERR_INIT;
    struct checkpoint_options o = options(f, 1);
    _cleanup_checkpoints_ struct checkpoints *c = NULL, *next = NULL;
    assert_ok(checkpoints_open(&o, &c, &err), &err);
    assert_int_equal(restore(c, false), -1);
    save(c, 10, false);
    save(c, 20, true);
    save(c, 100, true);
    assert_false(checkpoints_take_failure(c, &failure));
    assert_int_equal(checkpoints_newest(c), 100);
    assert_int_equal(restore(c, true), 100);

    _cleanup_free_ char *gone = fs_join(f->dir, "runs/u/train/g1/checkpoints/10-a1/manifest.json");
    assert_false(fs_exists(gone));
    struct checkpoint_options later = options(f, 2);
    assert_ok(checkpoints_open(&later, &next, &err), &err);
    assert_int_equal(restore(next, true), 100);

    /* The first attempt is overtaken now: it may not write, and says so. */
    save(c, 110, false);
    assert_true(checkpoints_take_failure(c, &failure));
    assert_int_equal(failure.class_, ERR_CONFLICT);
    assert_int_equal(err_exit_code(&failure), EXITCODE_TEMPFAIL);
    assert_contains(failure.msg, "attempt 2 has taken over");
    assert_int_equal(restore(next, true), 100);
    save(next, 110, false);
    assert_int_equal(restore(next, false), 110);
}

static void claims_are_exclusive(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct checkpoint_options o = options(f, 3), older = options(f, 2);
    _cleanup_checkpoints_ struct checkpoints *c = NULL, *double_ = NULL, *late = NULL;
    assert_ok(checkpoints_open(&o, &c, &err), &err);
    assert_fails(checkpoints_open(&o, &double_, &err), &err, ERR_CONFLICT, "another process has claimed");
    assert_fails(checkpoints_open(&older, &late, &err), &err, ERR_CONFLICT, "attempt 3 has taken over");
    older.claim = false; /* by hand nobody counts attempts */
    assert_ok(checkpoints_open(&older, &late, &err), &err);
}

static void overwrite(const struct fixture *f, const char *key, const char *text)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(f->dir, key);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
}

static void damaged_and_foreign_ones_are_passed_over(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct checkpoint_options o = options(f, 1);
    o.keep = 10;
    _cleanup_checkpoints_ struct checkpoints *c = NULL, *other = NULL, *restarted = NULL;
    assert_ok(checkpoints_open(&o, &c, &err), &err);
    for (int64_t step = 10; step <= 50; step += 10)
        save(c, step, false);
    overwrite(f, "runs/u/train/g1/checkpoints/50-a1/state.safetensors", "torn");
    assert_int_equal(restore(c, false), 40);
    overwrite(f, "runs/u/train/g1/checkpoints/40-a1/manifest.json", "{\"files\":[");
    assert_int_equal(restore(c, false), 30);
    overwrite(f, "runs/u/train/g1/checkpoints/30-a1/state.json", "{\"step\":31}");
    assert_int_equal(restore(c, false), 20);

    struct checkpoint_options foreign = options(f, 2);
    foreign.fingerprint = print_b;
    assert_ok(checkpoints_open(&foreign, &other, &err), &err);
    assert_int_equal(restore(other, false), -1);

    /* A restart: nothing under its own prefix, so the previous one's. */
    struct checkpoint_options restart = options(f, 1);
    restart.prefix = "runs/u/train/g2/checkpoints";
    restart.previous_prefix = o.prefix;
    assert_ok(checkpoints_open(&restart, &restarted, &err), &err);
    assert_int_equal(restore(restarted, false), 20);
    save(restarted, 25, false);
    assert_int_equal(restore(restarted, false), 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(saved_kept_and_restored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(claims_are_exclusive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_and_foreign_ones_are_passed_over, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
