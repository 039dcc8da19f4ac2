/* The operator's command line. */
#include "operator/controller/options.h"

#include <stdlib.h>

#include "operator/pipeline/pipeline.h"
#include "tests/unit/unit.h"

enum { MAX_ARGS = 8 };

static int parse(const char *const *args, struct options *o, struct controller_settings *s, struct err *err)
{
    char *argv[MAX_ARGS + 1] = {NULL};
    int argc = 0;
    for (; args[argc]; argc++)
        argv[argc] = (char *)args[argc];
    int r = options_parse(argc, argv, o, err);
    if (r == 0)
        r = options_settle(o, "from-context", s, err);
    return r;
}

static void defaults(void **state)
{
    (void)state;
    struct options o;
    struct controller_settings s = {0};
    struct err err = ERR_INIT;
    assert_ok(parse((const char *[]){NULL}, &o, &s, &err), &err);
    assert_true(o.leader_election && s.options.set_user && !s.options.approvals_verified);
    assert_string_equal(s.options.own_namespace, "from-context");
    assert_null(s.options.namespaces);
    assert_int_equal(s.options.grace_seconds, 30);
    assert_int_equal(s.options.ttl_seconds, 600);
    assert_int_equal(o.metrics_port, 8080);
    assert_null(s.options.images[STEP_TRAIN_DDP]);
    controller_settings_release(&s);
    options_release(&o);
}

static void what_the_chart_says(void **state)
{
    (void)state;
    struct options o;
    struct controller_settings s = {0};
    struct err err = ERR_INIT;
    assert_int_equal(setenv("POD_NAMESPACE", "trainyard-system", 1), 0);
    assert_int_equal(setenv("POD_NAME", "op-1", 1), 0);
    assert_ok(parse((const char *[]){"--image=train-ddp=r/t@sha256:1", "--image=artifact=r/a:1",
                                     "--namespaces=a,b,a", "--no-set-user", "--approvals-verified",
                                     "--no-leader-election", "--job-ttl=1h", NULL},
                    &o, &s, &err),
              &err);
    assert_int_equal(unsetenv("POD_NAMESPACE"), 0);
    assert_int_equal(unsetenv("POD_NAME"), 0);
    assert_string_equal(s.options.own_namespace, "trainyard-system");
    assert_string_equal(s.options.pod_name, "op-1");
    assert_string_equal(s.options.images[STEP_TRAIN_DDP], "r/t@sha256:1");
    assert_string_equal(s.options.images[STEP_APPROVAL], "r/a:1");
    assert_string_equal(s.options.namespaces[0], "a");
    assert_string_equal(s.options.namespaces[1], "b");
    assert_null(s.options.namespaces[2]);
    assert_false(s.options.set_user || o.leader_election);
    assert_true(s.options.approvals_verified);
    assert_int_equal(s.options.ttl_seconds, 3600);
    controller_settings_release(&s);
    options_release(&o);
}

static void what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *args[3], *part;
    } cases[] = {
        {{"--image", "trainer=x"}, "--image: expected data-validate"},
        {{"--image", "train-ddp"}, "STAGE=REFERENCE"},
        {{"--image", "train-ddp="}, "STAGE=REFERENCE"},
        {{"--namespaces", "a,,b"}, "--namespaces: expected names"},
        {{"--namespaces", "Team"}, "--namespaces: expected names"},
        {{"--lease-duration=5s", "--renew-deadline=5s"},
         "--renew-deadline: expected less than --lease-duration"},
        {{"--renew-deadline=2s", "--retry-period=3s"}, "--retry-period: expected less"},
        {{"--progress-url=operator:8081"}, "--progress-url: expected http://"},
        {{"--progress-url=http://operator:8081/"}, "no slash at the end"},
        {{"--metrics-port=70000"}, "metrics-port"},
        {{"--log-level=loud"}, "log-level"},
        {{"--imgae=x"}, "--image"},
        {{"argument"}, "argument"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options o = {0};
        struct controller_settings s = {0};
        struct err err = ERR_INIT;
        assert_fails(parse(cases[i].args, &o, &s, &err), &err, ERR_INVALID, cases[i].part);
        options_release(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"defaults", defaults, NULL, NULL, NULL},
        {"what the chart says, partly by the environment", what_the_chart_says, NULL, NULL, NULL},
        {"what is wrong is named", what_is_wrong, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
