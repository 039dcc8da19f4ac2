/* The training loop of one worker and everything it holds; between the files of stages/train-ddp only.
 *
 *   setup.c     config, data, network, back end, memory → a trainer
 *   step.c      one optimiser step of all workers
 *   validate.c  metrics on the validation split, early stopping
 *   state.c     state ↔ checkpoint, comparison of replicas
 *   trainer.c   the loop
 *   output.c    the model's files
 *
 * Every decision that ranks take together (checkpoint, stop, end) follows from values that all of them hold:
 * flags travel in the header of each step's exchange. */
#pragma once

#include "stages/collective/collective.h"
#include "stages/model/backend.h"
#include "stages/runtime/stage.h"
#include "stages/tensor/featurespec.h"
#include "stages/train-ddp/checkpoint.h"
#include "stages/train-ddp/config.h"
#include "stages/train-ddp/dataset.h"

enum { FLAG_STOP = 1, FLAG_CHECKPOINT = 2 };

/* What a checkpoint must bring back beside the arrays, bit for bit. */
struct progress_state {
    int64_t step;            /* completed */
    bool stopped;            /* early */
    int64_t waited;          /* validations without progress */
    double best;             /* value of the stop metric */
    int64_t best_step;       /* 0: none */
    double metrics[METRICS]; /* of the last validation, NaN: undefined */
    double best_metrics[METRICS];
    int64_t validated_step;
    /* Training curve: sums since the last point. */
    double loss_sum, weight_sum, norm_sum;
    int64_t norm_count;
    cJSON *train_curve, *validation_curve; /* arrays */
};

/* Wall-clock facts for progress and provenance; never in the model. */
struct trainer_times {
    int64_t started_us, load_us, compute_us, exchange_us, validate_us, pause_us;
    int64_t samples, reported_us, reported_samples, reported_step;
    int64_t window_load_us, window_wait_us;
    int64_t last_checkpoint_us;
    double samples_per_second;
};

struct trainer {
    struct stage_run *run;
    struct train_config config;
    const struct stage_world *world;
    struct featurespec *spec;
    struct network *net;
    const struct backend *backend;
    struct backend_state *engine;
    struct dataset *train, *validation; /* validation may be NULL */
    struct collective *collective;
    struct checkpoints *checkpoints; /* rank 0 */
    struct store *checkpoint_store;  /* owned; by hand only */
    char fingerprint[65];

    int64_t rows, steps_per_epoch, total_steps, curve_interval;
    size_t max_rows; /* of this rank in a step */
    struct batch_rows batch;

    /* Exchange of table rows. */
    char *message;
    size_t message_max;
    const void **messages; /* [size] */
    size_t *message_lens;
    struct sparse_rows *tables; /* [size][cat_width] */
    size_t next_bucket;         /* floats below this offset are not yet submitted */

    /* Snapshot for checkpoints and comparison; best weights. */
    float *snapshot_weights, *snapshot_optimizer, *snapshot_best, *best;
    size_t n_optimizer;

    /* Validation. */
    size_t n_validation, n_slice, slice_begin;
    float *scores, *labels, *weights; /* [n_validation] */

    struct progress_state state;
    double last_loss, last_norm, last_lr;
    struct trainer_times times;
};

int64_t trainer_now_us(void);
/* Rows of [0, n) that fall to a rank. */
static inline void trainer_share(int64_t n, int rank, int size, int64_t *ret_begin, int64_t *ret_end)
{
    *ret_begin = n * rank / size;
    *ret_end = n * (rank + 1) / size;
}

int trainer_setup(struct trainer *t, struct stage_run *run, struct err *err);
void trainer_release(struct trainer *t);
/* Connects to the other workers and takes up the newest checkpoint. */
int trainer_join(struct trainer *t, struct err *err);
int trainer_run(struct trainer *t, struct err *err);
/* One step; *ret_flags is the union of all ranks' flags. */
int trainer_step(struct trainer *t, uint32_t flags, uint32_t *ret_flags, struct err *err);
int trainer_validate(struct trainer *t, struct err *err);
int trainer_restore(struct trainer *t, struct err *err);
/* Rank 0; talks to the store. */
int trainer_open_checkpoints(struct trainer *t, struct err *err);
/* Compares replicas; rank 0 then starts an upload, after waiting for one under way: so it must be idle unless the others
 * wait for nothing any more. */
int trainer_checkpoint(struct trainer *t, struct err *err);
int trainer_compare_replicas(struct trainer *t, struct err *err);
/* Rank 0: what the upload thread met. A lost generation is an error, a lost checkpoint a warning. */
int trainer_check_uploads(struct trainer *t, struct err *err);
int trainer_await_uploads(struct trainer *t, struct err *err);
int trainer_write_model(struct trainer *t, struct err *err);
void trainer_report(struct trainer *t, bool now, const char *message);

void progress_state_init(struct progress_state *s);
void progress_state_release(struct progress_state *s);
