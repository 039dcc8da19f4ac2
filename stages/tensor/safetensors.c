/* Reading of safetensors files: see safetensors.h. Writing is in safetensors_write.c. */
#include "stages/tensor/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"

struct safetensors {
    char *what;
    void *map; /* NULL: the caller's memory */
    size_t map_len;
    cJSON *header; /* owns names and metadata */
    const cJSON *metadata;
    struct safetensors_tensor *tensors; /* in file order */
    struct safetensors_tensor **by_name;
    size_t n;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [SAFETENSORS_F64] = {"F64", 8},   [SAFETENSORS_F32] = {"F32", 4}, [SAFETENSORS_F16] = {"F16", 2},
    [SAFETENSORS_BF16] = {"BF16", 2}, [SAFETENSORS_I64] = {"I64", 8}, [SAFETENSORS_I32] = {"I32", 4},
    [SAFETENSORS_I16] = {"I16", 2},   [SAFETENSORS_I8] = {"I8", 1},   [SAFETENSORS_U64] = {"U64", 8},
    [SAFETENSORS_U32] = {"U32", 4},   [SAFETENSORS_U16] = {"U16", 2}, [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_BOOL] = {"BOOL", 1},
};

size_t safetensors_dtype_size(enum safetensors_dtype t)
{
    return dtypes[t].size;
}

const char *safetensors_dtype_name(enum safetensors_dtype t)
{
    return dtypes[t].name;
}

static int refuse(const struct safetensors *f, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(const struct safetensors *f, struct err *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "safetensors",
                    "%s: %s: the file is damaged or no safetensors file; make it again", f->what, text);
}

static int dtype_parse(const struct safetensors *f, const char *tensor, const cJSON *item,
                       enum safetensors_dtype *ret, struct err *err)
{
    if (!cJSON_IsString(item))
        return refuse(f, err, "tensor '%s': dtype is missing or no string", tensor);
    for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++) {
        if (strcmp(dtypes[i].name, item->valuestring) == 0) {
            *ret = (enum safetensors_dtype)i;
            return 0;
        }
    }
    return refuse(
        f, err,
        "tensor '%s': dtype '%.32s' is unknown (F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL)",
        tensor, item->valuestring);
}

/* An exact, non-negative integer; a double holds all up to 2^53. */
static bool integer_of(const cJSON *item, int64_t *ret)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= 9007199254740992.0) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *ret = (int64_t)item->valuedouble;
    return true;
}

static int tensor_parse(const struct safetensors *f, const cJSON *item, const uint8_t *data, size_t data_len,
                        struct safetensors_tensor *t, struct err *err)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets", NULL};
    t->name = item->string;
    struct json_path path = {.key = item->string};
    if (!cJSON_IsObject(item))
        return refuse(f, err, "tensor '%.100s' is no object", t->name);
    if (json_only_keys(item, &path, keys, err) < 0)
        return err_wrap(err, "%s", f->what);
    if (dtype_parse(f, t->name, cJSON_GetObjectItemCaseSensitive(item, "dtype"), &t->dtype, err) < 0)
        return -1;
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) > SAFETENSORS_RANK_MAX)
        return refuse(f, err, "tensor '%.100s': shape is no list of at most %d extents", t->name,
                      SAFETENSORS_RANK_MAX);
    uint64_t bytes = dtypes[t->dtype].size;
    const cJSON *extent;
    cJSON_ArrayForEach(extent, shape)
    {
        int64_t v;
        if (!integer_of(extent, &v) || __builtin_mul_overflow(bytes, (uint64_t)v, &bytes))
            return refuse(f, err, "tensor '%.100s': shape holds something that is no sensible extent",
                          t->name);
        t->shape[t->rank++] = v;
    }
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    int64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !integer_of(offsets->child, &begin) ||
        !integer_of(offsets->child->next, &end))
        return refuse(f, err, "tensor '%.100s': data_offsets is no pair of integers", t->name);
    if (begin > end || (uint64_t)end > data_len)
        return refuse(f, err, "tensor '%.100s': data_offsets [%lld, %lld] leave the file's %zu bytes of data",
                      t->name, (long long)begin, (long long)end, data_len);
    if ((uint64_t)(end - begin) != bytes)
        return refuse(f, err, "tensor '%.100s': its shape needs %llu bytes, data_offsets give %lld", t->name,
                      (unsigned long long)bytes, (long long)(end - begin));
    t->data = data + begin;
    t->bytes = bytes;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct safetensors_tensor *const *)a)->name,
                  (*(struct safetensors_tensor *const *)b)->name);
}

static int metadata_check(const struct safetensors *f, struct err *err)
{
    if (!cJSON_IsObject(f->metadata))
        return refuse(f, err, "__metadata__ is no object");
    const cJSON *item;
    cJSON_ArrayForEach(item, f->metadata)
    {
        if (!cJSON_IsString(item))
            return refuse(f, err, "__metadata__.%.100s is no string", item->string);
    }
    return 0;
}

static int header_parse(struct safetensors *f, const uint8_t *data, size_t data_len, struct err *err)
{
    if (!cJSON_IsObject(f->header))
        return refuse(f, err, "the header is no JSON object");
    size_t most = (size_t)cJSON_GetArraySize(f->header);
    f->tensors = xcalloc(most + 1, sizeof *f->tensors);
    const cJSON *item;
    cJSON_ArrayForEach(item, f->header)
    {
        if (strcmp(item->string, "__metadata__") == 0) {
            f->metadata = item;
            if (metadata_check(f, err) < 0)
                return -1;
        } else if (tensor_parse(f, item, data, data_len, &f->tensors[f->n++], err) < 0)
            return -1;
    }
    qsort(f->tensors, f->n, sizeof *f->tensors, by_offset);
    const uint8_t *at = data;
    for (size_t i = 0; i < f->n; i++) {
        const uint8_t *begin = f->tensors[i].data;
        if (begin != at)
            return refuse(f, err, "tensor '%.100s' %s at byte %zu of the data", f->tensors[i].name,
                          begin < at ? "overlaps another" : "follows a hole", (size_t)(begin - data));
        at = begin + f->tensors[i].bytes;
    }
    if (at != data + data_len)
        return refuse(f, err, "%zu bytes after the last tensor belong to none",
                      (size_t)(data + data_len - at));
    f->by_name = xcalloc(f->n + 1, sizeof(struct safetensors_tensor *));
    for (size_t i = 0; i < f->n; i++)
        f->by_name[i] = &f->tensors[i];
    qsort(f->by_name, f->n, sizeof(struct safetensors_tensor *), by_name);
    return 0;
}

static int parse(struct safetensors *f, const void *bytes, size_t len, struct err *err)
{
    const uint8_t *p = bytes;
    if (len < 8)
        return refuse(f, err, "it has %zu bytes, expected at least 8", len);
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | p[i];
    if (header > LIMIT_SAFETENSORS_HEADER_BYTES)
        return refuse(f, err, "its header claims %llu bytes, the maximum is %d", (unsigned long long)header,
                      LIMIT_SAFETENSORS_HEADER_BYTES);
    if (header > len - 8)
        return refuse(f, err, "its header claims %llu bytes, the file has %zu", (unsigned long long)header,
                      len - 8);
    if (header == 0 || p[8] != '{')
        return refuse(f, err, "its header does not begin with '{'");
    if (json_parse((const char *)p + 8, (size_t)header, LIMIT_SAFETENSORS_HEADER_BYTES, &f->header, err) <
        0) {
        err->exit_code = EXITCODE_DATA;
        return err_wrap(err, "%s: header", f->what);
    }
    return header_parse(f, p + 8 + header, len - 8 - (size_t)header, err);
}

int safetensors_parse(const void *data, size_t len, const char *what, struct safetensors **ret,
                      struct err *err)
{
    _cleanup_safetensors_ struct safetensors *f = xcalloc(1, sizeof *f);
    f->what = xstrdup(what);
    if (parse(f, data, len, err) < 0)
        return -1;
    *ret = steal_ptr(f);
    return 0;
}

int safetensors_open(const char *path, struct safetensors **ret, struct err *err)
{
    _cleanup_safetensors_ struct safetensors *f = xcalloc(1, sizeof *f);
    f->what = xstrdup(path);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "opening '%s'", path);
    if (!S_ISREG(st.st_mode) || st.st_size < 8)
        return refuse(f, err, "it is no regular file of 8 bytes or more");
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_errno(err, errno, "mapping '%s'", path);
    f->map = map;
    f->map_len = (size_t)st.st_size;
    if (parse(f, f->map, f->map_len, err) < 0)
        return -1;
    *ret = steal_ptr(f);
    return 0;
}

struct safetensors *safetensors_free(struct safetensors *f)
{
    if (!f)
        return NULL;
    if (f->map)
        (void)munmap(f->map, f->map_len);
    cJSON_Delete(f->header);
    free(f->tensors);
    free(f->by_name);
    free(f->what);
    free(f);
    return NULL;
}

size_t safetensors_count(const struct safetensors *f)
{
    return f->n;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *f, size_t i)
{
    return &f->tensors[i];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *f, const char *name)
{
    struct safetensors_tensor key = {.name = name}, *p = &key;
    struct safetensors_tensor **hit =
        f->n ? bsearch(&p, f->by_name, f->n, sizeof(struct safetensors_tensor *), by_name) : NULL;
    return hit ? *hit : NULL;
}

static void shape_format(size_t rank, const int64_t *shape, char *ret, size_t size)
{
    size_t at = (size_t)snprintf(ret, size, "[");
    for (size_t i = 0; i < rank && at < size; i++) {
        if (shape[i] < 0)
            at += (size_t)snprintf(ret + at, size - at, "%sany", i ? ", " : "");
        else
            at += (size_t)snprintf(ret + at, size - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    if (at < size)
        (void)snprintf(ret + at, size - at, "]");
}

int safetensors_get(const struct safetensors *f, const char *name, enum safetensors_dtype dtype, size_t rank,
                    const int64_t *shape, const struct safetensors_tensor **ret, struct err *err)
{
    const struct safetensors_tensor *t = safetensors_find(f, name);
    if (!t)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "safetensors", "%s: tensor '%s' is missing", f->what,
                        name);
    bool fits = t->dtype == dtype && t->rank == rank;
    for (size_t i = 0; fits && i < rank; i++)
        fits = shape[i] < 0 || shape[i] == t->shape[i];
    if (!fits) {
        char expected[200], found[200];
        shape_format(rank, shape, expected, sizeof expected);
        shape_format(t->rank, t->shape, found, sizeof found);
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "safetensors",
                        "%s: tensor '%s': expected %s%s, found %s%s", f->what, name, dtypes[dtype].name,
                        expected, dtypes[t->dtype].name, found);
    }
    if (t->bytes && (uintptr_t)t->data % dtypes[dtype].size != 0)
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "safetensors",
            "%s: tensor '%s' is not aligned to its element size of %zu bytes: write the file with the header padded and the largest "
            "element type first",
            f->what, name, dtypes[dtype].size);
    *ret = t;
    return 0;
}

const cJSON *safetensors_metadata(const struct safetensors *f)
{
    return f->metadata;
}
