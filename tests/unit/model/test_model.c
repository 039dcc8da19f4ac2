/* Networks from their descriptions, models written and loaded again, and scores that do not depend on the batch. */
#include "tests/unit/unit.h"

#include "common/base/fs.h"
#include "stages/model/model.h"
#include "stages/model/modelfile.h"
#include "tests/unit/model/reference.h"

static const char dcn[] =
    "{\"dcnV2\":{\"crossLayers\":2,\"rank\":\"full\",\"deep\":[64,32],\"linearTerm\":true}}";

static void descriptions_are_checked(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct network *net = NULL;
    assert_fails(ref_network("{\"dlrm\":{}}", NULL, &net, &err), &err, ERR_INVALID,
                 "logistic, mlp and dcnV2");
    assert_fails(ref_network("{\"dcnV3\":{}}", NULL, &net, &err), &err, ERR_INVALID, "did you mean dcnV2");
    assert_fails(ref_network("{\"mlp\":{\"deep\":[4]},\"logistic\":{}}", NULL, &net, &err), &err, ERR_INVALID,
                 "exactly one network");
    assert_fails(ref_network("{\"mlp\":{\"deep\":[]}}", NULL, &net, &err), &err, ERR_INVALID,
                 "trainDdp.network.mlp.deep");
    assert_fails(ref_network("{\"mlp\":{\"deep\":[3.5]}}", NULL, &net, &err), &err, ERR_INVALID,
                 "position 0");
    assert_fails(ref_network("{\"mlp\":{\"deep\":[3],\"dropout\":1}}", NULL, &net, &err), &err, ERR_INVALID,
                 "dropout");
    assert_fails(ref_network("{\"mlp\":{\"deep\":[3],\"activation\":\"gelu\"}}", NULL, &net, &err), &err,
                 ERR_INVALID, "activation");
    assert_fails(ref_network("{\"dcnV2\":{\"rank\":\"half\"}}", NULL, &net, &err), &err, ERR_INVALID, "rank");
    assert_fails(ref_network("{\"dcnV2\":{\"structure\":\"serial\"}}", NULL, &net, &err), &err, ERR_INVALID,
                 "parallel or stacked");
    assert_fails(ref_network(dcn, "{\"perFeature\":{\"itm\":4}}", &net, &err), &err, ERR_INVALID,
                 "embeddings.perFeature.itm");
    assert_fails(ref_network(dcn, "{\"default\":0}", &net, &err), &err, ERR_INVALID,
                 "trainDdp.embeddings.default");
    assert_null(net);
}

static void tensors_cover_the_weights_once(void **state)
{
    (void)state;
    static const char *const networks[] =
        {"{\"logistic\":{}}", dcn, "{\"mlp\":{\"deep\":[5]}}",
         "{\"dcnV2\":{\"rank\":3,\"crossLayers\":2,\"deep\":[5],\"structure\":\"stacked\"}}"};
    for (size_t k = 0; k < sizeof networks / sizeof networks[0]; k++) {
        struct err err = ERR_INIT;
        _cleanup_network_ struct network *net = NULL;
        assert_ok(ref_network(networks[k], "{\"default\":4}", &net, &err), &err);
        float *w = ref_weights(net, 3), *copy = xcalloc(net->n_total, sizeof *copy),
              *values = xcalloc(net->n_total, sizeof *values);
        for (size_t i = 0; i < network_tensor_count(net); i++) {
            struct network_tensor t;
            network_tensor(net, i, &t);
            network_tensor_get(&t, w, values);
            network_tensor_set(&t, values, copy);
        }
        /* ref_weights() fills every tensor through the same list, so what matters is that none overlaps or is missing. */
        assert_memory_equal(w, copy, net->n_total * sizeof *w);
        size_t floats = 0, nonzero = 0;
        for (size_t i = 0; i < network_tensor_count(net); i++) {
            struct network_tensor t;
            network_tensor(net, i, &t);
            floats += t.rows * (t.cols ? t.cols : 1);
        }
        for (size_t i = 0; i < net->n_total; i++)
            nonzero += w[i] != 0;
        assert_int_equal(nonzero, floats);
        free(w);
        free(copy);
        free(values);
    }
}

static void starting_weights_depend_on_the_seed_only(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_network_ struct network *net = NULL;
    assert_ok(ref_network(dcn, "{\"default\":16,\"initScale\":0.05}", &net, &err), &err);
    float *a = xcalloc(net->n_total, sizeof *a), *b = xcalloc(net->n_total, sizeof *b);
    network_init(net, 17, a);
    network_init(net, 17, b);
    assert_memory_equal(a, b, net->n_total * sizeof *a);
    network_init(net, 18, b);
    assert_memory_not_equal(a, b, net->n_total * sizeof *a);
    const struct network_table *t = &net->tables[2];
    double largest = 0, sum = 0, squares = 0;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t i = 0; i < t->dim; i++) {
            double v = (double)a[t->offset + r * t->width + i];
            largest = fmax(largest, fabs(v));
            sum += v;
            squares += v * v;
        }
    assert_true(largest <= 0.0867 && largest > 0.085);
    assert_true(fabs(sqrt(squares / (double)(t->rows * t->dim)) - 0.05) < 0.001);
    assert_true(fabs(sum / (double)(t->rows * t->dim)) < 0.002);
    free(a);
    free(b);
}

static void scores_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    static const char *const isa[] = {"portable", "avx2", "avx512"};
    for (size_t k = 0; k < 3; k++) {
        struct err err = ERR_INIT;
        _cleanup_network_ struct network *net = NULL;
        assert_ok(ref_network(dcn, NULL, &net, &err), &err);
        enum { ROWS = 1000 };
        struct backend_options o = {.isa = isa[k], .threads = 1, .max_rows = ROWS},
                               three = {.isa = isa[k], .threads = 3, .max_rows = ROWS};
        struct backend_state *s, *s3;
        if (backend_cpu.open(net, &o, &s, &err) < 0)
            continue; /* this CPU lacks the level */
        assert_ok(backend_cpu.open(net, &three, &s3, &err), &err);
        float *w = ref_weights(net, 3);
        backend_cpu.write(s, BACKEND_WEIGHTS, w);
        backend_cpu.write(s3, BACKEND_WEIGHTS, w);
        struct ref_batch b = ref_batch_new(ROWS, 8, false);
        float whole[ROWS], parts[ROWS];
        assert_ok(backend_cpu.score(s, &b.b, LOSS_BCE, whole, &err), &err);
        static const size_t sizes[] = {1, 2, 3, 7, 8, 9, 16, 100, 257, 511};
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            memset(parts, 0, sizeof parts);
            for (size_t at = 0; at < ROWS; at += sizes[i]) {
                size_t n = ROWS - at < sizes[i] ? ROWS - at : sizes[i];
                struct batch part = {.n = n, .dense = b.dense + at * 3, .cat = b.cat + at * 3};
                assert_ok(backend_cpu.score(s, &part, LOSS_BCE, parts + at, &err), &err);
            }
            assert_memory_equal(whole, parts, sizeof whole);
        }
        assert_ok(backend_cpu.score(s3, &b.b, LOSS_BCE, parts, &err), &err);
        assert_memory_equal(whole, parts, sizeof whole);
        double *wd = xcalloc(net->n_total, sizeof *wd);
        for (size_t i = 0; i < net->n_total; i++)
            wd[i] = (double)w[i];
        for (size_t r = 0; r < ROWS; r += 13) {
            double want = 1 / (1 + exp(-ref_logit(net, wd, &b.b, r, 0, false)));
            if (fabs((double)whole[r] - want) > 2e-5)
                fail_msg("row %zu at level %s: expected %.7g, found %.7g", r, isa[k], want, (double)whole[r]);
        }
        free(wd);
        free(w);
        ref_batch_free(&b);
        backend_cpu.close(s);
        backend_cpu.close(s3);
    }
}

static const char spec[] =
    "{\"version\":1,\"raw\":[{\"name\":\"price\",\"sql\":\"price\",\"type\":\"f64\"},{\"name\":\"hour\",\"sql\":\"hour\",\"type\":\"i64\"}],\"features\":["
    "{\"name\":\"price\",\"raw\":\"price\",\"numeric\":{\"fill\":0,\"missingFlag\":true,\"transform\":\"none\",\"offset\":0,\"scale\":1}},"
    "{\"name\":\"hour\",\"raw\":\"hour\",\"categorical\":{\"values\":{\"from\":0,\"to\":23}}},"
    "{\"name\":\"bucket\",\"raw\":\"hour\",\"categorical\":{\"hash\":{\"function\":\"xxh64\",\"seed\":3,\"buckets\":50}}}]}";

static void write_text(const char *dir, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, name);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
}

static void models_are_written_and_loaded(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char *dir;
    assert_ok(fs_make_temp_dir("/tmp", "test-model", &dir, &err), &err);
    write_text(dir, "feature-spec.json", spec);
    struct featurespec *fs = NULL;
    assert_ok(featurespec_load(dir, &fs, &err), &err);
    struct network_inputs_of_spec inputs;
    network_inputs_of_spec(fs, &inputs);
    _cleanup_network_ struct network *net = NULL;
    _cleanup_json_ cJSON *description = cJSON_Parse(dcn);
    struct json_path root = {.key = "trainDdp"};
    assert_ok(network_new(description, NULL, &root, &inputs.inputs, &net, &err), &err);
    float *w = ref_weights(net, 21);
    _cleanup_json_ cJSON *extra = cJSON_Parse("{\"serving\":{\"position\":\"1\"},\"loss\":\"nonsense\"}");
    assert_ok(modelfile_write(dir, net, w, LOSS_BCE, extra, &err), &err);

    enum { ROWS = 50 };
    double price[ROWS];
    int64_t hour[ROWS];
    for (int i = 0; i < ROWS; i++) {
        price[i] = i * 0.1;
        hour[i] = i % 26;
    }
    struct column columns[] = {{.name = "price", .type = COLUMN_F64, .f64 = price},
                               {.name = "hour", .type = COLUMN_I64, .i64 = hour}};
    struct column_batch raw = {.columns = columns, .n_columns = 2, .n_rows = ROWS};
    struct featurebatch batch = {0};
    assert_ok(featurespec_apply(fs, &raw, &batch, &err), &err);
    struct backend_options o = {.isa = "native", .threads = 1, .max_rows = ROWS};
    struct backend_state *s;
    assert_ok(backend_cpu.open(net, &o, &s, &err), &err);
    backend_cpu.write(s, BACKEND_WEIGHTS, w);
    float direct[ROWS], loaded[ROWS];
    struct batch b = {.n = ROWS, .dense = batch.dense, .cat = batch.cat};
    assert_ok(backend_cpu.score(s, &b, LOSS_BCE, direct, &err), &err);
    struct model *m = NULL;
    assert_ok(model_load(dir, &m, &err), &err);
    assert_ok(model_score(m, &batch, loaded, &err), &err);
    assert_memory_equal(direct, loaded, sizeof direct);
    const cJSON *doc = model_document(m);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "loss")), "bce");
    assert_non_null(cJSON_GetObjectItemCaseSensitive(doc, "serving"));
    m = model_free(m);

    /* Another feature spec beside the same weights must be noticed. */
    char other[sizeof spec];
    memcpy(other, spec, sizeof spec);
    memcpy(strstr(other, "\"to\":23"), "\"to\":22", 7);
    write_text(dir, "feature-spec.json", other);
    assert_fails(model_load(dir, &m, &err), &err, ERR_INVALID, "hour");
    assert_null(m);
    write_text(dir, "feature-spec.json", spec);
    w[net->head_bias] = 0;
    _cleanup_json_ cJSON *smaller = cJSON_Parse("{\"mlp\":{\"deep\":[8]}}");
    struct network *wrong = NULL;
    assert_ok(network_new(smaller, NULL, &root, &inputs.inputs, &wrong, &err), &err);
    float *w2 = ref_weights(wrong, 21);
    _cleanup_free_ char *json = fs_join(dir, "model.json");
    char *text = NULL;
    size_t len;
    assert_ok(fs_read_file(json, 1 << 20, &text, &len, &err), &err);
    assert_ok(modelfile_write(dir, wrong, w2, LOSS_BCE, NULL, &err), &err);
    assert_ok(fs_write_atomic(json, text, len, &err),
              &err); /* the first network's description with the second's weights */
    assert_fails(model_load(dir, &m, &err), &err, ERR_INVALID, "tensors");
    free(text);
    free(w2);
    network_free(wrong);
    free(w);
    backend_cpu.close(s);
    featurebatch_release(&batch);
    network_inputs_of_spec_release(&inputs);
    featurespec_free(fs);
    assert_ok(fs_remove_tree(dir, &err), &err);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptions_are_checked),
        cmocka_unit_test(tensors_cover_the_weights_once),
        cmocka_unit_test(starting_weights_depend_on_the_seed_only),
        cmocka_unit_test(scores_do_not_depend_on_the_batch),
        cmocka_unit_test(models_are_written_and_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
