/* Optimisers against their formulas in double precision, over several steps, with rows that come and go and with the rows
 * of two workers; SparseAdam's rules (untouched rows stay, the step count is the table's) one by one; clipping; schedule. */
#include "tests/unit/unit.h"

#include "tests/unit/model/reference.h"

enum { STEPS = 4 };

/* One parameter with its moments, stepped by the formulas of torch.optim. */
struct scalar {
    double w, m, v;
};

static void step_scalar(const struct optimizer *o, struct scalar *p, double g, double lr, int t)
{
    double bias1 = 1 - pow(o->beta1, t), bias2 = 1 - pow(o->beta2, t);
    switch (o->kind) {
    case OPTIMIZER_SGD:
        p->w -= lr * (g + o->weight_decay * p->w);
        return;
    case OPTIMIZER_MOMENTUM:
        p->m = o->momentum * p->m + g + o->weight_decay * p->w;
        p->w -= lr * p->m;
        return;
    case OPTIMIZER_ADAM:
        g += o->weight_decay * p->w;
        break;
    case OPTIMIZER_ADAMW:
        p->w *= 1 - lr * o->weight_decay;
        break;
    default:
        break;
    }
    p->m = o->beta1 * p->m + (1 - o->beta1) * g;
    p->v = o->beta2 * p->v + (1 - o->beta2) * g * g;
    if (o->kind == OPTIMIZER_SPARSE_ADAM)
        p->w -= lr * sqrt(bias2) / bias1 * p->m / (sqrt(p->v) + o->eps);
    else
        p->w -= lr / bias1 * p->m / (sqrt(p->v / bias2) + o->eps);
}

struct setup {
    struct network *net;
    struct backend_state *s;
    struct objective o;
    float *w;
};

static void open_setup(struct setup *x, const struct optimizer *dense, const struct optimizer *tables,
                       double clip)
{
    struct err err = ERR_INIT;
    *x = (struct setup){.o = {.dense = *dense, .tables = *tables, .clip_norm = clip}};
    assert_ok(ref_network("{\"mlp\":{\"deep\":[7],\"linearTerm\":true}}", "{\"default\":4}", &x->net, &err),
              &err);
    struct backend_options options = {.isa = "native",
                                      .threads = 2,
                                      .max_rows = 64,
                                      .training = true,
                                      .objective = &x->o};
    assert_ok(backend_cpu.open(x->net, &options, &x->s, &err), &err);
    x->w = ref_weights(x->net, 5);
    backend_cpu.write(x->s, BACKEND_WEIGHTS, x->w);
}

static void close_setup(struct setup *x)
{
    backend_cpu.close(x->s);
    network_free(x->net);
    free(x->w);
}

static void assert_close(double got, double want, const char *what, size_t at)
{
    if (!(fabs(got - want) <= 2e-6 + 2e-5 * fabs(want)))
        fail_msg("%s at %zu: expected %.9g, found %.9g", what, at, want, got);
}

/* Rows of table 0 (5 floats wide) that worker 0 and 1 touch in step t; both touch row 3. */
static void make_rows(int t, int32_t rows[2][2], float values[2][10])
{
    rows[0][0] = 3;
    rows[0][1] = 10 + t % 2; /* comes and goes */
    rows[1][0] = 0;
    rows[1][1] = 3;
    for (int w = 0; w < 2; w++)
        for (int i = 0; i < 10; i++)
            values[w][i] = 0.3F * sinf((float)(t * 17 + w * 5 + i));
}

/* Dense gradients and rows of two workers through apply(), weight 2 (so everything is halved). */
static void run_steps(const struct optimizer *dense, const struct optimizer *tables, const char *what)
{
    struct err err = ERR_INIT;
    struct setup x;
    open_setup(&x, dense, tables, 0);
    const struct network *net = x.net;
    const struct network_table *table = &net->tables[0];
    struct scalar *d = xcalloc(net->n_dense, sizeof *d), *e = xcalloc(table->rows * 5, sizeof *e);
    double *sums = xcalloc(table->rows, sizeof *sums);
    for (size_t i = 0; i < net->n_dense; i++)
        d[i].w = (double)x.w[i];
    for (size_t i = 0; i < table->rows * 5; i++)
        e[i].w = (double)x.w[table->offset + i];
    bool everywhere = tables->kind == OPTIMIZER_ADAM || tables->kind == OPTIMIZER_ADAMW ||
                      tables->kind == OPTIMIZER_MOMENTUM;
    for (int t = 1; t <= STEPS; t++) {
        float *g = backend_cpu.gradients(x.s);
        for (size_t i = 0; i < net->n_dense; i++) {
            g[i] = x.w[i] != 0 ? cosf((float)(i * 3 + (size_t)t)) : 0;
            step_scalar(dense, &d[i], (double)g[i] / 2, dense->lr * 0.5, t);
        }
        int32_t rows[2][2];
        float values[2][10];
        make_rows(t, rows, values);
        struct sparse_rows lists[2][3] = {{{.n = 2, .rows = rows[0], .values = values[0]}},
                                          {{.n = 2, .rows = rows[1], .values = values[1]}}};
        double row_g[40][5] = {{0}};
        bool touched[40] = {false};
        for (int w = 0; w < 2; w++)
            for (int k = 0; k < 2; k++)
                for (int i = 0; i < 5; i++) {
                    row_g[rows[w][k]][i] += (double)values[w][k * 5 + i] / 2;
                    touched[rows[w][k]] = true;
                }
        for (size_t r = 0; r < table->rows; r++) {
            if (!touched[r] && !everywhere)
                continue;
            double mean = 0;
            for (int i = 0; i < 5; i++)
                mean += row_g[r][i] * row_g[r][i] / 5;
            sums[r] += mean;
            for (int i = 0; i < 5; i++) {
                if (tables->kind == OPTIMIZER_ROWWISE_ADAGRAD)
                    e[r * 5 + (size_t)i].w -= tables->lr * 0.5 * row_g[r][i] / (sqrt(sums[r]) + tables->eps);
                else
                    step_scalar(tables, &e[r * 5 + (size_t)i], row_g[r][i], tables->lr * 0.5, t);
            }
        }
        double norm;
        struct apply a = {.weight = 2, .lr_factor = 0.5, .step = t - 1, .workers = 2, .tables = &lists[0][0]};
        assert_ok(backend_cpu.apply(x.s, &a, &norm, &err), &err);
    }
    float *w = xcalloc(net->n_total, sizeof *w);
    backend_cpu.read(x.s, BACKEND_WEIGHTS, w);
    for (size_t i = 0; i < net->n_dense; i++)
        assert_close((double)w[i], d[i].w, what, i);
    for (size_t i = 0; i < table->rows * 5; i++)
        assert_close((double)w[table->offset + i], e[i].w, what, i);
    assert_memory_equal(w + net->tables[1].offset, x.w + net->tables[1].offset,
                        everywhere ? 0 : net->tables[1].rows * 5 * sizeof *w);
    free(w);
    free(d);
    free(e);
    free(sums);
    close_setup(&x);
}

static void every_optimizer_follows_its_formula(void **state)
{
    (void)state;
    struct optimizer
        sgd = {.kind = OPTIMIZER_SGD, .lr = 0.1},
        decayed = {.kind = OPTIMIZER_SGD, .lr = 0.1, .weight_decay = 0.1},
        momentum = {.kind = OPTIMIZER_MOMENTUM, .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01},
        adam = {.kind = OPTIMIZER_ADAM,
                .lr = 0.05,
                .beta1 = 0.9,
                .beta2 = 0.999,
                .eps = 1e-8,
                .weight_decay = 0.1},
        adamw = {.kind = OPTIMIZER_ADAMW,
                 .lr = 0.05,
                 .beta1 = 0.8,
                 .beta2 = 0.99,
                 .eps = 1e-3,
                 .weight_decay = 0.1},
        sparse = {.kind = OPTIMIZER_SPARSE_ADAM, .lr = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-3},
        adagrad = {.kind = OPTIMIZER_ROWWISE_ADAGRAD, .lr = 0.05, .eps = 1e-10}, adam_no_decay = adam;
    adam_no_decay.weight_decay = 0;
    run_steps(&sgd, &sgd, "sgd, sgd");
    run_steps(&decayed, &sgd, "sgd with decay, sgd");
    run_steps(&momentum, &sparse, "momentum, sparseAdam");
    run_steps(&adam, &adagrad, "adam, rowwiseAdagrad");
    run_steps(&adamw, &sparse, "adamw, sparseAdam");
    run_steps(&adamw, &adam_no_decay, "adamw, dense adam on tables");
    run_steps(&sgd, &adamw, "sgd, dense adamw on tables");
    run_steps(&sgd, &momentum, "sgd, dense momentum on tables");
}

/* First touch in step 3 of a row: the bias correction is that of the table's third step, not of the row's first. */
static void sparse_adam_counts_steps_per_table(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct optimizer sgd = {.kind = OPTIMIZER_SGD, .lr = 0.1}, sparse = {.kind = OPTIMIZER_SPARSE_ADAM,
                                                                         .lr = 0.1,
                                                                         .beta1 = 0.9,
                                                                         .beta2 = 0.999,
                                                                         .eps = 1e-8};
    struct setup x;
    open_setup(&x, &sgd, &sparse, 0);
    int32_t row = 2;
    float g[5] = {1, -2, 0.5F, 0, 3};
    struct sparse_rows lists[3] = {{.n = 1, .rows = &row, .values = g}};
    double norm;
    struct apply a = {.weight = 1, .lr_factor = 1, .step = 2, .workers = 1, .tables = lists};
    memset(backend_cpu.gradients(x.s), 0, x.net->n_dense * sizeof(float));
    assert_ok(backend_cpu.apply(x.s, &a, &norm, &err), &err);
    float *w = xcalloc(x.net->n_total, sizeof *w);
    backend_cpu.read(x.s, BACKEND_WEIGHTS, w);
    size_t at = x.net->tables[0].offset + 10;
    for (size_t i = 0; i < 5; i++) {
        double gi = (double)g[i], m = 0.1 * gi, v = 0.001 * gi * gi;
        double want =
            (double)x.w[at + i] - 0.1 * sqrt(1 - pow(0.999, 3)) / (1 - pow(0.9, 3)) * m / (sqrt(v) + 1e-8);
        assert_close((double)w[at + i], want, "row 2", i);
    }
    free(w);
    close_setup(&x);
}

static void clipping_bounds_the_dense_norm_only(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct optimizer sgd = {.kind = OPTIMIZER_SGD, .lr = 1};
    struct setup x;
    open_setup(&x, &sgd, &sgd, 2);
    float *g = backend_cpu.gradients(x.s);
    memset(g, 0, x.net->n_dense * sizeof *g);
    g[0] = 30;
    g[16] = 40;
    int32_t row = 1;
    float values[5] = {100, 0, 0, 0, 0};
    struct sparse_rows lists[3] = {{.n = 1, .rows = &row, .values = values}};
    struct apply a = {.weight = 10, .lr_factor = 1, .workers = 1, .tables = lists};
    double norm;
    assert_ok(backend_cpu.apply(x.s, &a, &norm, &err), &err);
    assert_close(norm, 5, "norm", 0);
    float *w = xcalloc(x.net->n_total, sizeof *w);
    backend_cpu.read(x.s, BACKEND_WEIGHTS, w);
    assert_close((double)w[0], (double)x.w[0] - 3 * 2.0 / 5, "dense", 0);
    assert_close((double)w[16], (double)x.w[16] - 4 * 2.0 / 5, "dense", 16);
    assert_close((double)w[x.net->tables[0].offset + 5], (double)x.w[x.net->tables[0].offset + 5] - 10,
                 "table", 5);

    g[3] = NAN;
    assert_true(backend_cpu.apply(x.s, &a, &norm, &err) < 0);
    assert_string_equal(err.reason, "diverged");
    assert_contains(err.msg, "deep.0");
    free(w);
    close_setup(&x);
}

static int decode(const char *text, struct objective *ret, struct err *err)
{
    _cleanup_json_ cJSON *config = cJSON_Parse(text);
    struct json_path root = {.key = "trainDdp"};
    return objective_decode(config, &root, ret, err);
}

static void objectives_are_decoded_and_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct objective o;
    assert_ok(decode("{}", &o, &err), &err);
    assert_int_equal(o.dense.kind, OPTIMIZER_ADAMW);
    assert_int_equal(o.tables.kind, OPTIMIZER_SPARSE_ADAM);
    assert_ok(
        decode(
            "{\"loss\":{\"bce\":{\"labelSmoothing\":0.1}},\"optimizers\":{\"dense\":{\"sgd\":{\"lr\":0.5,\"momentum\":0.9}},\"embeddings\":{\"adam\":{}}},"
            "\"schedule\":{\"warmupSteps\":10,\"decay\":{\"steps\":{\"at\":[0.5,0.75],\"factor\":0.1}}},\"clip\":{\"globalNorm\":3}}",
            &o, &err),
        &err);
    assert_int_equal(o.dense.kind, OPTIMIZER_MOMENTUM);
    assert_int_equal(o.tables.kind, OPTIMIZER_ADAM);
    assert_true(schedule_factor(&o.schedule, 0, 100) == 0.1);
    assert_true(schedule_factor(&o.schedule, 9, 100) == 1);
    assert_true(schedule_factor(&o.schedule, 49, 100) == 1);
    assert_true(fabs(schedule_factor(&o.schedule, 50, 100) - 0.1) < 1e-12);
    assert_true(fabs(schedule_factor(&o.schedule, 99, 100) - 0.01) < 1e-12);
    assert_ok(decode("{\"schedule\":{\"warmupSteps\":10,\"decay\":{\"cosine\":{\"floor\":0.1}}}}", &o, &err),
              &err);
    assert_true(schedule_factor(&o.schedule, 10, 110) == 1);
    assert_true(fabs(schedule_factor(&o.schedule, 60, 110) - 0.55) < 1e-12);
    assert_true(fabs(schedule_factor(&o.schedule, 110, 110) - 0.1) < 1e-12);
    assert_ok(decode("{\"schedule\":{\"decay\":{\"linear\":{}}}}", &o, &err), &err);
    assert_true(fabs(schedule_factor(&o.schedule, 25, 100) - 0.75) < 1e-12);
    assert_fails(decode("{\"schedule\":{\"decay\":{\"exponential\":{}}}}", &o, &err), &err, ERR_INVALID,
                 "steps, linear or cosine");
    assert_fails(decode("{\"optimizers\":{\"dense\":{\"lamb\":{}}}}", &o, &err), &err, ERR_INVALID,
                 "trainDdp.optimizers.dense");
    assert_fails(decode("{\"optimizers\":{\"dense\":{\"sparseAdam\":{}}}}", &o, &err), &err, ERR_INVALID,
                 "sparseAdam");
    assert_fails(decode("{\"optimizers\":{\"dense\":{\"adam\":{\"betas\":[0.9,1]}}}}", &o, &err), &err,
                 ERR_INVALID, "betas[1]");
    assert_fails(decode("{\"optimizers\":{\"dense\":{\"adam\":{\"learning\":1}}}}", &o, &err), &err,
                 ERR_INVALID, "learning");
    assert_fails(decode("{\"loss\":{\"listwise\":{}}}", &o, &err), &err, ERR_INVALID, "trainDdp.loss");
    assert_fails(decode("{\"schedule\":{\"decay\":{\"steps\":{\"at\":[0.5,0.4],\"factor\":0.1}}}}", &o, &err),
                 &err, ERR_INVALID, "rising");
    assert_fails(decode("{\"clip\":{\"globalNorm\":0}}", &o, &err), &err, ERR_INVALID, "globalNorm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimizer_follows_its_formula),
        cmocka_unit_test(sparse_adam_counts_steps_per_table),
        cmocka_unit_test(clipping_bounds_the_dense_norm_only),
        cmocka_unit_test(objectives_are_decoded_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
