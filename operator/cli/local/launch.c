/* What one attempt finds when it starts: its files, its scratch, its environment (docs/reference/step-contract.md). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/cli/local/workers-internal.h"

/* Lost with the attempt that needs it, so neither atomic nor durable. */
static int write_json(const char *dir, const char *name, const cJSON *value, struct err *err)
{
    _cleanup_free_ char *path = fs_join(dir, name);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_CONFIG_BYTES * 4);
    (void)json_pretty(value, &text);
    if (buf_check(&text, path, err) < 0)
        return -1;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, buf_str(&text), text.len) != (ssize_t)text.len)
        return err_errno(err, errno, "cannot write %s", path);
    return 0;
}

/* Ranks get addresses of their own: whoever takes loopback for granted fails here and not first in a cluster. */
static void draw_addresses(struct launch *l)
{
    uint8_t random[2];
    random_bytes(random, sizeof random);
    l->address_third = random[1];
    (void)snprintf(l->address_base, sizeof l->address_base, "127.%d.", 16 + random[0] % 200);
}

static void rank_address(const struct launch *l, int rank, char ret[static 32])
{
    (void)snprintf(ret, 32, "%s%u.%d", l->address_base, (l->address_third + (unsigned)rank / 250) % 256,
                   1 + rank % 250);
}

/* A port that is free now on rank 0's address, which no other run uses. */
static int free_port(const struct launch *l, int *ret, struct err *err)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    char text[32];
    rank_address(l, 0, text);
    (void)sscanf(text, "%u.%u.%u.%u", &a, &b, &c, &d);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(a << 24 | b << 16 | c << 8 | d)};
    socklen_t len = sizeof address;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return err_errno(err, errno, "cannot find a free port on %s", text);
    *ret = ntohs(address.sin_port);
    return 0;
}

int launch_prepare(const struct workers_config *config, const struct step *step, const struct job *job,
                   const char *dir, struct launch *ret, struct err *err)
{
    const struct record_options *options = &config->record->options;
    struct launch l = {.config = config,
                       .step = step,
                       .job = job,
                       .dir = dir,
                       .workers = job->workers > 0 ? job->workers : 1,
                       .per_worker = 1};
    if (job->gpu > 1 && job->device && strcmp(job->device, "cuda") == 0)
        l.per_worker = job->gpu;
    if (fs_mkdir_p(dir, err) < 0 || write_json(dir, "config.json", job->config, err) < 0 ||
        write_json(dir, "inputs.json", job->inputs, err) < 0 ||
        write_json(dir, "store.json", options->store, err) < 0 ||
        (options->registry && write_json(dir, "registry.json", options->registry, err) < 0))
        return -1;
    if (l.workers * l.per_worker > 1) {
        draw_addresses(&l);
        if (free_port(&l, &l.master_port, err) < 0)
            return -1;
    }
    *ret = l;
    return 0;
}

char *launch_result_path(const char *dir, int rank)
{
    return xasprintf("%s/result-%d.json", dir, rank);
}

static char *scratch_path(const char *dir, int rank)
{
    return xasprintf("%s/scratch-%d", dir, rank);
}

void launch_remove_scratch(const char *dir, int64_t ranks)
{
    for (int rank = 0; rank < ranks; rank++) {
        _cleanup_free_ char *path = scratch_path(dir, rank);
        struct err err = ERR_INIT;
        (void)fs_remove_tree(path,
                             &err); /* what is left is found with --keep-scratch, too, and harms nothing */
    }
}

static void set_path(struct environment *e, const char *name, const char *dir, const char *file)
{
    _cleanup_free_ char *path = fs_join(dir, file);
    environment_set(e, name, path);
}

static void set_world(const struct launch *l, int rank, struct environment *e)
{
    char address[32], master[32], key[DIGEST_HEX];
    const struct run_spec *run = &l->config->record->spec;
    int64_t world = l->workers * l->per_worker;
    if (world <= 1)
        return;
    rank_address(l, rank, address);
    rank_address(l, 0, master);
    progress_sign(l->config->key, "rendezvous", run->uid, l->step->name, l->job->attempt, l->job->item, key);
    environment_set_int(e, "RANK", rank);
    environment_set_int(e, "LOCAL_RANK", rank % l->per_worker);
    environment_set_int(e, "WORLD_SIZE", world);
    environment_set(e, "MASTER_ADDR", master);
    environment_set_int(e, "MASTER_PORT", l->master_port);
    environment_set_int(e, "PET_NNODES", l->workers);
    environment_set_int(e, "PET_NODE_RANK", rank / l->per_worker);
    environment_set_int(e, "PET_NPROC_PER_NODE", l->per_worker);
    environment_set(e, "PET_MASTER_ADDR", master);
    environment_set_int(e, "PET_MASTER_PORT", l->master_port);
    environment_set(e, ENV_RENDEZVOUS_KEY, key);
    environment_set(e, ENV_ADVERTISE_ADDR, address);
}

static void set_progress(const struct launch *l, struct environment *e)
{
    char token[DIGEST_HEX];
    const struct run_spec *run = &l->config->record->spec;
    _cleanup_free_ char *url =
        progress_url(l->config->progress, l->step->name, l->job->attempt, l->job->item);
    if (!url)
        return;
    progress_sign(l->config->key, "progress", run->uid, l->step->name, l->job->attempt, l->job->item, token);
    environment_set(e, ENV_PROGRESS_URL, url);
    environment_set(e, ENV_PROGRESS_TOKEN, token);
}

void launch_environment(const struct launch *l, int rank, const char *scratch, struct environment *e)
{
    const struct record *record = l->config->record;
    const struct job *job = l->job;
    char scheduled[CLOCK_RFC3339_MAX], host[64] = "";
    _cleanup_free_ char *result = launch_result_path(l->dir, rank);
    environment_init(e, l->config->environ_);
    environment_set(e, ENV_RUN, record->spec.name);
    environment_set(e, ENV_RUN_UID, record->spec.uid);
    environment_set(e, ENV_STEP, l->step->name);
    if (job->fanout)
        environment_set_int(e, ENV_INDEX, job->item);
    environment_set_int(e, ENV_RESTART, job->restart);
    environment_set_int(e, ENV_ATTEMPT, job->attempt);
    set_path(e, ENV_STORE, l->dir, "store.json");
    if (record->options.registry)
        set_path(e, ENV_REGISTRY, l->dir, "registry.json");
    set_path(e, ENV_CONFIG, l->dir, "config.json");
    set_path(e, ENV_INPUTS, l->dir, "inputs.json");
    clock_format_rfc3339(record->spec.scheduled_ms, scheduled);
    environment_set(e, ENV_SCHEDULED_TIME, scheduled);
    environment_set(e, ENV_DEVICE, job->device);
    if (job->threads > 0)
        environment_set_int(e, ENV_THREADS, job->threads);
    if (job->memory_bytes > 0)
        environment_set_int(e, ENV_MEMORY, job->memory_bytes);
    environment_set(e, ENV_SCRATCH, scratch);
    if (job->scratch_bytes > 0)
        environment_set_int(e, ENV_SCRATCH_BYTES, job->scratch_bytes);
    environment_set(e, ENV_RESULT, result);
    set_path(e, ENV_SECRETS, record->dir, "secrets");
    environment_set_int(e, ENV_PARENT_PID, getpid());
    environment_set(e, ENV_REVISION, record->pipeline->revision_annotation);
    environment_set(e, ENV_RUN_LOCATION, gethostname(host, sizeof host - 1) == 0 ? host : "local");
    environment_set(e, "TRAINYARD_LOG_LEVEL", l->config->log_level);
    set_progress(l, e);
    set_world(l, rank, e);
}

int launch_rank(const struct launch *l, int rank, pid_t *ret_pid, struct err *err)
{
    const char *name = step_kind_program(l->step->kind);
    _cleanup_free_ char *program = name ? fs_join(l->config->stages_dir, name) : xstrdup(l->config->self);
    _cleanup_free_ char *scratch = scratch_path(l->dir, rank);
    _cleanup_free_ char *log_name = workers_log_name(rank);
    _cleanup_free_ char *log_path = fs_join(l->dir, log_name);
    if (fs_mkdir_p(scratch, err) < 0)
        return -1;
    _cleanup_environment_ struct environment e;
    launch_environment(l, rank, scratch, &e);
    char *stage_argv[] = {program, NULL},
         *container_argv[] = {program, (char *)"container-step", (char *)"--stages-dir",
                              (char *)l->config->stages_dir, NULL};
    return process_spawn(&(struct process_spec){.program = program,
                                                .argv = name ? stage_argv : container_argv,
                                                .envp = e.items,
                                                .directory = scratch,
                                                .log_path = log_path,
                                                .lock_fd = l->config->lock_fd},
                         ret_pid, err);
}
