/* Listing and pinning the source, and bringing its files here. */
#include "stages/data-validate/source.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"

enum { FILES_MAX = 100000, COPY_BUFFER = 1 << 20, RACY_MS = 50 };

/* --- names ----------------------------------------------------------------------------------------- */

static enum format format_of_name(const char *key)
{
    static const struct {
        const char *suffix;
        enum format format;
    } known[] = {{".parquet", FORMAT_PARQUET}, {".pq", FORMAT_PARQUET},  {".csv", FORMAT_CSV},
                 {".tsv", FORMAT_CSV},         {".jsonl", FORMAT_JSONL}, {".ndjson", FORMAT_JSONL},
                 {".json", FORMAT_JSONL}};
    _cleanup_free_ char *name = xstrdup(key);
    static const char *const packed[] = {".gz", ".zst", ".zstd"};
    bool compressed = false;
    for (size_t i = 0; i < ARRAY_SIZE(packed) && !compressed; i++) {
        if (text_ends_with(name, packed[i])) {
            name[strlen(name) - strlen(packed[i])] = '\0';
            compressed = true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (text_ends_with(name, known[i].suffix) && !(compressed && known[i].format == FORMAT_PARQUET))
            return known[i].format;
    }
    return FORMAT_AUTO;
}

static bool is_hidden(const char *key)
{
    for (const char *part = key; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (*part == '.' || *part == '_')
            return true;
    }
    return false;
}

/* Digit runs compare by value, everything else bytewise: hour=9 before hour=10. */
static int natural_compare(const char *a, const char *b)
{
    while (*a && *b) {
        if (*a >= '0' && *a <= '9' && *b >= '0' && *b <= '9') {
            a += strspn(a, "0");
            b += strspn(b, "0");
            size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
            if (na != nb)
                return na < nb ? -1 : 1;
            int c = memcmp(a, b, na);
            if (c != 0)
                return c;
            a += na;
            b += nb;
            continue;
        }
        if (*a != *b)
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        a++;
        b++;
    }
    return *a ? 1 : *b ? -1 : 0;
}

/* The first `depth` parts of a key. */
static size_t prefix_length(const char *key, size_t depth)
{
    const char *p = key;
    for (size_t i = 0; i < depth; i++) {
        const char *slash = strchr(p, '/');
        if (!slash)
            return strlen(key);
        p = slash + 1;
    }
    return p == key ? 0 : (size_t)(p - key - 1);
}

static size_t hive_depth(const char *key)
{
    size_t depth = 0;
    for (const char *p = key;; depth++) {
        const char *slash = strchr(p, '/'), *eq = strchr(p, '=');
        if (!slash || !eq || eq > slash || eq == p)
            return depth;
        p = slash + 1;
    }
}

static char *partition_name(const char *key, const char *wanted)
{
    size_t depth;
    if (wanted) {
        depth = 1;
        for (const char *p = wanted; *p; p++)
            depth += *p == '/' && p[1];
    } else {
        depth = hive_depth(key);
    }
    size_t n = depth ? prefix_length(key, depth) : strlen(key);
    return xstrndup(key, n);
}

bool source_partition_day(const char *name, int64_t *ret)
{
    bool found = false;
    for (const char *p = name; strlen(p) >= 10; p++) {
        int year, month, day, used = 0;
        if (sscanf(p, "%4d-%2d-%2d%n", &year, &month, &day, &used) == 3 && used == 10 && month >= 1 &&
            month <= 12 && day >= 1 && day <= 31) {
            *ret = clock_days_from_civil(year, (unsigned)month, (unsigned)day);
            found = true;
        }
    }
    return found;
}

/* --- listing --------------------------------------------------------------------------------------- */

struct lister {
    const char *pattern; /* glob or file name below the root; NULL: a folder */
    bool any_depth;
    enum format format;
    struct source_file *files;
    size_t n, capacity, skipped;
};

static int add_object(void *ctx, const struct store_object *o, struct err *err)
{
    struct lister *l = ctx;
    const char *key = o->key;
    bool matches =
        l->pattern ? fnmatch(l->pattern, key, l->any_depth ? 0 : FNM_PATHNAME) == 0 : !is_hidden(key);
    enum format format = format_of_name(key);
    /* In a folder other things lie around; a glob or a file says exactly what is meant. */
    if (!l->pattern && (format == FORMAT_AUTO || (l->format != FORMAT_AUTO && format != l->format)))
        matches = false;
    if (!matches) {
        l->skipped++;
        return 0;
    }
    if (l->format != FORMAT_AUTO)
        format = l->format;
    if (format == FORMAT_AUTO)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "format",
            "%s: its name does not tell the format: expected .parquet, .csv, .tsv, .jsonl, .ndjson or .json (the last five also with .gz or .zst), or source.format",
            key);
    if (l->n == FILES_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "too-many-files",
                        "the source has more than %d files: name a narrower folder", (int)FILES_MAX);
    l->files = grow_array(l->files, &l->capacity, l->n, sizeof *l->files);
    struct source_file *f = &l->files[l->n++];
    *f = (struct source_file){.key = xstrdup(key), .size = o->size, .format = format};
    memcpy(f->etag, o->etag, sizeof f->etag);
    return 0;
}

/* "s3://lake/clicks/a*.csv" → the folder's URL, and what follows as a pattern (NULL: the folder itself). */
static int split_uri(const char *uri, char **ret_root, char **ret_pattern, struct err *err)
{
    _cleanup_free_ char *whole = NULL;
    if (strstr(uri, "://")) {
        whole = xstrdup(uri);
    } else if (uri[0] == '/') {
        whole = xasprintf("file://%s", uri);
    } else {
        char cwd[PATH_MAX];
        if (!getcwd(cwd, sizeof cwd))
            return err_errno(err, errno, "the working directory");
        whole = xasprintf("file://%s/%s", cwd, uri);
    }
    char *path = strstr(whole, "://") + 3;
    if (text_starts_with(whole, "file://")) {
        struct stat st;
        size_t n = strlen(path);
        if (n && path[n - 1] != '/' && !strpbrk(path, "*?[") && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            char *slashed = xasprintf("%s/", whole);
            free(whole);
            whole = slashed;
            path = strstr(whole, "://") + 3;
        }
    }
    char *end = path + strcspn(path, "*?[");
    while (end > path && end[-1] != '/')
        end--;
    if (end == path)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "source",
                        "source.uri \"%s\": expected a file, a folder ending in / or a glob below a folder",
                        uri);
    *ret_pattern = *end ? xstrdup(end) : NULL;
    *ret_root = xstrndup(whole, (size_t)(end - whole - 1));
    if (text_equal(*ret_root, "file://")) {
        free(*ret_root);
        *ret_root = xstrdup("file:///");
    }
    return 0;
}

struct sorted {
    struct source_file file;
    char *partition;
};

static int compare_files(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    int c = natural_compare(x->partition, y->partition);
    if (c == 0)
        c = strcmp(x->partition, y->partition); /* 01 and 1 are not the same */
    return c ? c : strcmp(x->file.key, y->file.key);
}

static void make_partitions(struct source *s, struct lister *l, const char *wanted)
{
    struct sorted *sorted = xcalloc(l->n ? l->n : 1, sizeof *sorted);
    for (size_t i = 0; i < l->n; i++)
        sorted[i] = (struct sorted){l->files[i], partition_name(l->files[i].key, wanted)};
    qsort(sorted, l->n, sizeof *sorted, compare_files);
    free(l->files);
    s->files = xcalloc(l->n ? l->n : 1, sizeof *s->files);
    s->partitions = xcalloc(l->n ? l->n : 1, sizeof *s->partitions);
    for (size_t i = 0; i < l->n; i++) {
        s->files[s->n_files++] = sorted[i].file;
        if (s->n_partitions == 0 || !text_equal(s->partitions[s->n_partitions - 1].name, sorted[i].partition))
            s->partitions[s->n_partitions++] =
                (struct partition){.name = steal_ptr(sorted[i].partition), .first = i};
        free(sorted[i].partition);
        struct partition *last = &s->partitions[s->n_partitions - 1];
        last->n++;
        last->bytes += sorted[i].file.size;
    }
    free(sorted);
}

static char *without_slash(const char *text)
{
    size_t n = strlen(text);
    while (n > 1 && text[n - 1] == '/')
        n--;
    return xstrndup(text, n);
}

/* Forgets everything after the wanted partition. */
static int cut_at(struct source *s, const char *uri, const char *wanted, struct err *err)
{
    if (!wanted)
        return 0;
    for (size_t i = s->n_partitions; i-- > 0;) {
        if (!text_equal(s->partitions[i].name, wanted))
            continue;
        for (size_t k = i + 1; k < s->n_partitions; k++)
            free(s->partitions[k].name);
        s->n_partitions = i + 1;
        return 0;
    }
    return err_fail(
        err, ERR_NOTFOUND, EXITCODE_NOINPUT, "partition-missing",
        "the partition %s is not in %s: expected it there, found %zu partitions, the newest %s; has its producer finished?",
        wanted, uri, s->n_partitions, s->partitions[s->n_partitions - 1].name);
}

int source_resolve(struct stage_run *run, const char *uri, enum format format, const char *partition,
                   struct source **ret, struct err *err)
{
    _cleanup_source_ struct source *s = xcalloc(1, sizeof *s);
    _cleanup_free_ char *pattern = NULL;
    _cleanup_free_ char *wanted = partition ? without_slash(partition) : NULL;
    if (split_uri(uri, &s->root, &pattern, err) < 0 || stage_open_store(run, s->root, &s->store, err) < 0)
        return -1;
    struct lister l = {.pattern = pattern, .any_depth = pattern && strstr(pattern, "**"), .format = format};
    int r = store_list(s->store, "", add_object, &l, err);
    make_partitions(s, &l, wanted);
    if (r < 0)
        return err_wrap(err, "listing %s", uri);
    if (s->n_files == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "source-empty",
                        "there is no data at %s: expected %s files, found %zu objects of other kinds", uri,
                        format == FORMAT_CSV       ? "CSV"
                        : format == FORMAT_JSONL   ? "JSON-lines"
                        : format == FORMAT_PARQUET ? "Parquet"
                                                   : "Parquet, CSV or JSON-lines",
                        l.skipped);
    if (cut_at(s, uri, wanted, err) < 0)
        return -1;
    *ret = steal_ptr(s);
    return 0;
}

struct source *source_free(struct source *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n_files; i++)
        free(s->files[i].key);
    for (size_t i = 0; i < s->n_partitions; i++)
        free(s->partitions[i].name);
    free(s->files);
    free(s->partitions);
    free(s->root);
    free(s);
    return NULL;
}

cJSON *source_listing(const struct source *s, size_t from)
{
    cJSON *list = json_array();
    for (size_t p = from; p < s->n_partitions; p++) {
        const struct partition *part = &s->partitions[p];
        for (size_t i = part->first; i < part->first + part->n; i++) {
            cJSON *o = json_object();
            json_add_string(o, "key", s->files[i].key);
            json_add_int64_string(o, "size", s->files[i].size);
            json_add_string(o, "etag", s->files[i].etag);
            json_append(list, o);
        }
    }
    return list;
}

char *source_url(const struct source *s, const struct source_file *f)
{
    return fs_join(s->root, f->key);
}

/* --- staging --------------------------------------------------------------------------------------- */

static int changed(const struct source *s, const struct source_file *f, struct err *err)
{
    return err_fail(err, ERR_CONFLICT, EXITCODE_TEMPFAIL, "source-changed",
                    "%s/%s changed while it was read: expected the file listed at the start (%" PRId64
                    " bytes), found another; let its writer finish first, and write files once",
                    s->root, f->key, f->size);
}

/* In the kernel where the file systems allow it. */
static int copy_bytes(int from, int to, const char *path, int64_t *ret_size, struct err *err)
{
    *ret_size = 0;
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)1 << 30, 0);
        if (n == 0)
            return 0;
        *ret_size += n > 0 ? n : 0;
        if (n > 0 || errno == EINTR)
            continue;
        if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP && errno != EBADF)
            return err_errno(err, errno, "copying to %s", path);
        break;
    }
    _cleanup_free_ char *buffer = xmalloc(COPY_BUFFER);
    for (;;) {
        ssize_t n = read(from, buffer, COPY_BUFFER);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "reading for %s", path);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, buffer + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                return err_errno(err, errno, "writing %s", path);
            done += w > 0 ? w : 0;
        }
        *ret_size += n > 0 ? n : 0;
    }
}

static int same_object(const struct source *s, const struct source_file *f, int64_t *ret_mtime,
                       struct err *err)
{
    struct store_object now = {0};
    struct err gone = ERR_INIT;
    if (store_head(s->store, f->key, &now, &gone) < 0) {
        if (gone.class_ == ERR_NOTFOUND)
            return changed(s, f, err);
        *err = gone;
        return -1;
    }
    *ret_mtime = now.mtime_ms;
    return now.size == f->size && text_equal(now.etag, f->etag) ? 0 : changed(s, f, err);
}

static int copy_local(const struct source *s, const struct source_file *f, const char *from, const char *path,
                      struct err *err)
{
    _cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT ? changed(s, f, err) : err_errno(err, errno, "%s", from);
    _cleanup_close_ int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        return err_errno(err, errno, "%s", path);
    int64_t size, mtime;
    if (copy_bytes(in, out, path, &size, err) < 0)
        return -1;
    if (size != f->size)
        return changed(s, f, err);
    /* Only now is it known that what was copied is what was listed. */
    if (same_object(s, f, &mtime, err) < 0)
        return -1;
    /* Within one tick of the file system's clock two writes leave one time: a file that young is looked at once more. */
    const struct clock *c = &clock_system;
    int64_t age = c->wall_ms(c->ctx) - mtime;
    if (age >= RACY_MS)
        return 0;
    c->sleep_ms(c->ctx, age < 0 ? RACY_MS : RACY_MS - age);
    return same_object(s, f, &mtime, err);
}

int source_stage(const struct source *s, const struct source_file *f, const char *path, struct err *err)
{
    _cleanup_free_ char *local = store_local_path(s->store, f->key);
    if (local)
        return copy_local(s, f, local, path, err);
    struct err why = ERR_INIT;
    if (store_get_file(s->store, f->key, path, NULL, f->size, f->etag, &why) == 0)
        return 0;
    if (text_equal(why.reason, "source-changed") || why.class_ == ERR_NOTFOUND)
        return changed(s, f, err);
    *err = why;
    return err_wrap(err, "reading %s/%s", s->root, f->key);
}
