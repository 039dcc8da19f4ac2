/* The page: structure, text and tables. Plots are in plot.c. */
#include "stages/report/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "stages/report/report-internal.h"

/* Heads beyond these stay left-aligned. */
enum { HEADS = 32 };

struct report {
    char *title, *subtitle;
    struct buf verdict, contents, body;
    int sections;
    bool in_section, in_row;
    size_t head[HEADS], n_heads,
        column; /* where each head's class letter stands in the body; the next cell's column */
};

static const char *const level_class[] = {"plain", "good", "warn", "bad"};

static const char style[] =
    ":root{--fg:#1c1f24;--dim:#5d6570;--bg:#fff;--card:#f6f7f9;--line:#d9dde3;--good:#1a7f37;--warn:#9a6700;--bad:#c62828;"
    "--s0:#2563eb;--s1:#d97706;--s2:#059669;--s3:#9333ea;--s4:#dc2626;--s5:#0891b2}"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e8eb;--dim:#9aa3ad;--bg:#14171b;--card:#1d2127;--line:#333a43;--good:#4ac26b;"
    "--warn:#d4a72c;--bad:#ff6b6b;--s0:#6ea8fe;--s1:#fbbf24;--s2:#34d399;--s3:#c084fc;--s4:#f87171;--s5:#22d3ee}}"
    "*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1000px;margin:0 auto;padding:24px}"
    "h1{font-size:26px;margin:0}h2{font-size:19px;margin:0 0 8px}h3{font-size:16px;margin:16px 0 6px}p{margin:6px 0}"
    ".dim{color:var(--dim)}section{border:1px solid var(--line);border-left-width:5px;border-radius:6px;padding:14px 18px;margin:16px 0}"
    "section.good{border-left-color:var(--good)}section.warn{border-left-color:var(--warn)}section.bad{border-left-color:var(--bad)}"
    ".verdict{font-size:17px;font-weight:600;margin:10px 0}.t-good{color:var(--good)}.t-warn{color:var(--warn)}.t-bad{color:var(--bad)}"
    "nav ul{margin:6px 0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px}nav a{color:inherit}.wide{overflow-x:auto}"
    "table{border-collapse:collapse;margin:8px 0;font-size:14px}th,td{padding:4px 9px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "th{color:var(--dim);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}tr.good td:first-child{color:var(--good)}"
    "tr.warn td:first-child{color:var(--warn)}tr.bad td:first-child{color:var(--bad)}"
    "pre{background:var(--card);padding:8px 12px;border-radius:4px;overflow-x:auto;font-size:13px}summary{cursor:pointer;color:var(--dim);margin:8px 0}"
    ".figures{display:flex;flex-wrap:wrap;gap:12px;margin:10px 0}.figure{background:var(--card);border-radius:6px;padding:8px 16px}"
    ".figure b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.figure span{color:var(--dim);font-size:13px}"
    "svg{max-width:100%;height:auto;vertical-align:top;margin:8px 14px 8px 0}svg text{fill:var(--dim);font:12px system-ui,sans-serif}svg .ti{fill:var(--fg);font-weight:600;font-size:13px}"
    ".ax{stroke:var(--line)}.th{stroke:var(--bad);stroke-dasharray:6 4}.eb{stroke:var(--fg)}.ln{fill:none;stroke-width:2}.da{stroke-dasharray:5 4}"
    ".c0{--c:var(--s0)}.c1{--c:var(--s1)}.c2{--c:var(--s2)}.c3{--c:var(--s3)}.c4{--c:var(--s4)}.c5{--c:var(--s5)}.dm{--c:var(--dim)}"
    ".st{stroke:var(--c)}.fi{fill:var(--c)}.ba{fill:var(--c);fill-opacity:.18}.hi{fill:var(--c);fill-opacity:.45}"
    "@media print{body{max-width:none}details{display:block}}";

struct buf *report_body(struct report *r)
{
    return &r->body;
}

void report_escape(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '&':
            (void)buf_adds(out, "&amp;");
            break;
        case '<':
            (void)buf_adds(out, "&lt;");
            break;
        case '>':
            (void)buf_adds(out, "&gt;");
            break;
        case '"':
            (void)buf_adds(out, "&quot;");
            break;
        case '\'':
            (void)buf_adds(out, "&#39;");
            break;
        default:
            /* Control characters are not allowed in HTML and could come from the data. */
            if ((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t')
                (void)buf_addf(out, "\\x%02x", (unsigned char)*p);
            else
                (void)buf_addc(out, *p);
        }
    }
}

static void escape_va(struct buf *out, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void escape_va(struct buf *out, const char *fmt, va_list ap)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REPORT_BYTES);
    (void)buf_vaddf(&text, fmt, ap);
    report_escape(out, buf_str(&text));
}

#define ESCAPE_ARGS(out, fmt)     \
    do {                          \
        va_list ap_;              \
        va_start(ap_, fmt);       \
        escape_va(out, fmt, ap_); \
        va_end(ap_);              \
    } while (0)

struct report *report_new(const char *title, const char *subtitle)
{
    struct report *r = xcalloc(1, sizeof *r);
    r->title = xstrdup(title);
    r->subtitle = subtitle ? xstrdup(subtitle) : NULL;
    buf_init(&r->verdict, LIMIT_REPORT_BYTES);
    buf_init(&r->contents, LIMIT_REPORT_BYTES);
    buf_init(&r->body, LIMIT_REPORT_BYTES);
    return r;
}

struct report *report_free(struct report *r)
{
    if (!r)
        return NULL;
    free(r->title);
    free(r->subtitle);
    buf_release(&r->verdict);
    buf_release(&r->contents);
    buf_release(&r->body);
    free(r);
    return NULL;
}

static void close_section(struct report *r)
{
    if (r->in_section)
        (void)buf_adds(&r->body, "</section>\n");
    r->in_section = false;
}

int report_finish(struct report *r, struct buf *out, struct err *err)
{
    close_section(r);
    if (buf_check(&r->body, "report", err) < 0 || buf_check(&r->contents, "report", err) < 0)
        return -1;
    (void)buf_adds(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>");
    report_escape(out, r->title);
    (void)buf_addf(out, "</title><style>%s</style></head><body>\n<header><h1>", style);
    report_escape(out, r->title);
    (void)buf_adds(out, "</h1>");
    if (r->subtitle) {
        (void)buf_adds(out, "<p class=\"dim\">");
        report_escape(out, r->subtitle);
        (void)buf_adds(out, "</p>");
    }
    (void)buf_adds(out, buf_str(&r->verdict));
    (void)buf_adds(out, "</header>\n");
    if (r->sections > 1)
        (void)buf_addf(out, "<nav><ul>%s</ul></nav>\n", buf_str(&r->contents));
    (void)buf_adds(out, buf_str(&r->body));
    (void)buf_adds(out, "</body></html>\n");
    return buf_check(out, "report", err);
}

void report_verdict(struct report *r, enum report_level level, const char *fmt, ...)
{
    (void)buf_addf(&r->verdict, "<p class=\"verdict t-%s\">", level_class[level]);
    ESCAPE_ARGS(&r->verdict, fmt);
    (void)buf_adds(&r->verdict, "</p>");
}

void report_section(struct report *r, enum report_level level, const char *fmt, ...)
{
    close_section(r);
    r->in_section = true;
    r->sections++;
    (void)buf_addf(&r->body, "<section class=\"%s\" id=\"s%d\"><h2>", level_class[level], r->sections);
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</h2>\n");
    (void)buf_addf(&r->contents, "<li class=\"t-%s\"><a href=\"#s%d\">", level_class[level], r->sections);
    ESCAPE_ARGS(&r->contents, fmt);
    (void)buf_adds(&r->contents, "</a></li>");
}

void report_heading(struct report *r, const char *fmt, ...)
{
    (void)buf_adds(&r->body, "<h3>");
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</h3>\n");
}

void report_text(struct report *r, const char *fmt, ...)
{
    (void)buf_adds(&r->body, "<p>");
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</p>\n");
}

void report_note(struct report *r, enum report_level level, const char *fmt, ...)
{
    (void)buf_addf(&r->body, "<p class=\"t-%s\">", level_class[level]);
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</p>\n");
}

void report_code(struct report *r, const char *text)
{
    (void)buf_adds(&r->body, "<pre>");
    report_escape(&r->body, text);
    (void)buf_adds(&r->body, "</pre>\n");
}

void report_details_begin(struct report *r, const char *fmt, ...)
{
    (void)buf_adds(&r->body, "<details><summary>");
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</summary>\n");
}

void report_details_end(struct report *r)
{
    (void)buf_adds(&r->body, "</details>\n");
}

void report_figures_begin(struct report *r)
{
    (void)buf_adds(&r->body, "<div class=\"figures\">");
}

void report_figure(struct report *r, enum report_level level, const char *label, const char *fmt, ...)
{
    (void)buf_addf(&r->body, "<div class=\"figure\"><b class=\"t-%s\">", level_class[level]);
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</b><span>");
    report_escape(&r->body, label);
    (void)buf_adds(&r->body, "</span></div>");
}

void report_figures_end(struct report *r)
{
    (void)buf_adds(&r->body, "</div>\n");
}

void report_table_begin(struct report *r, const char *const *heads)
{
    (void)buf_adds(&r->body, "<div class=\"wide\"><table><thead><tr>");
    r->n_heads = 0;
    for (size_t i = 0; heads[i]; i++) {
        (void)buf_adds(&r->body, "<th class=\"t\">");
        if (r->n_heads < HEADS)
            r->head[r->n_heads++] = r->body.len - strlen("t\">");
        report_escape(&r->body, heads[i]);
        (void)buf_adds(&r->body, "</th>");
    }
    (void)buf_adds(&r->body, "</tr></thead><tbody>\n");
    r->in_row = false;
}

static void close_row(struct report *r)
{
    if (r->in_row)
        (void)buf_adds(&r->body, "</tr>\n");
    r->in_row = false;
}

void report_row(struct report *r, enum report_level level)
{
    close_row(r);
    r->in_row = true;
    r->column = 0;
    (void)buf_addf(&r->body, "<tr class=\"%s\">", level_class[level]);
}

/* A cell with a number: it and its column's head are right-aligned. */
static void number_cell(struct report *r, const char *class_, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void number_cell(struct report *r, const char *class_, const char *fmt, ...)
{
    if (r->column < r->n_heads && !buf_failed(&r->body))
        r->body.data[r->head[r->column]] = 'n';
    r->column++;
    (void)buf_addf(&r->body, "<td class=\"n%s\">", class_);
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</td>");
}

void report_cell(struct report *r, const char *fmt, ...)
{
    r->column++;
    (void)buf_adds(&r->body, "<td>");
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</td>");
}

void report_cell_level(struct report *r, enum report_level level, const char *fmt, ...)
{
    r->column++;
    (void)buf_addf(&r->body, "<td class=\"t-%s\">", level_class[level]);
    ESCAPE_ARGS(&r->body, fmt);
    (void)buf_adds(&r->body, "</td>");
}

void report_integer(struct report *r, int64_t v)
{
    number_cell(r, "", "%" PRId64, v);
}

void report_number(struct report *r, double v)
{
    if (isnan(v))
        number_cell(r, "", "–");
    else
        number_cell(r, "", "%.6g", v);
}

void report_difference(struct report *r, enum report_level level, double v)
{
    static const char *const classes[] = {" t-plain", " t-good", " t-warn", " t-bad"};
    if (isnan(v))
        number_cell(r, classes[level], "–");
    else
        number_cell(r, classes[level], "%+.6g", v);
}

void report_percent(struct report *r, double share)
{
    if (isnan(share))
        number_cell(r, "", "–");
    else
        number_cell(r, "", "%.4g %%", 100 * share);
}

void report_table_end(struct report *r)
{
    close_row(r);
    (void)buf_adds(&r->body, "</tbody></table></div>\n");
}
