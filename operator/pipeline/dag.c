/* Topological order: see dag.h. */
#include "operator/pipeline/dag.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

static void append(struct dag_list *l, size_t step)
{
    l->steps = xreallocarray(l->steps, l->n + 1, sizeof *l->steps);
    l->steps[l->n++] = step;
}

void dag_release(struct dag *dag)
{
    for (size_t i = 0; i < dag->n; i++) {
        free(dag->needs[i].steps);
        free(dag->dependants[i].steps);
    }
    free(dag->needs);
    free(dag->dependants);
    free(dag->order);
    *dag = (struct dag){0};
}

static void link_steps(struct dag *dag, const struct pipeline *p)
{
    _cleanup_free_ bool *needed = xcalloc(dag->n ? dag->n : 1, sizeof *needed);
    for (size_t i = 0; i < dag->n; i++) {
        const struct step *s = &p->steps[i];
        memset(needed, 0, dag->n * sizeof *needed);
        for (size_t k = 0; k < s->n_inputs; k++)
            needed[s->inputs[k].from] = true;
        for (size_t k = 0; k < s->n_after; k++)
            needed[s->after[k]] = true;
        for (size_t k = 0; k < dag->n; k++) {
            if (!needed[k])
                continue;
            append(&dag->needs[i], k);
            append(&dag->dependants[k], i);
        }
    }
}

/* Every step of a cycle still waits for one that waits: following those leads around. */
static int report_cycle(const struct dag *dag, const struct pipeline *p, const size_t *waiting,
                        size_t *ret_at, struct err *err)
{
    _cleanup_free_ size_t *visited = xcalloc(dag->n, sizeof *visited);
    _cleanup_free_ size_t *path = xcalloc(dag->n + 1, sizeof *path);
    size_t at = 0, len = 0;
    while (!waiting[at])
        at++;
    while (!visited[at]) {
        path[len++] = at;
        visited[at] = len;
        size_t k = 0;
        while (!waiting[dag->needs[at].steps[k]])
            k++;
        at = dag->needs[at].steps[k];
    }
    size_t first = visited[at] - 1;
    _cleanup_buf_ struct buf text = BUF_INIT(1400);
    (void)buf_adds(&text, p->steps[at].name);
    for (size_t k = len; k-- > first && text.len < 1200;)
        (void)buf_addf(&text, " → %s", p->steps[path[k]].name);
    *ret_at = at;
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "cycle",
        "the steps wait for each other in a circle: %s%s; remove one of these inputs, after or references",
        buf_str(&text), text.len < 1200 ? "" : " → …");
}

/* Kahn's algorithm, taking the first ready step of the manifest each time; finally steps only when no other is left. */
static int sort(struct dag *dag, const struct pipeline *p, size_t *ret_at, struct err *err)
{
    _cleanup_free_ size_t *waiting =
        xcalloc(dag->n ? dag->n : 1,
                sizeof *waiting); /* needs not yet ordered, + 1 while the step itself is not */
    for (size_t i = 0; i < dag->n; i++)
        waiting[i] = dag->needs[i].n + 1;
    for (size_t done = 0; done < dag->n; done++) {
        size_t next = dag->n;
        for (size_t i = 0; i < dag->n; i++) {
            if (waiting[i] == 1 && (next == dag->n || (p->steps[next].finally && !p->steps[i].finally)))
                next = i;
        }
        if (next == dag->n)
            return report_cycle(dag, p, waiting, ret_at, err);
        waiting[next] = 0;
        dag->order[done] = next;
        for (size_t k = 0; k < dag->dependants[next].n; k++)
            waiting[dag->dependants[next].steps[k]]--;
    }
    return 0;
}

int dag_init(struct dag *ret, const struct pipeline *p, size_t *ret_at, struct err *err)
{
    _cleanup_dag_ struct dag dag = {.n = p->n_steps};
    dag.order = xcalloc(dag.n + 1, sizeof *dag.order);
    dag.needs = xcalloc(dag.n + 1, sizeof *dag.needs);
    dag.dependants = xcalloc(dag.n + 1, sizeof *dag.dependants);
    link_steps(&dag, p);
    if (sort(&dag, p, ret_at, err) < 0)
        return -1;
    *ret = dag;
    dag = (struct dag){0};
    return 0;
}

void dag_mark_dependants(const struct dag *dag, size_t step, bool *marked)
{
    /* In order, so that one pass suffices. */
    marked[step] = true;
    for (size_t k = 0; k < dag->n; k++) {
        size_t i = dag->order[k];
        for (size_t j = 0; j < dag->needs[i].n && !marked[i]; j++)
            marked[i] = marked[dag->needs[i].steps[j]];
    }
}
