/* A driver around plan() in a world where everything goes wrong: random graphs, random failures, stale, lost and doubled
 * observations, crashes between every two writes, people who suspend, stop and restart. After a while the world calms down,
 * and every run has to end in the right phase. Checked all the way: never two live attempts of an item, nothing starts before
 * its inputs, budgets hold, the status only moves forward, comes back from JSON, and planning again asks for nothing new.
 *
 * Bounded and seeded. SIMULATION_SEED=n runs one seed, SIMULATION_SEEDS=n that many. */
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "operator/pipeline/fanout.h"
#include "tests/unit/pipeline/world.h"

enum {
    SEEDS = 200,
    MAX_STEPS = 8,
    MAX_PODS = 3,
    MAX_REAL = 4000,
    STORM_ROUNDS = 60,  /* with faults */
    CALM_ROUNDS = 1500, /* without: the run must end in this time */
    SNAPSHOTS = 4,
    STALE_MS = 20000, /* how old an observation may be */
    GRACE_MS = 10000,
};

/* --- chance -------------------------------------------------------------------------------------------------- */

struct chance {
    uint64_t state;
};

static uint64_t draw(struct chance *c)
{
    c->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = c->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int below(struct chance *c, int n)
{
    return (int)(draw(c) % (uint64_t)n);
}

static bool percent(struct chance *c, int p)
{
    return below(c, 100) < p;
}

/* --- the world as it is ------------------------------------------------------------------------------------------ */

enum fate {
    FATE_SUCCESS,
    FATE_USER,
    FATE_APPLICATION,
    FATE_INFRASTRUCTURE,
    FATE_MEMORY,
    FATE_PREEMPTION,
    FATE_VANISH,
    FATE_NO_RESULT,
    FATE_HALF_HANG,
    FATE_HANG,
    FATE_MISSING
};

struct real {
    size_t step;
    int64_t item;
    int restart, attempt, n_pods;
    enum fate fate;
    int64_t created, starts_at, ends_at, dies_at; /* dies_at: 0, not being removed */
    bool gone;
    int64_t checkpoint;
    enum pod_phase phases[MAX_PODS];
    bool killed[MAX_PODS]; /* by removal */
    char message[200];
};
struct snapshot {
    int64_t at;
    struct real *attempts;
    size_t n;
};
struct sim {
    uint64_t seed;
    struct chance chance;
    struct pipeline *pipeline;
    struct run_spec run;
    struct run_status status; /* as stored */
    cJSON *cache;
    struct plan_options options;
    int64_t now;
    bool calm;
    struct real real[MAX_REAL];
    size_t n_real;
    struct snapshot history[SNAPSHOTS];
    size_t n_history;
    int restarts, round;
    char approvals[16]; /* digits of the steps that are approvals: nothing can be read from them */
};

#define broken(s, fmt, ...) \
    fail_msg("SIMULATION_SEED=%llu round %d: " fmt, (unsigned long long)(s)->seed, (s)->round, __VA_ARGS__)

static bool real_live(const struct real *r)
{
    if (r->gone)
        return false;
    for (int i = 0; i < r->n_pods; i++)
        if (r->phases[i] == POD_PENDING || r->phases[i] == POD_RUNNING)
            return true;
    return false;
}

static int64_t pod_end(const struct real *r, int pod)
{
    if (r->fate == FATE_HANG || (r->fate == FATE_HALF_HANG && pod > 0))
        return INT64_MAX;
    return r->ends_at;
}

static void real_advance(struct sim *s, struct real *r)
{
    if (r->gone)
        return;
    bool was_live = real_live(r);
    for (int i = 0; i < r->n_pods; i++) {
        if (r->phases[i] == POD_PENDING && s->now >= r->starts_at)
            r->phases[i] = POD_RUNNING;
        if (r->phases[i] == POD_RUNNING && s->now >= pod_end(r, i))
            r->phases[i] = r->fate == FATE_SUCCESS || r->fate == FATE_NO_RESULT ? POD_SUCCEEDED : POD_FAILED;
        if ((r->phases[i] == POD_PENDING || r->phases[i] == POD_RUNNING) && r->dies_at &&
            s->now >= r->dies_at) {
            r->phases[i] = POD_FAILED;
            r->killed[i] = true;
        }
    }
    if (r->phases[0] == POD_RUNNING && percent(&s->chance, 30))
        r->checkpoint += 10;
    if (was_live && !real_live(r) && r->fate == FATE_VANISH)
        r->gone = true;
}

static void describe_pod(const struct real *r, int i, struct observed_pod *p)
{
    *p = OBSERVED_POD_INIT;
    p->worker = i;
    p->phase = r->phases[i];
    if (p->phase != POD_PENDING)
        p->started_ms = r->starts_at < r->ends_at ? r->starts_at : r->created;
    if (p->phase == POD_SUCCEEDED || p->phase == POD_FAILED)
        p->finished_ms = r->killed[i] ? r->dies_at : r->ends_at;
    if (p->phase == POD_SUCCEEDED) {
        p->exit_code = 0;
        p->message = i == 0 && r->fate == FATE_SUCCESS ? r->message : NULL;
        return;
    }
    if (p->phase != POD_FAILED)
        return;
    static const int codes[] = {0, 65, 1, 75, 137, 143, 143, 0, 75, 143, 66};
    p->exit_code = r->killed[i] ? 143 : codes[r->fate];
    if (r->killed[i])
        return;
    if (r->fate == FATE_MEMORY)
        p->reason = "OOMKilled";
    if (r->fate == FATE_PREEMPTION)
        p->disruption = "PreemptionByScheduler";
    if (r->fate == FATE_MISSING)
        p->message = ERROR_MESSAGE("artifact-missing", "an input is not there");
}

/* --- a random pipeline ----------------------------------------------------------------------------------------------- */

static void write_step(struct sim *s, struct buf *b, int i, int n_main, bool *fanned)
{
    struct chance *c = &s->chance;
    bool finally = i >= n_main;
    (void)buf_addf(b, "    - name: s%d\n", i);
    if (finally)
        (void)buf_adds(b, "      finally: true\n");
    if (!finally && i > 0 && percent(c, 10)) {
        (void)buf_addf(b, "      after: [s%d]\n      approval: {message: \"go?\"}\n", below(c, i));
        fanned[i] = true;
        s->approvals[strlen(s->approvals)] = (char)('0' + i);
        return;
    }
    int from = finally || i == 0 ? -1 : below(c, i);
    bool read = false;
    char inputs[300] = "";
    for (int k = 0; k < i && !finally; k++) {
        if (!percent(c, 35) || strchr(s->approvals, '0' + k))
            continue;
        size_t len = strlen(inputs);
        (void)snprintf(inputs + len, sizeof inputs - len, "%s{name: i%d, from: s%d.o}", read ? ", " : "", k,
                       k);
        read = true;
    }
    if (read)
        (void)buf_addf(b, "      inputs: [%s]\n", inputs);
    if (from >= 0 && percent(c, 20))
        (void)buf_addf(b, "      after: [s%d]\n", from);
    if (from >= 0 && !fanned[from] && percent(c, 20))
        (void)buf_addf(b, "      when: \"has(steps.s%d.values.v) and steps.s%d.values.v > 0\"\n", from, from);
    else if (from >= 0 && !fanned[from] && percent(c, 3)) /* an error where v is 0 */
        (void)buf_addf(b, "      when: \"has(steps.s%d.values.v) and 1 / steps.s%d.values.v > 0\"\n", from,
                       from);
    if (percent(c, 25)) {
        fanned[i] = true;
        (void)buf_addf(b, "      foreach: {items: [\"x\", \"y\", \"z\"]%s%s}\n",
                       percent(c, 40) ? ", parallelism: 1" : "", percent(c, 40) ? ", minSuccess: 1" : "");
    }
    (void)buf_addf(b, "      workers: %d\n", percent(c, 70) ? 1 : 1 + below(c, MAX_PODS));
    (void)buf_addf(
        b,
        "      retry: {application: %d, infrastructure: %d, preemption: %d, memory: {budget: %d}, backoffSeconds: %d, maxBackoffSeconds: 20}\n",
        below(c, 3), below(c, 4), below(c, 5) - 1, below(c, 2), 1 + below(c, 5));
    (void)buf_addf(b, "      timeoutSeconds: 120\n");
    if (percent(c, 40))
        (void)buf_adds(b, "      cache: {enabled: true}\n");
    (void)buf_addf(b,
                   "      container: {image: \"" IMAGE
                   "\", args: [\"%d\"], outputs: [o], values: [{name: v, type: number}]}\n",
                   i);
}

static void make_pipeline(struct sim *s)
{
    _cleanup_buf_ struct buf b = BUF_INIT(65536);
    bool fanned[MAX_STEPS + 2] = {false};
    int n_main = 1 + below(&s->chance, MAX_STEPS), n_finally = below(&s->chance, 3);
    for (int i = 0; i < n_main + n_finally; i++) {
        write_step(s, &b, i, n_main, fanned);
    }
    char spec[100];
    (void)snprintf(spec, sizeof spec, "  limits: {%s%s}\n",
                   percent(&s->chance, 50) ? "parallelism: 2" : "parallelism: 100",
                   percent(&s->chance, 15) ? ", runSeconds: 600" : "");
    s->pipeline = world_pipeline(spec, buf_str(&b));
}

/* --- the driver ------------------------------------------------------------------------------------------------------------ */

static enum fate draw_fate(struct sim *s, const struct step *def)
{
    if (s->calm)
        return FATE_SUCCESS;
    static const struct {
        enum fate fate;
        int percent;
    } odds[] = {{FATE_USER, 2},       {FATE_APPLICATION, 7}, {FATE_INFRASTRUCTURE, 7}, {FATE_MEMORY, 3},
                {FATE_PREEMPTION, 8}, {FATE_VANISH, 5},      {FATE_NO_RESULT, 3},      {FATE_HALF_HANG, 4},
                {FATE_HANG, 3},       {FATE_MISSING, 4}};
    int at = below(&s->chance, 100);
    for (size_t i = 0; i < sizeof odds / sizeof *odds; i++) {
        if (at < odds[i].percent)
            return odds[i].fate == FATE_MISSING && def->n_inputs == 0 ? FATE_SUCCESS : odds[i].fate;
        at -= odds[i].percent;
    }
    return FATE_SUCCESS;
}

static struct real *find_real(struct sim *s, size_t step, int64_t item, int attempt)
{
    for (size_t i = 0; i < s->n_real; i++)
        if (s->real[i].step == step && s->real[i].item == item && s->real[i].attempt == attempt)
            return &s->real[i];
    return NULL;
}

static void check_inputs(struct sim *s, const struct job *job)
{
    const struct step *def = &s->pipeline->steps[job->step];
    for (size_t i = 0; i < def->n_inputs; i++) {
        const struct step_status *producer = &s->status.steps[def->inputs[i].from];
        if (!step_state_done(producer->state))
            broken(s, "%s starts before its input: %s is %s", job->name, producer->name,
                   step_state_name(producer->state));
        if (!cJSON_GetObjectItemCaseSensitive(job->inputs, def->inputs[i].name))
            broken(s, "%s starts without input %s", job->name, def->inputs[i].name);
    }
    for (size_t i = 0; i < def->n_after; i++)
        if (!step_state_finished(s->status.steps[def->after[i]].state))
            broken(s, "%s starts before %s has finished", job->name, s->status.steps[def->after[i]].name);
    for (size_t k = 0; k < s->pipeline->n_steps && def->finally; k++)
        if (!s->pipeline->steps[k].finally && !step_state_finished(s->status.steps[k].state))
            broken(s, "finally step %s starts before %s has finished", job->name, s->status.steps[k].name);
}

static void carry_out_start(struct sim *s, const struct job *job)
{
    if (find_real(s, job->step, job->item, job->attempt))
        return; /* idempotent */
    const struct item_status *item = &s->status.steps[job->step].items[job->item];
    if (item->attempt != job->attempt || item->state != STATE_RUNNING)
        broken(s, "%s starts, but the stored status says attempt %d, %s", job->name, item->attempt,
               step_state_name(item->state));
    for (size_t i = 0; i < s->n_real; i++) {
        const struct real *r = &s->real[i];
        if (r->step == job->step && r->item == job->item && real_live(r))
            broken(s, "%s starts while attempt %d of the same item is alive", job->name, r->attempt);
    }
    check_inputs(s, job);
    if (s->n_real == MAX_REAL)
        broken(s, "more than %d attempts", MAX_REAL);
    struct real *r = &s->real[s->n_real++];
    *r = (struct real){.step = job->step,
                       .item = job->item,
                       .restart = job->restart,
                       .attempt = job->attempt,
                       .n_pods = (int)job->workers,
                       .created = s->now};
    r->fate = draw_fate(s, &s->pipeline->steps[job->step]);
    r->starts_at = s->now + below(&s->chance, 5000);
    r->ends_at = r->starts_at + 500 + below(&s->chance, 30000);
    r->checkpoint = -1;
    char name[64], hex[DIGEST_HEX];
    (void)snprintf(name, sizeof name, "%zu/%lld/%d", r->step, (long long)r->item, r->restart);
    sha256_hex(name, strlen(name), hex);
    (void)snprintf(r->message, sizeof r->message, "{\"outputs\":{\"o\":\"%s\"},\"values\":{\"v\":%d}}", hex,
                   below(&s->chance, 2));
}

static void carry_out_stop(struct sim *s, const struct job *job)
{
    struct real *r = find_real(s, job->step, job->item, job->attempt);
    if (!r)
        broken(s, "STOP of %s, which never was", job->name);
    if (r->dies_at == 0)
        r->dies_at = s->now + 1 + below(&s->chance, GRACE_MS);
}

static void take_snapshot(struct sim *s)
{
    if (s->n_history == SNAPSHOTS) {
        free(s->history[0].attempts);
        memmove(s->history, s->history + 1, (SNAPSHOTS - 1) * sizeof *s->history);
        s->n_history--;
    }
    struct snapshot *h = &s->history[s->n_history++];
    *h = (struct snapshot){.at = s->now,
                           .attempts = xmalloc((s->n_real + 1) * sizeof *h->attempts),
                           .n = s->n_real};
    memcpy(h->attempts, s->real, s->n_real * sizeof *h->attempts);
}

static const struct snapshot *choose_snapshot(struct sim *s)
{
    size_t at = s->n_history - 1;
    while (!s->calm && at > 0 && percent(&s->chance, 25) && s->now - s->history[at - 1].at <= STALE_MS)
        at--;
    return &s->history[at];
}

struct view {
    struct observed_attempt *attempts;
    struct observed_pod *pods;
    struct observed observed;
};

/* `listed`: of a young Job not all pods may be there yet. */
static void add_to_view(struct view *v, const struct real *r, size_t listed)
{
    struct observed_attempt *a = &v->attempts[v->observed.n];
    struct observed_pod *pods = v->pods + v->observed.n++ * MAX_PODS;
    *a = OBSERVED_ATTEMPT_INIT;
    a->step = r->step;
    a->item = r->item;
    a->restart = r->restart;
    a->attempt = r->attempt;
    a->created_ms = r->created;
    a->deleting = r->dies_at != 0;
    a->gone = r->gone;
    a->checkpoint_step = r->checkpoint;
    a->pods = pods;
    a->n_pods = r->gone ? 0 : listed;
    for (int i = 0; i < r->n_pods; i++)
        describe_pod(r, i, &pods[i]);
}

static struct view observe(struct sim *s)
{
    const struct snapshot *h = choose_snapshot(s);
    struct view v = {.attempts = xcalloc(2 * h->n + 1, sizeof *v.attempts),
                     .pods = xcalloc((2 * h->n + 1) * MAX_PODS, sizeof *v.pods)};
    v.observed.attempts = v.attempts;
    for (size_t i = 0; i < h->n; i++) {
        const struct real *r = &h->attempts[i];
        const struct step_status *st = s->status.n_steps ? &s->status.steps[r->step] : NULL;
        bool recorded = !st || (size_t)r->item >= st->n_items || st->items[r->item].attempt != r->attempt ||
                        st->items[r->item].state != STATE_RUNNING || st->items[r->item].stop_at_ms;
        if (!s->calm && !recorded && percent(&s->chance, 5))
            continue; /* lost */
        size_t listed = !s->calm && percent(&s->chance, 10) ? (size_t)below(&s->chance, r->n_pods + 1)
                                                            : (size_t)r->n_pods;
        if (!s->calm && percent(&s->chance, 5))
            add_to_view(&v, r, (size_t)r->n_pods); /* doubled */
        add_to_view(&v, r, listed);
    }
    return v;
}

static char *text_of(struct sim *s, const struct run_status *status)
{
    struct err err = ERR_INIT;
    cJSON *json = NULL;
    if (run_status_to_json(status, &json, &err) < 0)
        broken(s, "status to JSON: %s", err.msg);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

static void round_trip(struct sim *s, const struct run_status *from, struct run_status *ret)
{
    struct err err = ERR_INIT;
    char *text = text_of(s, from);
    cJSON *json = cJSON_Parse(text);
    if (run_status_from_json(json, s->pipeline, ret, &err) < 0)
        broken(s, "status from JSON: %s", err.msg);
    char *again = text_of(s, ret);
    if (strcmp(text, again) != 0)
        broken(s, "the status does not come back from JSON: %.200s … %.200s", text, again);
    cJSON_Delete(json);
    free(text);
    free(again);
}

/* --- what must hold ------------------------------------------------------------------------------------------------------------ */

static void check_budgets(struct sim *s, const struct run_status *now)
{
    for (size_t k = 0; k < now->n_steps; k++) {
        const struct step_retry *r = &s->pipeline->steps[k].retry;
        const int64_t budgets[FAIL_N] = {[FAIL_INFRASTRUCTURE] = r->infrastructure,
                                         [FAIL_APPLICATION] = r->application,
                                         [FAIL_PREEMPTION] = r->preemption,
                                         [FAIL_MEMORY] = r->memory_budget};
        for (size_t i = 0; i < now->steps[k].n_items; i++) {
            const struct item_status *item = &now->steps[k].items[i];
            for (int c = FAIL_INFRASTRUCTURE; c < FAIL_N; c++) {
                int64_t most =
                    budgets[c] + (item->state == STATE_FAILED || item->state == STATE_STOPPED ? 1 : 0);
                if (budgets[c] >= 0 && item->charged[c] > most)
                    broken(s, "%s[%zu] is %s with %d failures of class %s, budget %lld", now->steps[k].name,
                           i, step_state_name(item->state), item->charged[c],
                           fail_class_name((enum fail_class)c), (long long)budgets[c]);
            }
        }
    }
}

static void check_forward(struct sim *s, const struct run_status *now)
{
    const struct run_status *before = &s->status;
    bool restarted = !(now->observed_restart == before->observed_restart ||
                       (now->observed_restart && before->observed_restart &&
                        strcmp(now->observed_restart, before->observed_restart) == 0));
    for (size_t k = 0; k < before->n_steps && !restarted; k++) {
        for (size_t i = 0; i < before->steps[k].n_items && i < now->steps[k].n_items; i++) {
            const struct item_status *a = &before->steps[k].items[i], *b = &now->steps[k].items[i];
            bool rerun = b->restart > a->restart; /* a consumer found its artifact missing */
            if (step_state_finished(a->state) && a->state != b->state && !rerun)
                broken(s, "%s[%zu] goes from %s to %s", now->steps[k].name, i, step_state_name(a->state),
                       step_state_name(b->state));
            if (b->attempt < a->attempt || b->restart < a->restart ||
                b->checkpoint_step < (rerun ? -1 : a->checkpoint_step))
                broken(s, "%s[%zu] goes back: attempt %d to %d, g%d to g%d", now->steps[k].name, i,
                       a->attempt, b->attempt, a->restart, b->restart);
        }
    }
    if (run_phase_finished(before->phase) && !restarted && before->phase != now->phase)
        broken(s, "the run goes from %s to %s", run_phase_name(before->phase), run_phase_name(now->phase));
}

static bool action_known(const struct plan *p, const struct action *a)
{
    for (size_t i = 0; i < p->n_actions; i++) {
        const struct action *b = &p->actions[i];
        if (a->kind == b->kind && a->job.step == b->job.step && a->job.item == b->job.item &&
            a->job.attempt == b->job.attempt)
            return true;
    }
    return false;
}

static void check_again(struct sim *s, const struct plan *first, const struct observed *observed)
{
    struct err err = ERR_INIT;
    struct plan again;
    cJSON *cache = cJSON_Duplicate(s->cache, true);
    (void)cache_apply(cache, first);
    if (plan(s->pipeline, &s->run, &first->status, observed, cache, &s->options, s->now, &again, &err) < 0)
        broken(s, "planning again: %s", err.msg);
    if (again.status_changed) {
        char *a = text_of(s, &first->status), *b = text_of(s, &again.status);
        size_t at = 0;
        while (a[at] && a[at] == b[at])
            at++;
        at = at > 80 ? at - 80 : 0;
        broken(s, "planning again changes the status: …%.200s → …%.200s", a + at, b + at);
    }
    for (size_t i = 0; i < again.n_actions; i++)
        if (!action_known(first, &again.actions[i]))
            broken(s, "planning again asks for something new: %s", again.actions[i].job.name);
    plan_release(&again);
    cJSON_Delete(cache);
}

static void check_nothing_lives(struct sim *s, const struct run_status *st)
{
    for (size_t i = 0; i < s->n_real && run_phase_finished(st->phase); i++)
        if (real_live(&s->real[i]))
            broken(s, "the run is %s, but attempt %d of %s[%lld] is alive", run_phase_name(st->phase),
                   s->real[i].attempt, st->steps[s->real[i].step].name, (long long)s->real[i].item);
}

static void check_end(struct sim *s)
{
    const struct run_status *st = &s->status;
    bool failed = st->out_of_time, stopped = false;
    for (size_t k = 0; k < st->n_steps; k++) {
        const struct step_status *step = &st->steps[k];
        if (!step_state_finished(step->state))
            broken(s, "the run is %s, but %s is %s", run_phase_name(st->phase), step->name,
                   step_state_name(step->state));
        failed = failed || step->state == STATE_FAILED;
        stopped = stopped || step->state == STATE_STOPPED;
        if (step->state == STATE_SUCCEEDED && s->pipeline->steps[k].fanout.n_axes == 0 &&
            s->pipeline->steps[k].kind == STEP_CONTAINER && !step->items[0].outputs)
            broken(s, "%s has succeeded without outputs", step->name);
    }
    enum run_phase expected = failed                          ? PHASE_FAILED
                              : st->stopping != RUN_STOP_NONE ? PHASE_STOPPED
                                                              : PHASE_SUCCEEDED;
    if (st->phase != expected)
        broken(s, "the run is %s, expected %s", run_phase_name(st->phase), run_phase_name(expected));
    if (expected == PHASE_SUCCEEDED && stopped)
        broken(s, "%s", "the run has succeeded with a stopped step");
}

/* --- one round -------------------------------------------------------------------------------------------------------------------- */

static void act(struct sim *s, const struct plan *p)
{
    size_t n = p->n_actions;
    if (!s->calm && percent(&s->chance, 15))
        n = (size_t)below(&s->chance, (int)n + 1); /* dies half-way */
    for (size_t i = 0; i < n; i++) {
        if (p->actions[i].kind == ACTION_START)
            carry_out_start(s, &p->actions[i].job);
        else
            carry_out_stop(s, &p->actions[i].job);
    }
}

static int64_t drive(struct sim *s)
{
    struct err err = ERR_INIT;
    struct plan p;
    struct view v = observe(s);
    if (plan(s->pipeline, &s->run, &s->status, &v.observed, s->cache, &s->options, s->now, &p, &err) < 0)
        broken(s, "plan: %s", err.msg);
    check_forward(s, &p.status);
    check_budgets(s, &p.status);
    check_nothing_lives(s, &p.status);
    check_again(s, &p, &v.observed);
    int64_t wake = p.wake_at_ms;
    if (s->calm || !percent(&s->chance, 8)) { /* else: dies before the status is stored */
        struct run_status stored;
        round_trip(s, &p.status, &stored);
        run_status_release(&s->status);
        s->status = stored;
        if (s->calm || !percent(&s->chance, 8)) { /* else: dies before it acts */
            (void)cache_apply(s->cache, &p);
            act(s, &p);
        }
    }
    plan_release(&p);
    free(v.attempts);
    free(v.pods);
    return wake;
}

static void approve_all(struct sim *s)
{
    for (size_t k = 0; k < s->status.n_steps; k++) {
        if (s->status.steps[k].state != STATE_AWAITING_APPROVAL)
            continue;
        s->run.approvals = xreallocarray(s->run.approvals, s->run.n_approvals + 1, sizeof *s->run.approvals);
        s->run.approvals[s->run.n_approvals++] =
            (struct run_approval){.step = xstrdup(s->status.steps[k].name),
                                  .by = xstrdup("ada"),
                                  .comment = xstrdup("")};
    }
}

static void restart_something(struct sim *s)
{
    free(s->run.restart_id);
    s->run.restart_id = xasprintf("restart-%d", ++s->restarts);
    for (size_t i = 0; i < s->run.n_restart_from; i++)
        free(s->run.restart_from[i]);
    s->run.n_restart_from = 0;
    if (percent(&s->chance, 70)) {
        s->run.restart_from = xreallocarray(s->run.restart_from, 1, sizeof *s->run.restart_from);
        s->run.restart_from[s->run.n_restart_from++] =
            xstrdup(s->pipeline->steps[below(&s->chance, (int)s->pipeline->n_steps)].name);
    }
    s->run.stop = RUN_STOP_NONE;
}

static void people(struct sim *s)
{
    if (percent(&s->chance, 20))
        approve_all(s);
    if (percent(&s->chance, 3))
        s->run.suspend = !s->run.suspend;
    if (percent(&s->chance, 1) && s->run.stop == RUN_STOP_NONE)
        s->run.stop = percent(&s->chance, 50) ? RUN_STOP_GRACEFUL : RUN_STOP_NOW;
    if (s->restarts < 3 && percent(&s->chance, run_phase_finished(s->status.phase) ? 30 : 2))
        restart_something(s);
}

static void pass_time(struct sim *s, int64_t wake)
{
    int64_t step = 1 + below(&s->chance, s->calm ? 5000 : 15000);
    s->now = wake > s->now && percent(&s->chance, 50) && wake - s->now < step ? wake : s->now + step;
    for (size_t i = 0; i < s->n_real; i++)
        real_advance(s, &s->real[i]);
    take_snapshot(s);
}

static void simulate(uint64_t seed)
{
    struct sim *s = xcalloc(1, sizeof *s);
    *s = (struct sim){.seed = seed, .chance = {seed}, .now = 1700000000000, .cache = json_object()};
    make_pipeline(s);
    s->run = (struct run_spec){.name = xstrdup("r"),
                               .uid = xstrdup("uid"),
                               .created_ms = s->now,
                               .scheduled_ms = s->now};
    s->options = (struct plan_options){.grace_ms = GRACE_MS, .has_cuda = true};
    run_status_init(&s->status);
    take_snapshot(s);
    for (s->round = 0; s->round < STORM_ROUNDS; s->round++) {
        pass_time(s, drive(s));
        people(s);
    }
    s->calm = true;
    s->run.suspend = false;
    do {
        pass_time(s, drive(s));
        approve_all(s);
        if (s->round > STORM_ROUNDS + CALM_ROUNDS) {
            char *text = text_of(s, &s->status);
            broken(s, "the run does not end: %.500s", text);
        }
        s->round++;
    } while (!run_phase_finished(s->status.phase));
    check_end(s);

    for (size_t i = 0; i < s->n_history; i++)
        free(s->history[i].attempts);
    run_status_release(&s->status);
    run_spec_release(&s->run);
    pipeline_free(s->pipeline);
    cJSON_Delete(s->cache);
    free(s);
}

static void runs_end_well(void **state)
{
    (void)state;
    const char *one = getenv("SIMULATION_SEED"), *many = getenv("SIMULATION_SEEDS");
    if (one) {
        simulate(strtoull(one, NULL, 10));
        return;
    }
    uint64_t n = many ? strtoull(many, NULL, 10) : SEEDS;
    for (uint64_t seed = 1; seed <= n; seed++)
        simulate(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("whatever goes wrong, runs end in the right phase, and no invariant breaks on the way",
             runs_end_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
