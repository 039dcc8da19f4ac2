/* Builds one self-contained HTML page: sections, facts, tables and SVG plots, for light and dark screens, printable, without
 * any external reference or script. Equal calls give equal bytes: nothing of the machine or the moment gets in.
 *
 * Every text is escaped here; callers pass plain text. Calls never fail: beyond LIMIT_REPORT_BYTES the page fails as a
 * whole and report_finish() says so. NaN in a number means "undefined" and is shown as "–" (a gap in a plot).
 *
 *   struct report *r = report_new("Data validation", "clicks, 30 partitions");
 *   report_section(r, REPORT_BAD, "price is null too often");
 *   report_text(r, "Expected at most 2 %%, found %.1f %%.", share);
 *   report_table_begin(r, (const char *[]){"partition", "nulls", NULL});
 *   report_row(r, REPORT_PLAIN); report_cell(r, "day=2026-01-31"); report_number(r, nulls);
 *   report_table_end(r);
 *   report_finish(r, &html, err); */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"

struct report; /* opaque */

/* How things look: neutral, good, warning, failed. */
enum report_level { REPORT_PLAIN, REPORT_GOOD, REPORT_WARN, REPORT_BAD };

struct report *report_new(const char *title, const char *subtitle);
struct report *report_free(struct report *r);
/* Closes what is open and appends the page to `out`. */
int report_finish(struct report *r, struct buf *out, struct err *err);

/* A coloured line under the title: the verdict. */
void report_verdict(struct report *r, enum report_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Starts a section; the one before ends. Sections with a title are listed at the top of the page, in order. */
void report_section(struct report *r, enum report_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void report_heading(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_text(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_note(struct report *r, enum report_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A block in a fixed-width font: SQL, file names. */
void report_code(struct report *r, const char *text);
/* Folded away until clicked; may hold tables and plots, not sections. */
void report_details_begin(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_details_end(struct report *r);
/* A row of large figures. */
void report_figures_begin(struct report *r);
void report_figure(struct report *r, enum report_level level, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void report_figures_end(struct report *r);

/* Tables: heads end with NULL. Cells go left to right; numbers and their heads are right-aligned. */
void report_table_begin(struct report *r, const char *const *heads);
void report_row(struct report *r, enum report_level level);
void report_cell(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_cell_level(struct report *r, enum report_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void report_integer(struct report *r, int64_t v);
void report_number(struct report *r, double v); /* six significant digits */
/* With its sign, coloured. */
void report_difference(struct report *r, enum report_level level, double v);
void report_percent(struct report *r, double share);
void report_table_end(struct report *r);

/* Plots. Colours follow the order of the series (six; then they repeat). */
struct report_series {
    const char *name;         /* in the legend; NULL: none */
    const double *x, *y;      /* n each; x NULL: 0, 1, 2, … */
    const double *low, *high; /* a band around y; NULL: none */
    size_t n;
    bool dashed; /* a line to compare with: dashed and grey */
};
struct report_plot {
    const char *title, *x_label, *y_label; /* NULL: none */
    int width, height;                     /* px; 0: 640 × 280 */
    double x_min, x_max, y_min, y_max;     /* both 0: from the data */
    const char *const *x_ticks;            /* n_x_ticks labels for x = 0, 1, …; NULL: numbers */
    size_t n_x_ticks;
    double threshold; /* a marked horizontal line; 0 or NaN: none */
};
#define REPORT_PLOT(...) (&(const struct report_plot){__VA_ARGS__})
void report_lines(struct report *r, const struct report_plot *plot, const struct report_series *series,
                  size_t n_series);
void report_scatter(struct report *r, const struct report_plot *plot, const struct report_series *series,
                    size_t n_series);
/* Grouped vertical bars: labels[n] on the x axis, the series' y values (x is ignored; low/high become error bars). */
void report_bars(struct report *r, const struct report_plot *plot, const char *const *labels,
                 const struct report_series *series, size_t n_series);
/* Histogram: n bins with edges[n + 1]; counts in each series' y are drawn as shares of their sum, so that unequal sizes compare. */
void report_histogram(struct report *r, const struct report_plot *plot, const double *edges,
                      const struct report_series *series, size_t n_series);

DEFINE_CLEANUP(struct report *, report_free);
#define _cleanup_report_ CLEANUP(report_free_cleanup)
