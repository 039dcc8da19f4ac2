/* Which run a pipeline starts: a small world in which what starting_decide() records is carried out, and tables of single decisions. */
#include "operator/controller/starting.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "tests/unit/unit.h"

static int64_t at(const char *text)
{
    struct err err = ERR_INIT;
    int64_t ms = 0;
    assert_ok(clock_parse_rfc3339(text, &ms, &err), &err);
    return ms;
}

/* --- the world: a pipeline, its status, its runs ------------------------------------------------------------- */

struct world_run {
    char name[96], hash[16];
    bool ours, going, finished, stopping;
    int64_t created_ms;
};
struct world {
    struct starting_spec spec;
    struct starting_memory memory;
    char revision[32];
    struct world_run runs[64];
    size_t n_runs;
    int64_t now_ms, next_scheduled_ms, wake_ms;
    char superseded[96];
    int decisions, writes;
};

static void init(struct world *w, const char *now)
{
    *w = (struct world){.now_ms = at(now),
                        .spec = {.pipeline = "pipe",
                                 .uid = "0123456789",
                                 .generation = 1,
                                 .valid = true,
                                 .hash = "A",
                                 .on_change = true,
                                 .deadline_ms = 3600 * 1000},
                        .revision = "pipe-r"};
}

static void schedule(struct world *w, const char *cron, enum catch_up catch_up)
{
    struct err err = ERR_INIT;
    assert_ok(schedule_parse(cron, "UTC", &w->spec.schedule, &err), &err);
    w->spec.on_schedule = true;
    w->spec.cron = cron;
    w->spec.zone = "UTC";
    w->spec.catch_up = catch_up;
}

static void edit(struct world *w, const char *hash)
{
    w->spec.generation++;
    w->spec.hash = hash;
}

static struct world_run *find(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n_runs; i++)
        if (strcmp(w->runs[i].name, name) == 0)
            return &w->runs[i];
    return NULL;
}

static struct world_run *add_run(struct world *w, const char *name, const char *hash, bool ours)
{
    struct world_run *r = &w->runs[w->n_runs++];
    *r = (struct world_run){.ours = ours, .created_ms = w->now_ms};
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    (void)snprintf(r->hash, sizeof r->hash, "%s", hash);
    return r;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* One decision, recorded. True if that changed the status. */
static bool decide(struct world *w)
{
    struct starting_run runs[64];
    for (size_t i = 0; i < w->n_runs; i++) {
        struct world_run *r = &w->runs[i];
        runs[i] = (struct starting_run){r->name,     r->hash,     r->ours,      r->going,
                                        r->finished, r->stopping, r->created_ms};
    }
    struct starting_decision d;
    starting_decide(&w->spec, w->revision[0] ? w->revision : NULL, &w->memory, false, runs, w->n_runs,
                    w->now_ms, &d);
    for (size_t i = 0; i < d.n_replace; i++)
        w->runs[d.replace[i]].stopping = true;
    struct starting_memory *m = &w->memory, *n = &d.memory;
    bool changed = !same(m->last_hash, n->last_hash) || m->last_scheduled_ms != n->last_scheduled_ms ||
                   !same(m->cron, n->cron) || !same(m->starting.name, n->starting.name) ||
                   !same(m->pending.name, n->pending.name);
    if (d.superseded)
        (void)snprintf(w->superseded, sizeof w->superseded, "%s", d.superseded);
    w->next_scheduled_ms = d.next_scheduled_ms;
    w->wake_ms = d.wake_ms;
    starting_memory_release(m);
    *m = d.memory;
    d.memory = (struct starting_memory){0};
    starting_decision_release(&d);
    w->decisions++;
    w->writes += changed;
    return changed;
}

/* What is recorded as `starting` is created; until nothing changes any more. */
static void settle(struct world *w)
{
    for (int i = 0; i < 1000; i++) {
        bool changed = decide(w);
        const char *name = w->memory.starting.name;
        if (name && !find(w, name))
            add_run(w, name, w->memory.starting.hash, true);
        else if (!changed)
            return;
    }
    fail_msg("it does not settle");
}

/* "pipe-1 pipe-2": ours that are not finished. */
static const char *active(struct world *w)
{
    static char text[1024];
    text[0] = '\0';
    for (size_t i = 0; i < w->n_runs; i++)
        if (w->runs[i].ours && !w->runs[i].finished)
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? " " : "",
                           w->runs[i].name);
    return text;
}

static void finish_all(struct world *w)
{
    for (size_t i = 0; i < w->n_runs; i++)
        w->runs[i].finished = true;
}

static void release(struct world *w)
{
    starting_memory_release(&w->memory);
}

/* --- SpecChange -------------------------------------------------------------------------------------------------- */

static void a_change_starts_one(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    settle(&w);
    assert_string_equal(active(&w), "pipe-1");
    assert_string_equal(w.memory.last_hash, "A");
    assert_null(w.memory.starting.name);
    for (int i = 0; i < 5; i++)
        assert_false(decide(&w)); /* repeated applies */
    edit(&w, "A");                /* retention, schedule, limits: another generation, the same hash */
    assert_false(decide(&w));
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "");
    edit(&w, "B");
    settle(&w);
    assert_string_equal(active(&w), "pipe-3");
    finish_all(&w);
    edit(&w, "A"); /* back again */
    settle(&w);
    assert_string_equal(active(&w), "pipe-4");
    release(&w);
}

static void deleted_runs_are_not_repeated(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    settle(&w);
    w.n_runs = 0;
    assert_false(decide(&w));
    edit(&w, "A");
    assert_false(decide(&w));
    release(&w);
}

static void one_waits_and_the_latest_spec_wins(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    settle(&w);
    edit(&w, "B");
    settle(&w);
    assert_string_equal(active(&w), "pipe-1");
    assert_string_equal(w.memory.pending.name, "pipe-2");
    assert_contains(w.memory.pending.message, "pipe-1");
    edit(&w, "C");
    settle(&w);
    assert_string_equal(w.memory.pending.name, "pipe-3");
    assert_string_equal(w.superseded, "pipe-2");
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "pipe-3");
    assert_null(w.memory.pending.name);
    /* Back to what runs already: nothing waits any more. */
    edit(&w, "D");
    settle(&w);
    edit(&w, "C");
    settle(&w);
    assert_null(w.memory.pending.name);
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "");
    release(&w);
}

static void allow_and_replace(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    w.spec.concurrency = CONCURRENCY_ALLOW;
    settle(&w);
    edit(&w, "B");
    settle(&w);
    assert_string_equal(active(&w), "pipe-1 pipe-2");
    w.spec.concurrency = CONCURRENCY_REPLACE;
    edit(&w, "C");
    settle(&w);
    assert_string_equal(active(&w), "pipe-1 pipe-2");
    assert_true(w.runs[0].stopping && w.runs[1].stopping);
    assert_string_equal(w.memory.pending.name, "pipe-3");
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "pipe-3");
    assert_false(find(&w, "pipe-3")->stopping);
    release(&w);
}

static void a_persons_run_is_no_concern(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    add_run(&w, "by-hand", "A", false);
    w.spec.concurrency = CONCURRENCY_REPLACE;
    settle(&w);
    assert_string_equal(active(&w), "pipe-1");
    assert_false(find(&w, "by-hand")->stopping);
    release(&w);
}

static void names_that_are_taken(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    add_run(&w, "pipe-1", "A", false);
    settle(&w);
    assert_string_equal(active(&w), "pipe-1-01234");
    release(&w);

    /* What an earlier pipeline of this name left is waited for, since it goes. */
    init(&w, "2026-03-01T10:00:00Z");
    add_run(&w, "pipe-1", "A", false)->going = true;
    assert_true(decide(&w));
    assert_string_equal(w.memory.starting.name, "pipe-1");
    assert_false(decide(&w));
    w.n_runs = 0;
    settle(&w);
    assert_string_equal(active(&w), "pipe-1");
    release(&w);

    /* Taken between the record and the creation. */
    init(&w, "2026-03-01T10:00:00Z");
    assert_true(decide(&w));
    assert_string_equal(w.memory.starting.name, "pipe-1");
    add_run(&w, "pipe-1", "A", false);
    settle(&w);
    assert_string_equal(active(&w), "pipe-1-01234");
    release(&w);

    init(&w, "2026-03-01T10:00:00Z");
    w.spec.pipeline = "a-name-of-sixty-characters-that-is-too-long-for-a-run-of-it-x";
    settle(&w);
    assert_true(strlen(active(&w)) <= 63);
    assert_contains(active(&w), "a-name-of-sixty");
    assert_string_equal(active(&w) + strlen(active(&w)) - 2, "-1");
    release(&w);
}

static void nothing_starts(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    w.spec.valid = false;
    assert_false(decide(&w));
    w.spec.valid = true;
    w.revision[0] = '\0'; /* not kept yet */
    assert_false(decide(&w));
    (void)snprintf(w.revision, sizeof w.revision, "pipe-r");
    w.spec.on_change = false;
    assert_false(decide(&w));
    /* A status that was lost: the newest run says what ran last. */
    w.spec.on_change = true;
    add_run(&w, "pipe-0", "Z", true)->created_ms -= 1000;
    add_run(&w, "pipe-1", "A", true);
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "");
    assert_string_equal(w.memory.last_hash, "A");
    release(&w);
}

static void what_was_seen_and_is_gone(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:00:00Z");
    assert_true(decide(&w));
    struct starting_decision d;
    starting_decide(&w.spec, w.revision, &w.memory, true, NULL, 0, w.now_ms, &d);
    assert_null(d.memory.starting.name);
    assert_string_equal(d.memory.last_hash, "A");
    starting_decision_release(&d);
    release(&w);
}

/* --- Schedule ---------------------------------------------------------------------------------------------------- */

static void times_pass(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:30:00Z");
    w.spec.on_change = false;
    schedule(&w, "0 * * * *", CATCH_UP_LATEST);
    settle(&w); /* 10:00 was before the schedule was seen */
    assert_string_equal(active(&w), "");
    assert_int_equal(w.next_scheduled_ms, at("2026-03-01T11:00:00Z"));
    assert_int_equal(w.wake_ms, w.next_scheduled_ms);
    w.now_ms = at("2026-03-01T11:00:00Z");
    settle(&w);
    assert_string_equal(active(&w), "pipe-202603011100");
    assert_int_equal(w.memory.last_scheduled_ms, at("2026-03-01T11:00:00Z"));
    assert_int_equal(w.next_scheduled_ms, at("2026-03-01T12:00:00Z"));
    finish_all(&w);
    assert_false(decide(&w));
    /* Another schedule: its times before now start nothing. */
    w.now_ms = at("2026-03-01T11:31:00Z");
    schedule(&w, "30 * * * *", CATCH_UP_LATEST);
    settle(&w);
    assert_string_equal(active(&w), "");
    assert_int_equal(w.next_scheduled_ms, at("2026-03-01T12:30:00Z"));
    /* Taken out and put back. */
    w.spec.on_schedule = false;
    settle(&w);
    assert_int_equal(w.next_scheduled_ms, 0);
    w.now_ms = at("2026-03-01T12:31:00Z");
    w.spec.on_schedule = true;
    settle(&w);
    assert_string_equal(active(&w), "");
    release(&w);
}

static void a_scheduled_run_answers_a_change(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:30:00Z");
    schedule(&w, "0 * * * *", CATCH_UP_LATEST);
    settle(&w);
    finish_all(&w);
    w.now_ms = at("2026-03-01T11:00:01Z");
    edit(&w, "B");
    settle(&w);
    assert_string_equal(active(&w), "pipe-202603011100");
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "");
    release(&w);
}

/* After a silence, each run finishes at once: which were started? */
static void catching_up(void **state)
{
    (void)state;
    static const struct {
        const char *says, *cron, *silent_until;
        enum catch_up catch_up;
        int64_t deadline_s;
        const char *started;
    } cases[] = {
        {"Latest: the newest of the missed ones", "0 * * * *", "2026-03-01T13:20:00Z", CATCH_UP_LATEST, 7200,
         "pipe-202603011300"},
        {"Latest: not past the starting deadline", "0 * * * *", "2026-03-01T13:20:00Z", CATCH_UP_LATEST, 600,
         ""},
        {"at the starting deadline itself it starts", "0 * * * *", "2026-03-01T13:10:00Z", CATCH_UP_LATEST,
         600, "pipe-202603011300"},
        {"All: each one, oldest first", "0 * * * *", "2026-03-01T13:20:00Z", CATCH_UP_ALL, 86400,
         "pipe-202603011100 pipe-202603011200 pipe-202603011300"},
        {"All: within the starting deadline", "0 * * * *", "2026-03-01T13:20:00Z", CATCH_UP_ALL, 5400,
         "pipe-202603011200 pipe-202603011300"},
        {"None: a missed one is not made up for", "0 * * * *", "2026-03-01T13:20:00Z", CATCH_UP_NONE, 86400,
         ""},
        {"None: a little late is on time", "0 * * * *", "2026-03-01T13:00:30Z", CATCH_UP_NONE, 86400,
         "pipe-202603011300"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        char started[1024] = "";
        init(&w, "2026-03-01T10:30:00Z");
        w.spec.on_change = false;
        w.spec.deadline_ms = cases[i].deadline_s * 1000;
        schedule(&w, cases[i].cron, cases[i].catch_up);
        settle(&w);
        w.now_ms = at(cases[i].silent_until);
        for (int k = 0; k < 10; k++) {
            settle(&w);
            if (!*active(&w))
                break;
            (void)snprintf(started + strlen(started), sizeof started - strlen(started), "%s%s",
                           started[0] ? " " : "", active(&w));
            finish_all(&w);
        }
        if (strcmp(started, cases[i].started) != 0)
            fail_msg("%s: \"%s\", expected \"%s\"", cases[i].says, started, cases[i].started);
        release(&w);
    }
}

static void catching_up_is_bounded(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T00:00:00Z");
    w.spec.on_change = false;
    w.spec.deadline_ms = 365LL * 86400 * 1000;
    schedule(&w, "* * * * *", CATCH_UP_ALL);
    settle(&w);
    w.now_ms = at("2026-09-01T00:00:00Z");
    int n = 0;
    for (; n < 2 * STARTING_CATCH_UP; n++) {
        settle(&w);
        if (!*active(&w))
            break;
        if (n == 0)
            assert_string_equal(active(&w), "pipe-202608312221");
        w.n_runs = 0;
    }
    assert_int_equal(n, STARTING_CATCH_UP);
    release(&w);
}

static void forbid_holds_a_time_back(void **state)
{
    (void)state;
    struct world w;
    init(&w, "2026-03-01T10:30:00Z");
    w.spec.on_change = false;
    w.spec.deadline_ms = 1800 * 1000;
    schedule(&w, "0 * * * *", CATCH_UP_LATEST);
    settle(&w);
    w.now_ms = at("2026-03-01T11:00:00Z");
    settle(&w);
    w.now_ms = at("2026-03-01T12:00:00Z");
    settle(&w);
    assert_string_equal(w.memory.pending.name, "pipe-202603011200");
    assert_int_equal(w.wake_ms, at("2026-03-01T12:30:00.001Z"));
    w.now_ms = at("2026-03-01T12:30:00.001Z"); /* too late now */
    settle(&w);
    assert_null(w.memory.pending.name);
    finish_all(&w);
    settle(&w);
    assert_string_equal(active(&w), "");
    w.now_ms = at("2026-03-01T13:00:00Z");
    settle(&w);
    assert_string_equal(active(&w), "pipe-202603011300");
    release(&w);
}

/* --- killed anywhere ----------------------------------------------------------------------------------------------- */

/* Between any two steps of deciding, recording, creating and seeing, the process is replaced by one that knows only status and runs; sometimes two
 * act at once, one of them on an old status: its write is refused. Whatever happens, every hash that was current when nothing ran is run once. */
static void no_run_is_started_twice(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 300; seed++) {
        unsigned x = seed * 2654435761u;
        struct world w;
        init(&w, "2026-03-01T10:00:00Z");
        char hash[16] = "h0";
        int changes = 1;
        for (int step = 0; step < 60; step++) {
            x = x * 1664525u + 1013904223u;
            switch (x >> 24 & 7) {
            case 0:
                if (w.memory.starting.name || w.n_runs >= 60)
                    break;
                (void)snprintf(hash, sizeof hash, "h%d", changes++);
                edit(&w, hash);
                break;
            case 1:
                finish_all(&w);
                break;
            case 2:
            case 3: /* created, perhaps answered, perhaps not; a second create is AlreadyExists */
                if (w.memory.starting.name && !find(&w, w.memory.starting.name) && w.n_runs < 60)
                    add_run(&w, w.memory.starting.name, w.memory.starting.hash, true);
                break;
            default:
                (void)decide(&w);
            }
        }
        settle(&w);
        finish_all(&w);
        settle(&w);
        finish_all(&w);
        for (size_t i = 0; i < w.n_runs; i++)
            for (size_t k = i + 1; k < w.n_runs; k++)
                if (strcmp(w.runs[i].hash, w.runs[k].hash) == 0)
                    fail_msg("seed %u: %s and %s both ran %s", seed, w.runs[i].name, w.runs[k].name,
                             w.runs[i].hash);
        assert_string_equal(w.runs[w.n_runs - 1].hash, w.spec.hash);
        release(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a change of the spec starts one run, and A to B to A another", a_change_starts_one, NULL, NULL,
         NULL},
        {"a run that was deleted is not repeated", deleted_runs_are_not_repeated, NULL, NULL, NULL},
        {"during a run one waits, and the latest spec wins", one_waits_and_the_latest_spec_wins, NULL, NULL,
         NULL},
        {"Allow starts at once, Replace stops the active ones first", allow_and_replace, NULL, NULL, NULL},
        {"a person's run neither waits nor is waited for", a_persons_run_is_no_concern, NULL, NULL, NULL},
        {"a name that is taken", names_that_are_taken, NULL, NULL, NULL},
        {"nothing starts when the spec is wrong, not kept yet, or known to have run", nothing_starts, NULL,
         NULL, NULL},
        {"a run that came and went before it was looked at", what_was_seen_and_is_gone, NULL, NULL, NULL},
        {"times of the schedule, and editing it", times_pass, NULL, NULL, NULL},
        {"a scheduled run answers a change of the spec", a_scheduled_run_answers_a_change, NULL, NULL, NULL},
        {"catching up on missed times", catching_up, NULL, NULL, NULL},
        {"catching up is bounded", catching_up_is_bounded, NULL, NULL, NULL},
        {"Forbid holds a time back until its deadline", forbid_holds_a_time_back, NULL, NULL, NULL},
        {"killed at any step, no run is started twice", no_run_is_started_twice, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
