/* Four reflectors and a read each half second, as lines: what tests look at when they damage the way to the API server.
 * Usage: kube-probe KUBECONFIG SECONDS [SILENCE_MS [TIMEOUT_MS]] */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "operator/kube/client.h"
#include "operator/kube/reflector.h"

enum { EACH_MS = 500, KINDS = 4 };

struct thing {
    struct kube_meta meta;
};
struct probe {
    struct loop *loop;
    struct kube_client *client;
    struct kube_call *call;
    struct loop_timer *timer;
    int64_t begun_ms;
};
struct seeing {
    const struct kube_resource *resource;
};

static void *trim(void *ctx, const cJSON *object)
{
    struct thing *t = xcalloc(1, sizeof *t);
    (void)ctx;
    kube_meta_init(&t->meta, object);
    return t;
}

static void free_thing(void *thing)
{
    kube_meta_release(&((struct thing *)thing)->meta);
    free(thing);
}

static void changed(void *ctx, const void *old, const void *now)
{
    const struct seeing *s = ctx;
    const struct thing *t = now ? now : old;
    printf("%s %s %s/%s %s\n",
           !old  ? "new"
           : now ? "changed"
                 : "deleted",
           s->resource->plural, t->meta.ns, t->meta.name, t->meta.resource_version);
}

static void synced(void *ctx)
{
    printf("synced %s\n", ((const struct seeing *)ctx)->resource->plural);
}

static void read_one(void *ctx);

static void on_read(void *ctx, cJSON **object, struct err *failure)
{
    struct probe *p = ctx;
    (void)object;
    p->call = NULL;
    printf("read %lld %s\n", (long long)(loop_now_ms() - p->begun_ms),
           err_is_set(failure) ? failure->msg : "ok");
    p->timer = loop_timer_start(p->loop, EACH_MS, read_one, p);
}

static void read_one(void *ctx)
{
    struct probe *p = ctx;
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = &KUBE_SERVICES,
                                   .ns = "default",
                                   .name = "kubernetes"};
    p->timer = NULL;
    p->begun_ms = loop_now_ms();
    p->call = kube_start(p->client, &request, on_read, p);
}

static void time_over(void *ctx)
{
    loop_stop(ctx);
}

static int64_t number(const char *text)
{
    return (int64_t)strtol(text, NULL, 10);
}

int main(int argc, char **argv)
{
    static struct seeing kinds[KINDS] = {{&KUBE_CONFIGMAPS}, {&KUBE_PODS}, {&KUBE_JOBS}, {&KUBE_SERVICES}};
    struct err err = ERR_INIT;
    struct probe p = {0};
    struct kube_config *config;
    struct reflector *reflectors[KINDS];
    if (argc < 3)
        return 64;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    struct kube_client_options options = {.timeout_ms = argc > 4 ? number(argv[4]) : 0};
    if (kube_config_load(argv[1], NULL, &config, &err) < 0 || loop_new(&p.loop, &err) < 0 ||
        kube_client_new(p.loop, config, &options, &p.client, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (size_t i = 0; i < KINDS; i++) {
        struct reflector_config c = {.resource = kinds[i].resource,
                                     .page = 10,
                                     .silence_ms = argc > 3 ? number(argv[3]) : 0,
                                     .trim = trim,
                                     .free_trimmed = free_thing,
                                     .changed = changed,
                                     .synced = synced,
                                     .ctx = &kinds[i]};
        reflectors[i] = reflector_new(p.client, &c);
    }
    read_one(&p);
    (void)loop_timer_start(p.loop, number(argv[2]) * 1000, time_over, p.loop);
    int r = loop_run(p.loop, &err);
    for (size_t i = 0; i < KINDS; i++)
        (void)reflector_free(reflectors[i]);
    (void)kube_cancel(p.call);
    (void)loop_timer_cancel(p.timer);
    (void)kube_client_free(p.client);
    (void)loop_free(p.loop);
    (void)kube_config_free(config);
    return r < 0;
}
