/* See options.h. */
#include "operator/controller/options.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "operator/pipeline/pipeline.h"

enum { SECOND = 1000, MAX_NAMESPACES = 256, PORT_MAX = 65535 };

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"auto", "json", "text", NULL};

#define AT(field) offsetof(struct options, field)
static const struct cli_option options[] = {
    {.name = "kubeconfig",
     .kind = CLI_STRING,
     .metavar = "FILE",
     .offset = AT(kubeconfig),
     .env = "KUBECONFIG",
     .help = "Where the API server is; without it the pod's service account, else ~/.kube/config."},
    {.name = "context",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = AT(context),
     .help = "Context of the kubeconfig. The default is its current one."},
    {.name = "namespaces",
     .kind = CLI_STRING,
     .metavar = "NS,…",
     .offset = AT(namespaces),
     .env = "TRAINYARD_NAMESPACES",
     .fallback = "",
     .help = "Look after these namespaces only, separated by commas. The default is all."},
    {.name = "own-namespace",
     .kind = CLI_STRING,
     .metavar = "NS",
     .offset = AT(own_namespace),
     .env = "POD_NAMESPACE",
     .fallback = "",
     .help =
         "Namespace of the Lease and of the key Secret. The default is the one of the kubeconfig's context."},
    {.name = "pod-name",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = AT(pod_name),
     .env = "POD_NAME",
     .fallback = "",
     .help = "Name of this operator among several. The default is made up from the host's name."},
    {.name = "pod-address",
     .kind = CLI_STRING,
     .metavar = "IP",
     .offset = AT(pod_address),
     .env = "POD_IP",
     .fallback = "",
     .help =
         "Address at which this operator's ports are reached; standbys send progress posts there. The default is 127.0.0.1."},
    {.name = "cluster-name",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = AT(cluster_name),
     .env = "TRAINYARD_CLUSTER",
     .fallback = "",
     .help = "Name of the cluster in the provenance of models."},
    {.name = "leader-election",
     .kind = CLI_FLAG,
     .offset = AT(leader_election),
     .fallback = "true",
     .help = "Work only while holding the Lease; needed with more than one replica."},
    {.name = "lease-name",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = AT(lease_name),
     .fallback = "trainyard-operator",
     .help = "Name of the Lease."},
    {.name = "lease-duration",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = AT(lease_duration_ms),
     .fallback = "15s",
     .min = SECOND,
     .max = 600 * SECOND,
     .help = "A standby takes over when the leader has not renewed for so long."},
    {.name = "renew-deadline",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = AT(renew_deadline_ms),
     .fallback = "10s",
     .min = SECOND,
     .max = 600 * SECOND,
     .help = "A leader that could not renew for so long stops working; less than the duration."},
    {.name = "retry-period",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = AT(retry_period_ms),
     .fallback = "2s",
     .min = 100,
     .max = 600 * SECOND,
     .help = "How often the Lease is renewed, or looked at by a standby."},
    {.name = "watch-silence",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = AT(watch_silence_ms),
     .fallback = "150s",
     .min = SECOND,
     .max = 600 * SECOND,
     .help =
         "A watch on which nothing came for so long is taken for half-open and resumed; the API server sends a sign of life about once a minute."},
    {.name = "key-secret",
     .kind = CLI_STRING,
     .metavar = "NAME",
     .offset = AT(key_secret),
     .fallback = "trainyard-operator-key",
     .help = "Secret with the key of progress tokens; it is made if it is not there."},
    {.name = "address",
     .kind = CLI_STRING,
     .metavar = "IP",
     .offset = AT(address),
     .fallback = "0.0.0.0",
     .help = "Address to serve on."},
    {.name = "metrics-port",
     .kind = CLI_INT,
     .metavar = "PORT",
     .offset = AT(metrics_port),
     .fallback = "8080",
     .min = 0,
     .max = PORT_MAX,
     .help = "Port of /metrics, /healthz and /readyz; 0: a free one, which is logged."},
    {.name = "progress-port",
     .kind = CLI_INT,
     .metavar = "PORT",
     .offset = AT(progress_port),
     .fallback = "8081",
     .min = 0,
     .max = PORT_MAX,
     .help = "Port of the receiver of progress posts; 0: a free one, which is logged."},
    {.name = "progress-url",
     .kind = CLI_STRING,
     .metavar = "URL",
     .offset = AT(progress_url),
     .env = "TRAINYARD_PROGRESS_BASE_URL",
     .fallback = "",
     .help =
         "What step pods post progress to: http://<service>.<namespace>.svc:8081. The default is this operator's own address and port."},
    {.name = "image",
     .kind = CLI_LIST,
     .metavar = "STAGE=REF",
     .offset = AT(images),
     .help =
         "Image of a stage (data-validate, featurize, train-ddp, evaluate, register) or of the helpers (artifact), best by digest. May repeat; pipelines may override it."},
    {.name = "set-user",
     .kind = CLI_FLAG,
     .offset = AT(set_user),
     .fallback = "true",
     .help =
         "Run step pods as user and group 65532 unless the step says otherwise. Off where the platform assigns users, such as OpenShift."},
    {.name = "approvals-verified",
     .kind = CLI_FLAG,
     .offset = AT(approvals_verified),
     .env = "TRAINYARD_APPROVALS_VERIFIED",
     .help =
         "The ValidatingAdmissionPolicy for approvals is installed; without it runs say that approvals are unverified."},
    {.name = "grace-period",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = AT(grace_ms),
     .fallback = "30s",
     .min = SECOND,
     .max = 3600 * SECOND,
     .help = "From SIGTERM to SIGKILL of step pods: time for the last checkpoint."},
    {.name = "job-ttl",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     .offset = AT(ttl_ms),
     .fallback = "10m",
     .min = 0,
     .max = 7 * 86400LL * SECOND,
     .help = "How long finished Jobs, and with them the logs of their pods, stay after the run has ended."},
    {.name = "log-level",
     .kind = CLI_STRING,
     .metavar = "LEVEL",
     .offset = AT(log_level),
     .env = "TRAINYARD_LOG_LEVEL",
     .fallback = "info",
     .choices = levels,
     .help = "debug, info, warn or error."},
    {.name = "log-format",
     .kind = CLI_STRING,
     .metavar = "FORMAT",
     .offset = AT(log_format),
     .env = "TRAINYARD_LOG_FORMAT",
     .fallback = "auto",
     .choices = formats,
     .help = "json, text, or auto: text on a terminal."},
    {.name = "probe",
     .kind = CLI_STRING,
     .metavar = "URL",
     .offset = AT(probe),
     .fallback = "",
     .help =
         "Ask this URL, such as another operator's /readyz, and end: 0 if it answers 200. For helm test."},
    CLI_END,
};

const struct cli_command operator_command = {
    .name = "trainyard-operator",
    .synopsis = "",
    .summary = "runs TrainingPipelines on Kubernetes",
    .description =
        "Watches TrainingPipelines and TrainingRuns and turns each step into a Job. The chart starts it with what it needs; by hand, outside a cluster, "
        "it works with a kubeconfig, but step pods cannot post their progress to it unless --progress-url leads there.\n\n"
        "On SIGTERM it finishes the requests under way, gives the Lease back, so that a standby goes on at once, and ends with 0. A second signal ends it at once.",
    .examples =
        "trainyard-operator --namespaces ranking,search --image train-ddp=registry.example/train-ddp@sha256:…\n"
        "trainyard-operator --kubeconfig ~/.kube/config --no-leader-election --address 127.0.0.1",
    .options = options,
};

void options_release(struct options *o)
{
    cli_list_release(&o->images);
}

static int bad(struct err *err, const char *option, const char *expected, const char *found)
{
    return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "--%s: expected %s, found \"%s\"", option,
                    expected, found);
}

int options_parse(int argc, char **argv, struct options *ret, struct err *err)
{
    int n;
    *ret = (struct options){0};
    int r = cli_parse(&operator_command, argc, argv, ret, &n, err);
    if (r != 0)
        return r;
    if (ret->renew_deadline_ms >= ret->lease_duration_ms)
        return bad(err, "renew-deadline", "less than --lease-duration",
                   "as much, or more: two operators could lead at once");
    if (ret->retry_period_ms >= ret->renew_deadline_ms)
        return bad(err, "retry-period", "less than --renew-deadline", "as much, or more");
    if (*ret->progress_url && !text_starts_with(ret->progress_url, "http://") &&
        !text_starts_with(ret->progress_url, "https://"))
        return bad(err, "progress-url", "http://host:port", ret->progress_url);
    if (text_ends_with(ret->progress_url, "/"))
        return bad(err, "progress-url", "no slash at the end", ret->progress_url);
    return 0;
}

/* --- for the reconcilers ------------------------------------------------------------------------------------------ */

void controller_settings_release(struct controller_settings *s)
{
    for (size_t i = 0; s->namespaces && s->namespaces[i]; i++)
        free(s->namespaces[i]);
    free(s->namespaces);
    *s = (struct controller_settings){0};
}

static int settle_images(const struct options *o, struct controller_options *c, struct err *err)
{
    for (size_t i = 0; i < o->images.n; i++) {
        const char *text = o->images.items[i], *equals = strchr(text, '=');
        bool found = false;
        if (!equals || !equals[1])
            return bad(err, "image", "STAGE=REFERENCE", text);
        for (int k = 0; k <= STEP_APPROVAL; k++) {
            const char *program = k == STEP_APPROVAL ? "artifact" : step_kind_program((enum step_kind)k);
            if (!program || strlen(program) != (size_t)(equals - text) ||
                strncmp(text, program, strlen(program)) != 0)
                continue;
            c->images[k] = equals + 1;
            found = true;
        }
        if (!found)
            return bad(err, "image",
                       "data-validate, featurize, train-ddp, evaluate, register or artifact before the =",
                       text);
    }
    return 0;
}

static bool valid_namespace(const char *s, size_t n)
{
    return n >= 1 && n <= 63 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") >= n && s[0] != '-' &&
           s[n - 1] != '-';
}

static int settle_namespaces(const struct options *o, struct controller_settings *s, struct err *err)
{
    const char *cursor = o->namespaces, *part;
    size_t len, n = 0;
    if (!*o->namespaces)
        return 0;
    s->namespaces = xcalloc(MAX_NAMESPACES + 1, sizeof(char *));
    while (text_next_part(&cursor, ',', &part, &len)) {
        bool known = false;
        if (!valid_namespace(part, len))
            return bad(err, "namespaces", "names of namespaces, separated by commas", o->namespaces);
        for (size_t i = 0; i < n; i++)
            known = known || (strlen(s->namespaces[i]) == len && strncmp(s->namespaces[i], part, len) == 0);
        if (known)
            continue;
        if (n == MAX_NAMESPACES)
            return bad(err, "namespaces", "at most 256 (leave it out to look after all)", o->namespaces);
        s->namespaces[n++] = xstrndup(part, len);
    }
    s->options.namespaces = (const char *const *)s->namespaces;
    return 0;
}

int options_settle(const struct options *o, const char *default_namespace, struct controller_settings *ret,
                   struct err *err)
{
    struct controller_settings s = {
        .options = {.own_namespace = *o->own_namespace ? o->own_namespace : default_namespace,
                    .pod_name = o->pod_name,
                    .pod_address = o->pod_address,
                    .cluster_name = o->cluster_name,
                    .progress_url = o->progress_url,
                    .approvals_verified = o->approvals_verified,
                    .set_user = o->set_user,
                    .grace_seconds = o->grace_ms / SECOND,
                    .ttl_seconds = o->ttl_ms / SECOND,
                    .watch_silence_ms = o->watch_silence_ms}};
    if (settle_images(o, &s.options, err) < 0 || settle_namespaces(o, &s, err) < 0) {
        controller_settings_release(&s);
        return -1;
    }
    *ret = s;
    return 0;
}
