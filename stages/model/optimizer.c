/* Decoding of optimisers, loss, schedule and clipping: see optimizer.h. */
#include "stages/model/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct optimizer_name {
    const char *name;
    enum optimizer_kind kind;
    bool for_dense;
};
static const struct optimizer_name names[] = {
    {"adamw", OPTIMIZER_ADAMW, true},
    {"adam", OPTIMIZER_ADAM, true},
    {"sgd", OPTIMIZER_SGD, true},
    {"momentum", OPTIMIZER_MOMENTUM, true},
    {"sparseAdam", OPTIMIZER_SPARSE_ADAM, false},
    {"rowwiseAdagrad", OPTIMIZER_ROWWISE_ADAGRAD, false},
};
enum { N_NAMES = sizeof names / sizeof names[0] };

static int bad(const struct json_path *path, const char *key, const char *expected, double found,
               struct err *err)
{
    return json_bad_config(path, key, err, "expected %s, found %g", expected, found);
}

/* The one key of an object that chooses among alternatives. */
static int one_of(const cJSON *o, const struct json_path *path, const char *expected, const cJSON **ret,
                  struct err *err)
{
    if (!cJSON_IsObject(o) || cJSON_GetArraySize(o) != 1 || !cJSON_IsObject(o->child)) {
        return json_bad_config(path, NULL, err, "expected exactly one of %s, with an object", expected);
    }
    *ret = o->child;
    return 0;
}

static int decode_betas(const cJSON *o, const struct json_path *path, struct optimizer *ret, struct err *err)
{
    const cJSON *betas;
    if (json_get_array_or(o, path, "betas", &betas, err) < 0)
        return -1;
    ret->beta1 = 0.9;
    ret->beta2 = 0.999;
    if (!betas)
        return 0;
    const cJSON *a = cJSON_GetArrayItem(betas, 0), *b = cJSON_GetArrayItem(betas, 1);
    if (cJSON_GetArraySize(betas) != 2 || !cJSON_IsNumber(a) || !cJSON_IsNumber(b))
        return bad(path, "betas", "two numbers", cJSON_GetArraySize(betas), err);
    ret->beta1 = a->valuedouble;
    ret->beta2 = b->valuedouble;
    if (!(ret->beta1 >= 0 && ret->beta1 < 1))
        return bad(path, "betas[0]", "0 or more and below 1", ret->beta1, err);
    if (!(ret->beta2 >= 0 && ret->beta2 < 1))
        return bad(path, "betas[1]", "0 or more and below 1", ret->beta2, err);
    return 0;
}

static int decode_optimizer(const cJSON *o, const struct json_path *path, bool tables, struct optimizer *ret,
                            struct err *err)
{
    static const char *const keys[] = {"lr", "betas", "eps", "weightDecay", "momentum", "nesterov", NULL};
    static const char *const for_dense = "adamw, adam, sgd, momentum";
    static const char *const for_tables = "sparseAdam, rowwiseAdagrad, sgd, adam, adamw, momentum";
    *ret = (struct optimizer){.kind = tables ? OPTIMIZER_SPARSE_ADAM : OPTIMIZER_ADAMW,
                              .lr = 0.001,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .eps = 1e-8};
    if (!o)
        return 0;
    const cJSON *body;
    if (one_of(o, path, tables ? for_tables : for_dense, &body, err) < 0)
        return -1;
    struct json_path body_path = {.parent = path, .key = body->string};
    size_t i = 0;
    while (i < N_NAMES && strcmp(names[i].name, body->string) != 0)
        i++;
    if (i == N_NAMES || (!tables && !names[i].for_dense)) {
        return json_bad_config(path, NULL, err, "this version has %s; found \"%s\"",
                               tables ? for_tables : for_dense, body->string);
    }
    ret->kind = names[i].kind;
    bool adagrad = ret->kind == OPTIMIZER_ROWWISE_ADAGRAD;
    if (json_only_keys(body, &body_path, keys, err) < 0 ||
        json_get_double_or(body, &body_path, "lr", adagrad ? 0.01 : 0.001, &ret->lr, err) < 0 ||
        decode_betas(body, &body_path, ret, err) < 0 ||
        json_get_double_or(body, &body_path, "eps", adagrad ? 1e-10 : 1e-8, &ret->eps, err) < 0 ||
        json_get_double_or(body, &body_path, "weightDecay", ret->kind == OPTIMIZER_ADAMW ? 0.01 : 0,
                           &ret->weight_decay, err) < 0 ||
        json_get_double_or(body, &body_path, "momentum", ret->kind == OPTIMIZER_MOMENTUM ? 0.9 : 0,
                           &ret->momentum, err) < 0)
        return -1;
    bool nesterov;
    if (json_get_bool_or(body, &body_path, "nesterov", false, &nesterov, err) < 0)
        return -1;
    if (nesterov)
        return bad(&body_path, "nesterov", "false (this version has only the plain form)", 1, err);
    if (!(ret->lr >= 0 && ret->lr <= 1000))
        return bad(&body_path, "lr", "0 to 1000", ret->lr, err);
    if (!(ret->eps >= 0 && ret->eps <= 1))
        return bad(&body_path, "eps", "0 to 1", ret->eps, err);
    if (!(ret->weight_decay >= 0 && ret->weight_decay <= 1000))
        return bad(&body_path, "weightDecay", "0 to 1000", ret->weight_decay, err);
    if (!(ret->momentum >= 0 && ret->momentum < 1))
        return bad(&body_path, "momentum", "0 or more and below 1", ret->momentum, err);
    if (ret->weight_decay > 0 && (ret->kind == OPTIMIZER_SPARSE_ADAM || adagrad))
        return bad(&body_path, "weightDecay", "0 (a sparse optimiser has none)", ret->weight_decay, err);
    if (ret->kind == OPTIMIZER_SGD && ret->momentum > 0)
        ret->kind = OPTIMIZER_MOMENTUM;
    return 0;
}

static int decode_loss(const cJSON *o, const struct json_path *path, struct loss *ret, struct err *err)
{
    static const char *const bce_keys[] = {"labelSmoothing", NULL}, *const huber_keys[] = {"delta", NULL},
                             *const no_keys[] = {NULL};
    static const char *const expected = "bce, mse, huber";
    *ret = (struct loss){.kind = LOSS_BCE, .delta = 1};
    if (!o)
        return 0;
    const cJSON *body;
    if (one_of(o, path, expected, &body, err) < 0)
        return -1;
    struct json_path body_path = {.parent = path, .key = body->string};
    if (loss_parse(body->string, &ret->kind) < 0) {
        return json_bad_config(path, NULL, err, "this version has %s; found \"%s\"", expected, body->string);
    }
    const char *const *keys = ret->kind == LOSS_BCE     ? bce_keys
                              : ret->kind == LOSS_HUBER ? huber_keys
                                                        : no_keys;
    if (json_only_keys(body, &body_path, keys, err) < 0 ||
        json_get_double_or(body, &body_path, "labelSmoothing", 0, &ret->label_smoothing, err) < 0 ||
        json_get_double_or(body, &body_path, "delta", 1, &ret->delta, err) < 0)
        return -1;
    if (!(ret->label_smoothing >= 0 && ret->label_smoothing < 1))
        return bad(&body_path, "labelSmoothing", "0 or more and below 1", ret->label_smoothing, err);
    if (!(ret->delta > 0 && ret->delta <= 1e6))
        return bad(&body_path, "delta", "above 0", ret->delta, err);
    return 0;
}

static int decode_steps(const cJSON *o, const struct json_path *path, struct schedule *ret, struct err *err)
{
    static const char *const keys[] = {"at", "factor", NULL};
    const cJSON *at, *point;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_array(o, path, "at", &at, err) < 0 ||
        json_get_double_or(o, path, "factor", 0.1, &ret->factor, err) < 0)
        return -1;
    if (!(ret->factor >= 0 && ret->factor <= 1))
        return bad(path, "factor", "0 to 1", ret->factor, err);
    cJSON_ArrayForEach(point, at)
    {
        double v = cJSON_IsNumber(point) ? point->valuedouble : -1;
        if (ret->n == SCHEDULE_POINTS || !(v >= 0 && v <= 1) || (ret->n && v <= ret->at[ret->n - 1]))
            return bad(path, "at", "at most 100 rising shares of all steps from 0 to 1", v, err);
        ret->at[ret->n++] = v;
    }
    return 0;
}

static int decode_schedule(const cJSON *o, const struct json_path *path, struct schedule *ret,
                           struct err *err)
{
    static const char *const keys[] = {"warmupSteps", "decay", NULL}, *const floor_keys[] = {"floor", NULL};
    *ret = (struct schedule){.factor = 1};
    if (!o)
        return 0;
    const cJSON *decay, *body;
    if (json_only_keys(o, path, keys, err) < 0 ||
        json_get_int_or(o, path, "warmupSteps", 0, &ret->warmup_steps, err) < 0 ||
        json_get_object_or(o, path, "decay", &decay, err) < 0)
        return -1;
    if (ret->warmup_steps < 0)
        return bad(path, "warmupSteps", "0 or more", (double)ret->warmup_steps, err);
    if (!decay)
        return 0;
    struct json_path decay_path = {.parent = path, .key = "decay"};
    if (one_of(decay, &decay_path, "steps, linear, cosine", &body, err) < 0)
        return -1;
    struct json_path body_path = {.parent = &decay_path, .key = body->string};
    if (strcmp(body->string, "steps") == 0)
        return decode_steps(body, &body_path, ret, err);
    bool linear = strcmp(body->string, "linear") == 0;
    if (!linear && strcmp(body->string, "cosine") != 0) {
        return json_bad_config(&decay_path, NULL, err, "expected steps, linear or cosine, found \"%s\"",
                               body->string);
    }
    ret->decay = linear ? DECAY_LINEAR : DECAY_COSINE;
    if (json_only_keys(body, &body_path, floor_keys, err) < 0 ||
        json_get_double_or(body, &body_path, "floor", 0, &ret->floor, err) < 0)
        return -1;
    return ret->floor >= 0 && ret->floor <= 1 ? 0 : bad(&body_path, "floor", "0 to 1", ret->floor, err);
}

int objective_decode(const cJSON *config, const struct json_path *path, struct objective *ret,
                     struct err *err)
{
    static const char *const optimizer_keys[] = {"dense", "embeddings", NULL}, *const clip_keys[] =
                                                                                   {"globalNorm", NULL};
    struct json_path optimizers_path = {.parent = path, .key = "optimizers"},
                     dense_path = {.parent = &optimizers_path, .key = "dense"},
                     tables_path = {.parent = &optimizers_path, .key = "embeddings"},
                     loss_path = {.parent = path, .key = "loss"},
                     schedule_path = {.parent = path, .key = "schedule"},
                     clip_path = {.parent = path, .key = "clip"};
    const cJSON *optimizers, *dense = NULL, *tables = NULL, *loss, *schedule, *clip;
    *ret = (struct objective){0};
    if (json_get_object_or(config, path, "optimizers", &optimizers, err) < 0 ||
        json_get_object_or(config, path, "loss", &loss, err) < 0 ||
        json_get_object_or(config, path, "schedule", &schedule, err) < 0 ||
        json_get_object_or(config, path, "clip", &clip, err) < 0)
        return -1;
    if (optimizers && (json_only_keys(optimizers, &optimizers_path, optimizer_keys, err) < 0 ||
                       json_get_object_or(optimizers, &optimizers_path, "dense", &dense, err) < 0 ||
                       json_get_object_or(optimizers, &optimizers_path, "embeddings", &tables, err) < 0))
        return -1;
    if (decode_optimizer(dense, &dense_path, false, &ret->dense, err) < 0 ||
        decode_optimizer(tables, &tables_path, true, &ret->tables, err) < 0 ||
        decode_loss(loss, &loss_path, &ret->loss, err) < 0 ||
        decode_schedule(schedule, &schedule_path, &ret->schedule, err) < 0)
        return -1;
    if (!clip)
        return 0;
    if (json_only_keys(clip, &clip_path, clip_keys, err) < 0 ||
        json_get_double(clip, &clip_path, "globalNorm", &ret->clip_norm, err) < 0)
        return -1;
    return ret->clip_norm > 0 ? 0 : bad(&clip_path, "globalNorm", "above 0", ret->clip_norm, err);
}

double schedule_factor(const struct schedule *s, int64_t step, int64_t total)
{
    double f = 1;
    if (step < s->warmup_steps)
        f = (double)(step + 1) / (double)s->warmup_steps;
    for (size_t i = 0; i < s->n; i++)
        if ((double)step >= s->at[i] * (double)total)
            f *= s->factor;
    if (s->decay == DECAY_STEPS)
        return f;
    double after = (double)(step - s->warmup_steps), span = (double)(total - s->warmup_steps);
    double done = after <= 0 || span <= 0 ? 0 : after / span;
    double share = s->decay == DECAY_LINEAR ? 1 - done : 0.5 * (1 + cos(M_PI * done));
    return f * (s->floor + (1 - s->floor) * share);
}

static const char *const loss_names[] = {[LOSS_BCE] = "bce", [LOSS_MSE] = "mse", [LOSS_HUBER] = "huber"};

const char *loss_name(enum loss_kind kind)
{
    return loss_names[kind];
}

int loss_parse(const char *name, enum loss_kind *ret)
{
    for (size_t i = 0; i < sizeof loss_names / sizeof loss_names[0]; i++)
        if (strcmp(name, loss_names[i]) == 0) {
            *ret = (enum loss_kind)i;
            return 0;
        }
    return -1;
}
