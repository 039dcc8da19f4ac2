/* The parts of operator/kube and the key Secret as small processes, for tests against a real API server: each prints what happens, one line at a
 * time with the monotonic milliseconds, which are the same for all processes of a machine.
 *
 * usage: kube-parts KUBECONFIG lease IDENTITY                leading | lost | released; SIGTERM gives it back
 *        kube-parts KUBECONFIG events KIND NAME UID          says the same thing five times and another once: ends when both are sent
 *        kube-parts KUBECONFIG key NAME                      key HEX, or failed MESSAGE; ends with the key */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "operator/controller/keysecret.h"
#include "operator/kube/events.h"
#include "operator/kube/lease.h"

enum { DURATION_MS = 2000, RENEW_MS = 1200, RETRY_MS = 200, KEY_MAX = 64, EVENTS_MS = 2000 };

static struct loop *loop;
static struct lease *lease;

static void say(const char *what, const char *more)
{
    (void)printf("%" PRId64 " %s%s%s\n", loop_now_ms(), what, *more ? " " : "", more);
    (void)fflush(stdout);
}

static void changed(void *ctx, bool leading)
{
    (void)ctx;
    say(leading ? "leading" : "lost", "");
}

static void released(void *ctx)
{
    (void)ctx;
    say("released", "");
    loop_stop(loop);
}

static void signalled(void *ctx, short revents)
{
    struct signalfd_siginfo info;
    (void)revents;
    if (read(*(int *)ctx, &info, sizeof info) == sizeof info)
        lease_release(lease, released, NULL);
}

static int elect(struct kube_client *client, const char *identity, struct err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    struct loop_fd *watched = loop_fd_start(loop, fd, POLLIN, signalled, &fd);
    const struct lease_config config = {.ns = "default",
                                        .name = "election",
                                        .identity = identity,
                                        .duration_ms = DURATION_MS,
                                        .renew_ms = RENEW_MS,
                                        .retry_ms = RETRY_MS,
                                        .changed = changed};
    lease = lease_new(client, &config);
    int r = loop_run(loop, err);
    lease_free(lease);
    (void)loop_fd_stop(watched);
    (void)close(fd);
    return r;
}

static int tell(struct kube_client *client, const char *kind, const char *name, const char *uid,
                struct err *err)
{
    const struct kube_resource *resource = strcmp(kind, "Job") == 0 ? &KUBE_JOBS : &KUBE_CONFIGMAPS;
    const struct kube_reference about = {.resource = resource, .ns = "default", .name = name, .uid = uid};
    struct recorder *recorder = recorder_new(client, "trainyard-operator", "kube-parts");
    int r = 0;
    for (int i = 0; i < 5; i++)
        recorder_event(recorder, &about, false, "Repeated", "said five times");
    recorder_event(recorder, &about, true, "Alarming", "said once: \"quoted\" \xc3\xa4");
    for (int64_t until = loop_now_ms() + EVENTS_MS; r == 0 && loop_now_ms() < until;)
        r = loop_step(loop, 50, err);
    recorder_free(recorder);
    return r;
}

static void key_ready(void *ctx, const void *key, size_t len)
{
    char hex[2 * KEY_MAX + 1];
    (void)ctx;
    hex_encode(key, len < KEY_MAX ? len : KEY_MAX, hex);
    say("key", hex);
    loop_stop(loop);
}

static void key_failed(void *ctx, const char *message)
{
    (void)ctx;
    say("failed", message);
}

static int run(int argc, char **argv, struct err *err)
{
    _cleanup_kube_config_ struct kube_config *config = NULL;
    const struct kube_client_options options = {.user_agent = "kube-parts"};
    struct kube_client *client = NULL;
    int r = 0;
    if (kube_config_load(argv[1], NULL, &config, err) < 0 ||
        kube_client_new(loop, config, &options, &client, err) < 0)
        return -1;
    if (argc == 4 && strcmp(argv[2], "lease") == 0) {
        r = elect(client, argv[3], err);
    } else if (argc == 6 && strcmp(argv[2], "events") == 0) {
        r = tell(client, argv[3], argv[4], argv[5], err);
    } else if (argc == 4 && strcmp(argv[2], "key") == 0) {
        struct keysecret *k = keysecret_new(loop, client, "default", argv[3], key_ready, key_failed, NULL);
        r = loop_run(loop, err);
        keysecret_free(k);
    } else {
        r = err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                     "lease IDENTITY, events KIND NAME UID or key NAME is expected");
    }
    kube_client_free(client);
    return r;
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    if (argc < 4) {
        (void)fputs("usage: kube-parts KUBECONFIG lease|events|key …\n", stderr);
        return EXITCODE_USAGE;
    }
    int r = loop_new(&loop, &err);
    if (r == 0)
        r = run(argc, argv, &err);
    loop_free(loop);
    if (r < 0)
        (void)fprintf(stderr, "kube-parts: %s\n", err.msg);
    return r < 0 ? 1 : 0;
}
