/* What a container engine is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "operator/cli/local/container.h"

static cJSON *parse(const char *text)
{
    struct err err = ERR_INIT;
    cJSON *j = NULL;
    if (json_parse(text, strlen(text), 65536, &j, &err) < 0)
        fail_msg("%s", err.msg);
    return j;
}

static struct container_step step_of(const cJSON *config)
{
    return (struct container_step){.config = config,
                                   .run_uid = "0123456789ab",
                                   .step = "notify",
                                   .attempt = "2",
                                   .rank = "0",
                                   .root = "/s/trainyard",
                                   .config_path = "/s/config.json",
                                   .env_file = "/s/environment",
                                   .secrets_dir = "/nonexistent"};
}

static char *joined(const struct container_args *a)
{
    struct buf out = BUF_INIT(65536);
    for (size_t i = 0; i < a->n; i++)
        (void)buf_addf(&out, "%s|", a->items[i]);
    return buf_take(&out);
}

static void a_command_line_has_everything(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *config = parse(
        "{\"image\":\"localhost/x@sha256:1\",\"command\":[\"sh\",\"-c\"],\"args\":[\"echo $1\",\"\"],\"runAsUser\":101,\"workingDir\":\"/w\",\"checkpoint\":true}");
    struct container_step s = step_of(config);
    s.index = "3";
    s.memory = "1048576";
    s.device = "cuda";
    _cleanup_container_args_ struct container_args a = {0};
    assert_int_equal(container_arguments(&s, "/usr/bin/podman", &a, &err), 0);
    assert_null(a.items[a.n]);
    _cleanup_free_ char *text = joined(&a);
    assert_string_equal(
        text,
        "/usr/bin/podman|run|--rm|--name=trainyard-01234567-notify-3-a2-r0|--label=dev.trainyard.run=0123456789ab|--network=host|--env-file=/s/environment|"
        "--volume=/s/trainyard/in:/trainyard/in:ro|--volume=/s/trainyard/out:/trainyard/out|--volume=/s/trainyard/checkpoint:/trainyard/checkpoint|"
        "--volume=/s/config.json:/trainyard/config.json:ro|--memory=1048576b|--gpus=all|--user=101|--workdir=/w|--entrypoint=sh|localhost/x@sha256:1|-c|echo $1||");
}

static void the_shortest_step_runs_as_ourselves(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *config = parse("{\"image\":\"i\"}");
    struct container_step s = step_of(config);
    _cleanup_container_args_ struct container_args a = {0};
    assert_int_equal(container_arguments(&s, "docker", &a, &err), 0);
    _cleanup_free_ char *text = joined(&a),
                        *user = xasprintf("|--user=%ld:%ld|i|", (long)getuid(), (long)getgid());
    assert_non_null(strstr(text, user));
    assert_null(strstr(text, "checkpoint"));
    assert_null(strstr(text, "--memory"));
}

static const char *fake_env(const char *name)
{
    return strcmp(name, "TRAINYARD_STEP") == 0    ? "notify"
           : strcmp(name, "RANK") == 0            ? "1"
           : strcmp(name, "TRAINYARD_STORE") == 0 ? "/secret/place"
                                                  : NULL;
}

static void the_environment_is_the_contracts_and_the_steps(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char *dir = NULL;
    assert_int_equal(fs_make_temp_dir("/tmp", "cli-container", &dir, &err), 0);
    _cleanup_free_ char *sub = fs_join(dir, "hook"), *file = fs_join(sub, "token");
    assert_int_equal(fs_mkdir_p(sub, &err), 0);
    assert_int_equal(fs_write_atomic(file, "s3cret", 6, &err), 0);
    _cleanup_json_ cJSON *config = parse(
        "{\"image\":\"i\",\"env\":[{\"name\":\"A\",\"value\":\"x=1\"},{\"name\":\"T\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"hook\",\"key\":\"token\"}}},"
        "{\"name\":\"O\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"none\",\"key\":\"k\",\"optional\":true}}}]}");
    struct container_step s = step_of(config);
    s.secrets_dir = dir;
    _cleanup_buf_ struct buf out = BUF_INIT(65536);
    assert_int_equal(container_environment(&s, fake_env, &out, &err), 0);
    assert_string_equal(
        buf_str(&out),
        "TRAINYARD_STEP=notify\nRANK=1\nTRAINYARD_CONFIG=/trainyard/config.json\nA=x=1\nT=s3cret\n");
    (void)fs_remove_tree(dir, &err);
    free(dir);
}

static void what_cannot_be_had_here_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *message;
    } cases[] = {
        {"{\"image\":\"i\",\"env\":[{\"name\":\"T\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"hook\",\"key\":\"token\"}}}]}",
         "--secret hook=DIR"},
        {"{\"image\":\"i\",\"env\":[{\"name\":\"T\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}}]}",
         "fieldRef"},
        {"{\"image\":\"i\",\"env\":[{\"name\":\"T\",\"value\":\"a\\nb\"}]}", "line breaks"},
        {"{\"image\":\"i\",\"env\":[{\"name\":\"T\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"../x\",\"key\":\"token\"}}}]}",
         "name and key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        _cleanup_json_ cJSON *config = parse(cases[i].config);
        struct container_step s = step_of(config);
        _cleanup_buf_ struct buf out = BUF_INIT(65536);
        assert_int_equal(container_environment(&s, fake_env, &out, &err), -1);
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        if (!strstr(err.msg, cases[i].message))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].message, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_line_has_everything),
        cmocka_unit_test(the_shortest_step_runs_as_ourselves),
        cmocka_unit_test(the_environment_is_the_contracts_and_the_steps),
        cmocka_unit_test(what_cannot_be_had_here_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
