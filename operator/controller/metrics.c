/* See metrics.h. */
#include "operator/controller/metrics.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"

enum { LABELS = 3, STATM_MAX = 4096 };
enum kind { GAUGE, COUNTER, HISTOGRAM };

static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                0.5,   1,      2.5,   5,    10,    30,   60};

static const struct {
    const char *name;
    enum kind kind;
    const char *labels[LABELS + 1];
    const char *help;
} table[METRIC_N] = {
    [METRIC_QUEUE_DEPTH] = {"trainyard_queue_depth", GAUGE, {"queue"}, "Objects that wait to be looked at."},
    [METRIC_QUEUE_WAIT] = {"trainyard_queue_wait_seconds",
                           HISTOGRAM,
                           {"queue"},
                           "How long an object was due before it was looked at."},
    [METRIC_RECONCILE] = {"trainyard_reconcile_seconds",
                          HISTOGRAM,
                          {"kind"},
                          "One look at an object, its requests included."},
    [METRIC_HANDOFF] = {"trainyard_handoff_seconds",
                        HISTOGRAM,
                        {NULL},
                        "From the end of a step's pod to the creation of its successor's Job."},
    [METRIC_API_REQUESTS] = {"trainyard_api_requests_total",
                             COUNTER,
                             {"verb", "resource", "code"},
                             "Requests to the API server; code 0: no answer."},
    [METRIC_RUNS] = {"trainyard_runs", GAUGE, {"phase"}, "Runs by phase."},
    [METRIC_STEPS] = {"trainyard_steps", GAUGE, {"state"}, "Steps of unfinished runs by state."},
    [METRIC_FAILURES] = {"trainyard_attempt_failures_total",
                         COUNTER,
                         {"class"},
                         "Attempts that failed, by class."},
    [METRIC_GPU_SECONDS] = {"trainyard_gpu_seconds_total",
                            COUNTER,
                            {"use"},
                            "GPU-seconds of ended attempts; wasted: of those that failed."},
    [METRIC_SAMPLES_PER_SECOND] = {"trainyard_training_samples_per_second",
                                   GAUGE,
                                   {"namespace", "pipeline", "step"},
                                   "Training throughput as last posted."},
    [METRIC_CHECKPOINT_SECONDS] = {"trainyard_checkpoint_seconds",
                                   GAUGE,
                                   {"namespace", "pipeline", "step"},
                                   "Duration of the newest checkpoint."},
    [METRIC_CHECKPOINT_AGE] = {"trainyard_checkpoint_age_seconds",
                               GAUGE,
                               {"namespace", "pipeline", "step"},
                               "Since the newest checkpoint of a running attempt."},
    [METRIC_DATA_WAIT_RATIO] = {"trainyard_data_wait_ratio",
                                GAUGE,
                                {"namespace", "pipeline", "step"},
                                "Share of training time spent waiting for data."},
    [METRIC_VALIDATION_FAILURES] = {"trainyard_validation_failures_total",
                                    COUNTER,
                                    {"namespace", "pipeline"},
                                    "Runs that failed in data validation."},
    [METRIC_DATA_AGE] = {"trainyard_data_age_seconds",
                         GAUGE,
                         {"namespace", "pipeline"},
                         "Age of the newest data when it was validated last."},
    [METRIC_TIME_TO_TRAIN] = {"trainyard_time_to_train_seconds",
                              GAUGE,
                              {"namespace", "pipeline"},
                              "Duration of the newest successful run."},
    [METRIC_LEADER] = {"trainyard_leader", GAUGE, {NULL}, "1 for the leader."},
};

struct series {
    char *labels[LABELS];
    double value, sum;
    uint64_t count, buckets[sizeof bounds / sizeof *bounds];
};
struct metrics {
    struct map *series[METRIC_N];
};

static void series_free(void *p)
{
    struct series *s = p;
    for (size_t i = 0; i < LABELS; i++)
        free(s->labels[i]);
    free(s);
}

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof *m);
    for (size_t i = 0; i < METRIC_N; i++)
        m->series[i] = map_new(LIMIT_METRIC_SERIES + 1, series_free);
    return m;
}

struct metrics *metrics_free(struct metrics *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < METRIC_N; i++)
        map_free(m->series[i]);
    free(m);
    return NULL;
}

static size_t n_labels(enum metric id)
{
    size_t n = 0;
    while (n < LABELS && table[id].labels[n])
        n++;
    return n;
}

static struct series *find(struct metrics *m, enum metric id, const char *const labels[3])
{
    size_t n = n_labels(id);
    const char *values[LABELS] = {"", "", ""};
    for (size_t i = 0; i < n; i++)
        values[i] = labels && labels[i] ? labels[i] : "";
    for (bool other = false;; other = true) {
        _cleanup_free_ char *key = xasprintf("%s\n%s\n%s", values[0], values[1], values[2]);
        struct series *s = map_get(m->series[id], key);
        if (s)
            return s;
        if (!other && map_size(m->series[id]) >= LIMIT_METRIC_SERIES) {
            for (size_t i = 0; i < n; i++)
                values[i] = "other";
            continue;
        }
        s = xcalloc(1, sizeof *s);
        for (size_t i = 0; i < n; i++)
            s->labels[i] = xstrdup(values[i]);
        if (map_set(m->series[id], key, s) < 0)
            BUG("%s: more than %d series", table[id].name, LIMIT_METRIC_SERIES + 1);
        return s;
    }
}

void metrics_set(struct metrics *m, enum metric id, const char *const labels[3], double value)
{
    find(m, id, labels)->value = value;
}

void metrics_add(struct metrics *m, enum metric id, const char *const labels[3], double value)
{
    find(m, id, labels)->value += value;
}

void metrics_observe(struct metrics *m, enum metric id, const char *const labels[3], double seconds)
{
    struct series *s = find(m, id, labels);
    s->sum += seconds;
    s->count++;
    for (size_t i = 0; i < ARRAY_SIZE(bounds); i++)
        s->buckets[i] += seconds <= bounds[i];
}

void metrics_forget(struct metrics *m, enum metric id, const char *const labels[3])
{
    _cleanup_free_ const char **gone = xcalloc(map_size(m->series[id]) + 1, sizeof *gone);
    size_t n = 0;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(m->series[id], &i, &key, &value);) {
        const struct series *s = value;
        bool same = true;
        for (size_t k = 0; k < LABELS && labels && labels[k]; k++)
            same = same && s->labels[k] && strcmp(s->labels[k], labels[k]) == 0;
        if (same)
            gone[n++] = key;
    }
    for (size_t i = 0; i < n; i++)
        (void)map_remove(m->series[id], gone[i]);
}

/* --- text --------------------------------------------------------------------------------------------------- */

static void print_value(struct buf *out, double value)
{
    char text[32];
    json_format_double(value, text);
    (void)buf_addf(out, " %s\n", text);
}

/* {a="x",b="y",le="0.5"}; nothing without labels. */
static void print_labels(struct buf *out, enum metric id, const struct series *s, const char *le)
{
    const char *separator = "{";
    for (size_t i = 0; i < n_labels(id); i++) {
        (void)buf_addf(out, "%s%s=\"", separator, table[id].labels[i]);
        for (const char *p = s->labels[i]; *p; p++) {
            if (*p == '\\' || *p == '"')
                (void)buf_addc(out, '\\');
            (void)buf_adds(out, *p == '\n' ? "\\n" : (char[2]){*p});
        }
        (void)buf_addc(out, '"');
        separator = ",";
    }
    if (le)
        (void)buf_addf(out, "%sle=\"%s\"", separator, le);
    if (le || n_labels(id))
        (void)buf_addc(out, '}');
}

static void print_histogram(struct buf *out, enum metric id, const struct series *s)
{
    for (size_t i = 0; i <= ARRAY_SIZE(bounds); i++) {
        char le[32] = "+Inf";
        if (i < ARRAY_SIZE(bounds))
            json_format_double(bounds[i], le);
        (void)buf_addf(out, "%s_bucket", table[id].name);
        print_labels(out, id, s, le);
        print_value(out, (double)(i < ARRAY_SIZE(bounds) ? s->buckets[i] : s->count));
    }
    (void)buf_addf(out, "%s_sum", table[id].name);
    print_labels(out, id, s, NULL);
    print_value(out, s->sum);
    (void)buf_addf(out, "%s_count", table[id].name);
    print_labels(out, id, s, NULL);
    print_value(out, (double)s->count);
}

/* Under the names that every Prometheus client library uses. */
static void print_process(struct buf *out)
{
    struct rusage usage;
    _cleanup_free_ char *text = NULL;
    size_t len;
    struct err ignored = ERR_INIT;
    unsigned long total, resident;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        (void)buf_adds(out, "# HELP process_cpu_seconds_total User and system time.\n"
                            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total");
        print_value(out, (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                             (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    }
    if (fs_read_file("/proc/self/statm", STATM_MAX, &text, &len, &ignored) == 0 &&
        sscanf(text, "%lu %lu", &total, &resident) == 2) {
        (void)buf_adds(out, "# HELP process_resident_memory_bytes Resident memory.\n"
                            "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes");
        print_value(out, (double)resident * (double)sysconf(_SC_PAGESIZE));
    }
}

static const char *const kinds[] = {"gauge", "counter", "histogram"};

void metrics_print(const struct metrics *m, struct buf *out)
{
    for (size_t id = 0; id < METRIC_N; id++) {
        const char *key;
        void *value;
        if (map_size(m->series[id]) == 0)
            continue;
        (void)buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", table[id].name, table[id].help, table[id].name,
                       kinds[table[id].kind]);
        for (size_t i = 0; map_next(m->series[id], &i, &key, &value);) {
            if (table[id].kind == HISTOGRAM) {
                print_histogram(out, (enum metric)id, value);
                continue;
            }
            (void)buf_adds(out, table[id].name);
            print_labels(out, (enum metric)id, value, NULL);
            print_value(out, ((const struct series *)value)->value);
        }
    }
    print_process(out);
}

/* --- documentation ------------------------------------------------------------------------------------------ */

void metrics_document(struct buf *out)
{
    (void)buf_adds(out, "| name | type | labels | meaning |\n|---|---|---|---|\n");
    for (size_t id = 0; id < METRIC_N; id++) {
        (void)buf_addf(out, "| `%s` | %s |", table[id].name, kinds[table[id].kind]);
        for (size_t i = 0; i < n_labels((enum metric)id); i++)
            (void)buf_addf(out, "%s `%s`", i ? "," : "", table[id].labels[i]);
        (void)buf_addf(out, " | %s |\n", table[id].help);
    }
    (void)buf_adds(out, "\nBuckets of the histograms, in seconds:");
    for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
        char text[32];
        json_format_double(bounds[i], text);
        (void)buf_addf(out, "%s %s", i ? "," : "", text);
    }
    (void)buf_addf(
        out,
        ".\n\nA metric has at most %d combinations of labels; what comes beyond is counted under the "
        "value `other` of each.\n",
        LIMIT_METRIC_SERIES);
}
