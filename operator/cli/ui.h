/* What a person sees while a run goes on: on a terminal the DAG with bars, redrawn in place; otherwise a line a change.
 *
 * Rendering is pure (ui_render, ui_describe_change): a view in, text out, so that tests compare golden lines. Only ui_* with a
 * `struct ui` touch the terminal. No curses: two escape sequences (cursor up, clear to the end) suffice. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "operator/cli/local/progress.h"
#include "operator/pipeline/plan.h"

struct ui_style {
    unsigned width, height; /* of the terminal, in columns and lines */
    bool unicode, color;
};

/* Everything borrowed for the call. */
struct ui_view {
    const struct pipeline *pipeline;
    const struct run_spec *run;
    const struct run_status *status;
    const struct progress *progress; /* may be NULL */
    int64_t now_ms;
    const char *notice; /* under the header: "stopping: …"; NULL: none */
};

/* A frame: header and a line a step, each at most width columns, at most height - 1 lines (steps that are done or wait are then
 * counted instead of shown). Ends with a newline. */
void ui_render(const struct ui_view *view, const struct ui_style *style, struct buf *out);

/* --- small formats ---------------------------------------------------------------------------------- */

enum { UI_TEXT_MAX = 32 };
void ui_format_duration(int64_t ms, char ret[static UI_TEXT_MAX]); /* "0.4 s", "42 s", "3:07", "1:02:03" */
void ui_format_count(double n, char ret[static UI_TEXT_MAX]);      /* "950", "12.3k", "4.2M" */
/* "12.3k samples/s" from the first metric named …_<unit>_per_sec; "" if there is none. */
void ui_format_rate(const cJSON *metrics, char ret[static 64]);
/* Columns a text takes (one a code point). */
size_t ui_columns(const char *text);
/* Appends at most `columns` of text, then … if something was cut. */
void ui_add_cut(struct buf *out, const char *text, size_t columns, bool unicode);
/* "rows 1000000, warnings 1": the step's values for people, in at most `columns`. */
void ui_add_values(struct buf *out, const cJSON *values, size_t columns, bool unicode);
/* "features", or "features[3]" for an item of a fan-out. Caller frees. */
char *ui_item_name(const struct step_status *s, size_t item);

/* --- one run shown ------------------------------------------------------------------------------------ */

enum ui_mode { UI_LIVE, UI_PLAIN, UI_SILENT };
struct ui; /* opaque */

/* Live only if `out` is a terminal and `plain` is false. NO_COLOR and the locale are looked at here. */
struct ui *ui_new(FILE *out, bool plain, bool silent);
struct ui *ui_free(struct ui *ui); /* leaves the last frame standing */
enum ui_mode ui_mode(const struct ui *ui);
/* Says something between frames. */
void ui_say(struct ui *ui, int64_t now_ms, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Before the first change: what a resumed run has behind it is known and not told line by line. */
void ui_begin(struct ui *ui, const struct ui_view *view);
/* After each change of the status, and from time to time: draws, or prints lines for what has changed since the last call. */
void ui_update(struct ui *ui, const struct ui_view *view);
/* Milliseconds until the next ui_update() is wanted; -1: only after changes. */
int ui_interval_ms(const struct ui *ui);
/* The terminal's size has changed. */
void ui_resized(struct ui *ui);
struct ui_style ui_style_of(FILE *out);

DEFINE_CLEANUP(struct ui *, ui_free);
#define _cleanup_ui_ CLEANUP(ui_free_cleanup)
