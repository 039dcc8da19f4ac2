/* The safetensors file format: 8 bytes little-endian header length, a JSON header, the tensors' bytes.
 *
 * Ours are written so that equal tensors give equal files and every tensor is aligned: the header is padded
 * with spaces to a multiple of 64 bytes, tensors follow by element size (largest first) and then by name, without holes. The
 * reader maps the file and believes nothing: each offset, size, shape and type is verified before a pointer is handed out, and
 * bytes that belong to no tensor, or to two, are refused. Format: github.com/huggingface/safetensors, "Format". */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

enum safetensors_dtype {
    SAFETENSORS_F64,
    SAFETENSORS_F32,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_I64,
    SAFETENSORS_I32,
    SAFETENSORS_I16,
    SAFETENSORS_I8,
    SAFETENSORS_U64,
    SAFETENSORS_U32,
    SAFETENSORS_U16,
    SAFETENSORS_U8,
    SAFETENSORS_BOOL,
};
enum { SAFETENSORS_RANK_MAX = 8 };

struct safetensors_tensor {
    const char *name;
    enum safetensors_dtype dtype;
    size_t rank; /* 0: a scalar */
    int64_t shape[SAFETENSORS_RANK_MAX];
    const void *data; /* row-major, little-endian; aligned to the element size in files of ours */
    size_t bytes;     /* product of shape × element size; the writer computes it itself */
};

size_t safetensors_dtype_size(enum safetensors_dtype t);
const char *safetensors_dtype_name(enum safetensors_dtype t); /* "F32" */

struct safetensors; /* opaque; an open file */

/* Maps the file; tensors point into the mapping and live as long as it. A header that lies is ERR_INVALID, exit 65. */
int safetensors_open(const char *path, struct safetensors **ret, struct err *err);
/* The same over memory that the caller keeps alive; `what` names it in errors. */
int safetensors_parse(const void *data, size_t len, const char *what, struct safetensors **ret,
                      struct err *err);
struct safetensors *safetensors_free(struct safetensors *f);

size_t safetensors_count(const struct safetensors *f);
/* In file order. */
const struct safetensors_tensor *safetensors_at(const struct safetensors *f, size_t i);
const struct safetensors_tensor *safetensors_find(const struct safetensors *f,
                                                  const char *name); /* NULL if absent */
/* Present, of this type and shape (-1: any extent), or an error that says expected and found. Borrowed. */
int safetensors_get(const struct safetensors *f, const char *name, enum safetensors_dtype dtype, size_t rank,
                    const int64_t *shape, const struct safetensors_tensor **ret, struct err *err);
/* "__metadata__": an object of strings, or NULL. Borrowed. */
const cJSON *safetensors_metadata(const struct safetensors *f);

/* Writes (replaces) the file at `path`: names unique, order of the array irrelevant. metadata may be NULL, else an object of strings.
 * Neither atomic nor synced: outputs of a stage become visible by their commit; others write beside and rename. */
int safetensors_write(const char *path, const struct safetensors_tensor *tensors, size_t n,
                      const cJSON *metadata, struct err *err);

DEFINE_CLEANUP(struct safetensors *, safetensors_free);
#define _cleanup_safetensors_ CLEANUP(safetensors_free_cleanup)
