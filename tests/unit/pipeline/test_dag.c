/* The order of steps, on graphs made by hand. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "operator/pipeline/dag.h"

/* "a<b,c d<a e!": steps by name; behind < what they wait for; ! marks a finally step. */
static struct pipeline *graph(const char *text)
{
    struct pipeline *p = xcalloc(1, sizeof *p);
    p->steps = xcalloc(26, sizeof *p->steps);
    static char names[26][2];
    for (const char *c = text; *c; c++) {
        if (*c == ' ')
            continue;
        struct step *s = &p->steps[p->n_steps];
        names[p->n_steps][0] = *c;
        s->name = names[p->n_steps++];
        if (c[1] == '!') {
            s->finally = true;
            c++;
        }
        for (bool more = c[1] == '<'; more; more = c[1] == ',') {
            s->after = xreallocarray(s->after, s->n_after + 1, sizeof *s->after);
            s->after[s->n_after++] = (size_t)(c[2] - 'a');
            c += 2;
        }
    }
    return p;
}

static void release(struct pipeline *p)
{
    for (size_t i = 0; i < p->n_steps; i++)
        free(p->steps[i].after);
    free(p->steps);
    free(p);
}

static void test_producers_come_first_and_else_the_manifests_order_holds(void **state)
{
    (void)state;
    static const struct {
        const char *graph, *order;
    } samples[] = {
        {"a b c", "abc"},
        {"a<b b<c c", "cba"},
        {"a<d b c d", "bcda"},
        {"a b<a c<a d<b,c", "abcd"},
        {"a! b c<b", "bca"},
        {"a! b! c d<c", "cdab"},
        {"a!<b b! c", "cba"},
        {"a", "a"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct pipeline *p = graph(samples[i].graph);
        struct dag dag = {0};
        struct err err = ERR_INIT;
        size_t at;
        char order[27] = "";
        assert_ok(dag_init(&dag, p, &at, &err), &err);
        for (size_t k = 0; k < dag.n; k++)
            order[k] = (char)('a' + dag.order[k]);
        if (strcmp(order, samples[i].order) != 0)
            fail_msg("%s: expected %s, found %s", samples[i].graph, samples[i].order, order);
        dag_release(&dag);
        release(p);
    }
}

static void test_a_circle_is_printed(void **state)
{
    (void)state;
    static const struct {
        const char *graph, *circle;
        size_t at;
    } samples[] = {
        {"a<b b<a", "in a circle: a → b → a;", 0},
        {"a b<a,d c<b d<c", "in a circle: b → c → d → b;", 1},
        {"a<a", "in a circle: a → a;", 0},
        {"a<b b<c c<b", "in a circle: b → c → b;", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct pipeline *p = graph(samples[i].graph);
        struct dag dag = {0};
        struct err err = ERR_INIT;
        size_t at = 99;
        assert_fails(dag_init(&dag, p, &at, &err), &err, ERR_INVALID, samples[i].circle);
        assert_int_equal(at, samples[i].at);
        release(p);
    }
}

static void test_dependants_are_found_through_others(void **state)
{
    (void)state;
    struct pipeline *p = graph("a b<a c<b d e<c,d");
    struct dag dag = {0};
    struct err err = ERR_INIT;
    size_t at;
    assert_ok(dag_init(&dag, p, &at, &err), &err);
    bool marked[5] = {false};
    dag_mark_dependants(&dag, 1, marked);
    static const bool expected[5] = {false, true, true, false, true};
    assert_memory_equal(marked, expected, sizeof marked);
    assert_int_equal(dag.dependants[2].n, 1);
    assert_int_equal(dag.dependants[2].steps[0], 4);
    assert_int_equal(dag.needs[4].n, 2);
    dag_release(&dag);
    release(p);
}

static void test_a_thousand_steps_in_a_row(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct pipeline *p = xcalloc(1, sizeof *p);
    p->steps = xcalloc(N, sizeof *p->steps);
    p->n_steps = N;
    for (size_t i = 0; i < N; i++) {
        p->steps[i].name = "s";
        p->steps[i].after = xcalloc(1, sizeof(size_t));
        p->steps[i].after[0] = i + 1; /* the first waits for the second, and so on */
        p->steps[i].n_after = i + 1 < N;
    }
    struct dag dag = {0};
    struct err err = ERR_INIT;
    size_t at;
    assert_ok(dag_init(&dag, p, &at, &err), &err);
    assert_int_equal(dag.order[0], N - 1);
    assert_int_equal(dag.order[N - 1], 0);
    dag_release(&dag);
    /* Closed to a circle, its path is cut. */
    p->steps[N - 1].n_after = 1;
    p->steps[N - 1].after[0] = 0;
    assert_fails(dag_init(&dag, p, &at, &err), &err, ERR_INVALID, "→ …");
    release(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producers_come_first_and_else_the_manifests_order_holds),
        cmocka_unit_test(test_a_circle_is_printed),
        cmocka_unit_test(test_dependants_are_found_through_others),
        cmocka_unit_test(test_a_thousand_steps_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
