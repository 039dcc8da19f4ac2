/* Time zones: the C library, which reads the same database in its own way, is the oracle. */
#include "common/base/tz.h"

#include <stdlib.h>
#include <time.h>

#include "common/base/fs.h"
#include "tests/unit/unit.h"

static bool database(void)
{
    return fs_exists("/usr/share/zoneinfo/Europe/Berlin");
}

static void as_the_c_library_says(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Europe/Berlin",   "America/New_York",  "Australia/Lord_Howe", "Asia/Kathmandu",
        "Europe/Dublin",   "America/Sao_Paulo", "Pacific/Apia",        "Africa/Casablanca",
        "America/Caracas", "Asia/Tehran",       "Antarctica/Troll",    "UTC",
        "Etc/GMT+5",       "America/St_Johns",  "Pacific/Chatham",     "Asia/Gaza",
    };
    if (!database()) {
        (void)printf("skipped: no time zone database here (package tzdata)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        _cleanup_tz_ struct tz *z = NULL;
        struct err err = ERR_INIT;
        assert_ok(tz_load(NULL, names[i], &z, &err), &err);
        assert_int_equal(setenv("TZ", names[i], 1), 0);
        tzset();
        /* 1970 to 2100, an odd step so that every hour and minute comes up; then around each change of two years. */
        for (int64_t t = 0; t < 4102444800; t += 86400 * 3 + 3607) {
            struct tm tm;
            time_t at = (time_t)t;
            (void)localtime_r(&at, &tm);
            if (tz_offset(z, t) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %lld, expected %ld", names[i], (long long)t, (long long)tz_offset(z, t),
                         tm.tm_gmtoff);
        }
        for (int64_t t = 1767225600; t < 1767225600 + 2LL * 366 * 86400; t += 900) {
            for (int64_t s = -1; s <= 0; s++) {
                struct tm tm;
                time_t at = (time_t)(t + s);
                (void)localtime_r(&at, &tm);
                if (tz_offset(z, t + s) != tm.tm_gmtoff)
                    fail_msg("%s at %lld: %lld, expected %ld", names[i], (long long)(t + s),
                             (long long)tz_offset(z, t + s), tm.tm_gmtoff);
            }
        }
    }
    assert_int_equal(unsetenv("TZ"), 0);
}

static void wrong_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *part;
        enum err_class class;
    } cases[] = {
        {"", "expected a name", ERR_INVALID},
        {"../../etc/passwd", "expected a name", ERR_INVALID},
        {"/etc/passwd", "expected a name", ERR_INVALID},
        {"Mars/Olympus", "no such zone", ERR_INVALID},
        {"Europe", "no such zone", ERR_INVALID},
        {"Europe/Berlin\n", "expected a name", ERR_INVALID},
    };
    if (!database())
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tz *z = NULL;
        struct err err = ERR_INIT;
        assert_fails(tz_load(NULL, cases[i].name, &z, &err), &err, cases[i].class, cases[i].part);
    }
    struct tz *z = NULL;
    struct err err = ERR_INIT;
    assert_fails(tz_load("/nonexistent", "Europe/Berlin", &z, &err), &err, ERR_NOTFOUND, "package tzdata");
}

/* Every prefix of a file, and every file with one byte turned, is read or refused, never more than that (with the sanitizers). */
static void damaged_files(void **state)
{
    (void)state;
    _cleanup_free_ char *data = NULL;
    size_t len;
    struct err err = ERR_INIT;
    if (!database())
        skip();
    assert_ok(fs_read_file("/usr/share/zoneinfo/Europe/Berlin", 1 << 20, &data, &len, &err), &err);
    for (size_t n = 0; n < len; n++) {
        struct tz *z = NULL;
        struct err why = ERR_INIT;
        _cleanup_free_ char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, data, n);
        if (tz_parse(copy, n, "cut", &z, &why) == 0)
            (void)tz_offset(z, 1767225600);
        tz_free(z);
    }
    for (size_t n = 0; n < len; n++) {
        struct tz *z = NULL;
        struct err why = ERR_INIT;
        data[n] = (char)(data[n] ^ 0x55);
        if (tz_parse(data, len, "turned", &z, &why) == 0)
            (void)tz_offset(z, 4000000000);
        tz_free(z);
        data[n] = (char)(data[n] ^ 0x55);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"offsets are those of the C library", as_the_c_library_says, NULL, NULL, NULL},
        {"wrong names are refused", wrong_names, NULL, NULL, NULL},
        {"damaged files are refused or read", damaged_files, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
