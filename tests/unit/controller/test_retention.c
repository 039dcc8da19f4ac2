/* Which finished runs are deleted. */
#include "operator/controller/retention.h"

#include "common/base/cleanup.h"
#include "tests/unit/unit.h"

enum { S = 1000 };

/* One letter a run: its kind, and the second in which it ended: "s5" succeeded, "f5" failed, "k5" succeeded but kept, "p5" a person's, "a" active. */
static size_t parse(const char *text, struct retention_run *runs, char names[][8])
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == ' ')
            continue;
        struct retention_run *r = &runs[n];
        char kind = *p;
        int64_t at = 0;
        while (p[1] >= '0' && p[1] <= '9')
            at = at * 10 + (*++p - '0');
        (void)snprintf(names[n], sizeof names[n], "%c%d", kind, (int)at);
        *r = (struct retention_run){.name = names[n],
                                    .ours = kind != 'p',
                                    .finished = kind != 'a',
                                    .succeeded = kind != 'f',
                                    .kept = kind == 'k',
                                    .finished_ms = at * S};
        n++;
    }
    return n;
}

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *says, *runs;
        int64_t successful, failed, max_age_s, now_s;
        const char *deleted; /* in order */
        int64_t wake_s;
    } cases[] = {
        {"within the count all stay", "s1 s2 s3", 3, 3, 0, 100, "", 0},
        {"the oldest ends go first", "s3 s1 s2", 1, 1, 0, 100, "s1 s2", 0},
        {"successful and failed ones are counted apart", "s1 f2 s3 f4", 1, 1, 0, 100, "s1 f2", 0},
        {"none is kept of what is set to 0", "s1 f2 s3", 0, 1, 0, 100, "s1 s3", 0},
        {"an active run is never deleted", "a a s1", 0, 0, 0, 100, "s1", 0},
        {"an active run does not count", "a s1", 1, 0, 0, 100, "", 0},
        {"a person's run is neither deleted nor counted", "p1 p2 s3 s4", 1, 0, 0, 100, "s3", 0},
        {"age goes beside the count", "s1 s50 f2 f60", 5, 5, 40, 60, "s1 f2", 90},
        {"at the age itself it goes", "s20", 5, 5, 40, 60, "s20", 0},
        {"the next to become too old is waited for", "s30 s40", 5, 5, 40, 60, "", 70},
        {"without an age nothing is waited for", "s30 s40", 5, 5, 0, 60, "", 0},
        {"one that is kept counts but stays", "k1 s2 s3", 2, 5, 0, 100, "", 0},
        {"one that is kept stays when it is old", "k1", 5, 5, 10, 100, "", 0},
        {"equal ends: by name", "s5 s5 s4", 1, 0, 0, 100, "s4 s5", 0},
        {"no runs", "", 1, 1, 10, 100, "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct retention_run runs[16];
        char names[16][8], deleted[128] = "";
        size_t list[16];
        int64_t wake;
        size_t n = parse(cases[i].runs, runs, names);
        const struct retention_limits limits = {cases[i].successful, cases[i].failed, cases[i].max_age_s * S};
        size_t found = retention_decide(runs, n, &limits, cases[i].now_s * S, list, &wake);
        for (size_t k = 0; k < found; k++)
            (void)snprintf(deleted + strlen(deleted), sizeof deleted - strlen(deleted), "%s%s", k ? " " : "",
                           runs[list[k]].name);
        if (strcmp(deleted, cases[i].deleted) != 0 || wake != cases[i].wake_s * S)
            fail_msg("%s: deleted \"%s\", wake %lld; expected \"%s\", %lld", cases[i].says, deleted,
                     (long long)wake / S, cases[i].deleted, (long long)cases[i].wake_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"by count and age, only finished runs of the operator", rules, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
