/* What every unit test includes: cmocka, and assertions on errors that show both sides. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/err.h"

/* Succeeded: fails with the error's text. */
#define assert_ok(call, err)                       \
    do {                                           \
        if ((call) < 0)                            \
            fail_msg("%s: %s", #call, (err)->msg); \
    } while (0)

/* Failed with this class and a message that holds `part`; the error is cleared for the next use. */
#define assert_fails(call, err, class, part)                                                \
    do {                                                                                    \
        if ((call) >= 0)                                                                    \
            fail_msg("%s: succeeded, expected \"%s\"", #call, (part));                      \
        if ((err)->class_ != (class))                                                       \
            fail_msg("%s: class %s, expected %s: %s", #call, err_class_name((err)->class_), \
                     err_class_name(class), (err)->msg);                                    \
        if (!strstr((err)->msg, (part)))                                                    \
            fail_msg("%s: \"%s\", expected \"%s\"", #call, (err)->msg, (part));             \
        err_clear(err);                                                                     \
    } while (0)

#define assert_contains(text, part)                              \
    do {                                                         \
        if (!strstr((text), (part)))                             \
            fail_msg("expected \"%s\" in:\n%s", (part), (text)); \
    } while (0)
