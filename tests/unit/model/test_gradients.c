/* Forward and backward pass of every network and loss, at every vector level, against the double-precision reference:
 * losses directly, gradients by central differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka needs the three above first */
#include <cmocka.h>

#include "stages/model/cpu/kernels.h"
#include "tests/unit/model/reference.h"

static const char *const levels[] = {"portable", "avx2", "avx512"};

struct shape {
    const char *what, *network, *embeddings;
};
static const struct shape shapes[] = {
    {"logistic", "{\"logistic\":{}}", NULL},
    {"mlp", "{\"mlp\":{\"deep\":[20,9]}}", "{\"default\":5}"},
    {"mlp with linear term and dropout", "{\"mlp\":{\"deep\":[24,8],\"linearTerm\":true,\"dropout\":0.3}}",
     "{\"default\":8}"},
    {"dcnV2 parallel", "{\"dcnV2\":{\"crossLayers\":2,\"deep\":[18,6],\"linearTerm\":true}}",
     "{\"default\":4,\"perFeature\":{\"item\":16}}"},
    {"dcnV2 stacked, low rank",
     "{\"dcnV2\":{\"crossLayers\":3,\"rank\":3,\"deep\":[12],\"structure\":\"stacked\",\"linearTerm\":false}}",
     "{\"default\":6}"},
    {"dcnV2 low rank, parallel, dropout",
     "{\"dcnV2\":{\"crossLayers\":1,\"rank\":\"5\",\"deep\":[33,17],\"dropout\":0.5}}", "{\"default\":16}"},
    {"dcnV2 without deep part", "{\"dcnV2\":{\"crossLayers\":2,\"deep\":[]}}", "{\"default\":3}"},
    {"dcnV2 without cross layers", "{\"dcnV2\":{\"crossLayers\":0,\"deep\":[10]}}", "{\"default\":3}"},
};

static const struct loss losses[] = {
    {.kind = LOSS_BCE},
    {.kind = LOSS_BCE, .label_smoothing = 0.2},
    {.kind = LOSS_MSE},
    {.kind = LOSS_HUBER, .delta = 0.4},
};

static void close_to(double got, double want, double absolute, double relative, const char *what, size_t at)
{
    if (!(fabs(got - want) <= absolute + relative * fabs(want)))
        fail_msg("%s at %zu: expected %.9g, found %.9g", what, at, want, got);
}

/* The gradient that the engine left for weight `at`. */
static double engine_gradient(const struct network *net, struct backend_state *s, size_t at)
{
    if (at < net->n_dense)
        return (double)backend_cpu.gradients(s)[at];
    struct sparse_rows rows[3];
    backend_cpu.table_rows(s, rows);
    size_t t = net->cat_width - 1;
    while (at < net->tables[t].offset)
        t--;
    size_t row = (at - net->tables[t].offset) / net->tables[t].width,
           col = (at - net->tables[t].offset) % net->tables[t].width;
    for (size_t i = 0; i < rows[t].n; i++)
        if ((size_t)rows[t].rows[i] == row)
            return (double)rows[t].values[i * net->tables[t].width + col];
    return 0;
}

static void check(const struct shape *shape, const struct loss *loss, const char *level, int threads)
{
    struct err err = ERR_INIT;
    const struct kernels *kn;
    if (kernels_get(level, &kn, &err) < 0)
        return; /* this CPU lacks the level */
    _cleanup_network_ struct network *net = NULL;
    if (ref_network(shape->network, shape->embeddings, &net, &err) < 0)
        fail_msg("%s: %s", shape->what, err.msg);
    struct objective o = {.dense = {.kind = OPTIMIZER_SGD}, .tables = {.kind = OPTIMIZER_SGD}, .loss = *loss};
    struct backend_options options =
        {.isa = level, .threads = threads, .max_rows = 37, .training = true, .objective = &o, .seed = 11};
    struct backend_state *s;
    if (backend_cpu.open(net, &options, &s, &err) < 0)
        fail_msg("%s: %s", shape->what, err.msg);
    struct ref_batch b = ref_batch_new(37, 3, true);
    float *w = ref_weights(net, 9);
    double *wd = xcalloc(net->n_total, sizeof *wd);
    for (size_t i = 0; i < net->n_total; i++)
        wd[i] = (double)w[i];
    backend_cpu.write(s, BACKEND_WEIGHTS, w);
    struct train_sums sums;
    if (backend_cpu.train(s, &b.b, NULL, NULL, &sums, &err) < 0)
        fail_msg("%s: %s", shape->what, err.msg);
    close_to(sums.loss, ref_total(net, wd, &b.b, loss, 11), 1e-5, 1e-5, shape->what, 0);

    size_t tensors = network_tensor_count(net);
    for (size_t i = 0; i < tensors; i++) {
        struct network_tensor t;
        network_tensor(net, i, &t);
        size_t cols = t.cols ? t.cols : 1;
        for (size_t k = 0; k < 6; k++) {
            size_t e = (k * 7919 + i * 31) % (t.rows * cols);
            size_t at = t.offset + e / cols * t.row_step + e % cols * t.col_step;
            double h = 1e-6, kept = wd[at];
            wd[at] = kept + h;
            double up = ref_total(net, wd, &b.b, loss, 11);
            wd[at] = kept - h;
            double down = ref_total(net, wd, &b.b, loss, 11);
            wd[at] = kept;
            close_to(engine_gradient(net, s, at), (up - down) / (2 * h), 2e-4, 2e-4, t.name, e);
        }
    }
    backend_cpu.close(s);
    ref_batch_free(&b);
    free(w);
    free(wd);
}

static void gradients_of_every_network(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t j = 0; j < 3; j++)
            check(&shapes[i], &losses[0], levels[j], 1);
}

static void gradients_of_every_loss(void **state)
{
    (void)state;
    for (size_t j = 0; j < sizeof losses / sizeof losses[0]; j++) {
        check(&shapes[0], &losses[j], "native", 1);
        check(&shapes[3], &losses[j], "native", 1);
    }
}

static void gradients_with_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        check(&shapes[i], &losses[0], "native", 3);
}

/* All gradients of a batch as one array: dense, then the tables' rows. */
static float *all_gradients(const struct network *net, const char *isa, int threads, const struct batch *b,
                            size_t *ret_n)
{
    struct err err = ERR_INIT;
    struct objective o = {.dense = {.kind = OPTIMIZER_SGD}, .tables = {.kind = OPTIMIZER_SGD}};
    struct backend_options options =
        {.isa = isa, .threads = threads, .max_rows = b->n, .training = true, .objective = &o, .seed = 11};
    struct backend_state *s;
    if (backend_cpu.open(net, &options, &s, &err) < 0)
        return NULL;
    float *w = ref_weights(net, 9);
    backend_cpu.write(s, BACKEND_WEIGHTS, w);
    struct train_sums sums;
    assert_int_equal(backend_cpu.train(s, b, NULL, NULL, &sums, &err), 0);
    struct sparse_rows rows[3];
    backend_cpu.table_rows(s, rows);
    size_t n = net->n_dense;
    for (size_t t = 0; t < 3; t++)
        n += rows[t].n * net->tables[t].width;
    float *all = xcalloc(n, sizeof *all), *at = all + net->n_dense;
    memcpy(all, backend_cpu.gradients(s), net->n_dense * sizeof *all);
    for (size_t t = 0; t < 3; t++) {
        memcpy(at, rows[t].values, rows[t].n * net->tables[t].width * sizeof *all);
        at += rows[t].n * net->tables[t].width;
    }
    backend_cpu.close(s);
    free(w);
    *ret_n = n;
    return all;
}

/* 700 rows: one chunk with three threads, three with one; results must not show it. */
static void threads_and_vector_levels_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct err err = ERR_INIT;
        _cleanup_network_ struct network *net = NULL;
        assert_int_equal(ref_network(shapes[i].network, shapes[i].embeddings, &net, &err), 0);
        struct ref_batch b = ref_batch_new(700, 4, true);
        size_t n, m;
        float *one = all_gradients(net, "native", 1, &b.b, &n),
              *three = all_gradients(net, "native", 3, &b.b, &m);
        assert_int_equal(n, m);
        assert_memory_equal(one, three, n * sizeof *one);
        float *avx2 = all_gradients(net, "avx2", 1, &b.b, &m),
              *portable = all_gradients(net, "portable", 2, &b.b, &m);
        if (avx2)
            assert_memory_equal(one, avx2, n * sizeof *one);
        for (size_t e = 0; e < n; e++)
            close_to((double)portable[e], (double)one[e], 1e-4, 1e-4, shapes[i].what, e);
        free(one);
        free(three);
        free(avx2);
        free(portable);
        ref_batch_free(&b);
    }
}

static size_t ready_at[16], ready_n;
static void note_ready(void *ctx, size_t begin)
{
    (void)ctx;
    if (ready_n < 16)
        ready_at[ready_n++] = begin;
}

static void gradients_complete_from_the_end(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_network_ struct network *net = NULL;
    assert_int_equal(ref_network(shapes[3].network, shapes[3].embeddings, &net, &err), 0);
    struct objective o = {.dense = {.kind = OPTIMIZER_SGD}, .tables = {.kind = OPTIMIZER_SGD}};
    struct backend_options options = {.isa = "native",
                                      .threads = 1,
                                      .max_rows = 600,
                                      .training = true,
                                      .objective = &o};
    struct backend_state *s;
    assert_int_equal(backend_cpu.open(net, &options, &s, &err), 0);
    float *w = ref_weights(net, 9);
    backend_cpu.write(s, BACKEND_WEIGHTS, w);
    struct ref_batch b = ref_batch_new(600, 4, false);
    struct train_sums sums;
    ready_n = 0;
    assert_int_equal(backend_cpu.train(s, &b.b, note_ready, NULL, &sums, &err), 0);
    assert_true(ready_n >= 5);
    for (size_t i = 1; i < ready_n; i++)
        assert_true(ready_at[i] <= ready_at[i - 1]);
    assert_int_equal(ready_at[ready_n - 1], 0);
    backend_cpu.close(s);
    ref_batch_free(&b);
    free(w);
}

static void bad_inputs_and_divergence_are_named(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_network_ struct network *net = NULL;
    assert_int_equal(ref_network(shapes[3].network, shapes[3].embeddings, &net, &err), 0);
    struct objective o = {.dense = {.kind = OPTIMIZER_SGD}, .tables = {.kind = OPTIMIZER_SGD}};
    struct backend_options options = {.isa = "native",
                                      .threads = 1,
                                      .max_rows = 20,
                                      .training = true,
                                      .objective = &o};
    struct backend_state *s;
    assert_int_equal(backend_cpu.open(net, &options, &s, &err), 0);
    float *w = ref_weights(net, 9);
    backend_cpu.write(s, BACKEND_WEIGHTS, w);
    struct ref_batch b = ref_batch_new(20, 4, false);
    struct train_sums sums;

    b.cat[7 * 3 + 1] = 7;
    assert_true(backend_cpu.train(s, &b.b, NULL, NULL, &sums, &err) < 0);
    assert_int_equal(err_exit_code(&err), EXITCODE_DATA);
    assert_string_equal(err.reason, "bad-data");
    assert_non_null(strstr(err.msg, "hour"));
    err_clear(&err);
    b.cat[7 * 3 + 1] = 6;

    b.label[3] = 2;
    assert_true(backend_cpu.train(s, &b.b, NULL, NULL, &sums, &err) < 0);
    assert_non_null(strstr(err.msg, "label"));
    err_clear(&err);
    b.label[3] = 1;

    b.dense[5 * 3 + 2] = NAN;
    assert_true(backend_cpu.train(s, &b.b, NULL, NULL, &sums, &err) < 0);
    assert_string_equal(err.reason, "bad-data");
    assert_non_null(strstr(err.msg, "speed"));
    assert_non_null(strstr(err.msg, "row 105"));
    err_clear(&err);
    b.dense[5 * 3 + 2] = 0;

    w[net->deep[1].weight] = INFINITY;
    backend_cpu.write(s, BACKEND_WEIGHTS, w);
    assert_true(backend_cpu.train(s, &b.b, NULL, NULL, &sums, &err) < 0);
    assert_string_equal(err.reason, "diverged");
    assert_non_null(strstr(err.msg, "deep.1"));
    assert_non_null(strstr(err.msg, "step 5"));
    backend_cpu.close(s);
    ref_batch_free(&b);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_every_network),
        cmocka_unit_test(gradients_of_every_loss),
        cmocka_unit_test(gradients_with_threads),
        cmocka_unit_test(threads_and_vector_levels_change_no_bit),
        cmocka_unit_test(gradients_complete_from_the_end),
        cmocka_unit_test(bad_inputs_and_divergence_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
