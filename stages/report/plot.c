/* SVG plots. Coordinates are printed with one decimal, so that equal data gives equal bytes. */
#include <math.h>

#include "common/base/alloc.h"
#include "stages/report/report-internal.h"

enum { LEFT = 64, RIGHT = 16, TOP = 30, BOTTOM = 44, COLOURS = 6, TICKS = 5 };

/* The data window and its place on the page. */
struct frame {
    int width, height;
    double x_min, x_max, y_min, y_max;
};

static double px(const struct frame *f, double x)
{
    return LEFT + (x - f->x_min) / (f->x_max - f->x_min) * (f->width - LEFT - RIGHT);
}

static double py(const struct frame *f, double y)
{
    return f->height - BOTTOM - (y - f->y_min) / (f->y_max - f->y_min) * (f->height - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that about TICKS steps cover `span`. */
static double nice_step(double span)
{
    double raw = span / TICKS, power = pow(10, floor(log10(raw))), f = raw / power;
    return power * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
}

static void widen(double *min, double *max)
{
    if (!(*min <= *max)) { /* no data at all */
        *min = 0;
        *max = 1;
    }
    if (*min == *max) {
        double d = *min == 0 ? 1 : fabs(*min) * 0.1;
        *min -= d;
        *max += d;
    }
}

static void include(double v, double *min, double *max)
{
    if (!isfinite(v))
        return;
    *min = fmin(*min, v);
    *max = fmax(*max, v);
}

static double series_x(const struct report_series *s, size_t i)
{
    return s->x ? s->x[i] : (double)i;
}

static struct frame frame_of(const struct report_plot *p)
{
    return (struct frame){.width = p->width ? p->width : 640,
                          .height = p->height ? p->height : 280,
                          .x_min = INFINITY,
                          .x_max = -INFINITY,
                          .y_min = INFINITY,
                          .y_max = -INFINITY};
}

static void settle(struct frame *f, const struct report_plot *p)
{
    if (p->threshold != 0)
        include(p->threshold, &f->y_min, &f->y_max);
    widen(&f->x_min, &f->x_max);
    widen(&f->y_min, &f->y_max);
    if (p->x_min != 0 || p->x_max != 0) {
        f->x_min = p->x_min;
        f->x_max = p->x_max;
    }
    if (p->y_min != 0 || p->y_max != 0) {
        f->y_min = p->y_min;
        f->y_max = p->y_max;
    } else {
        double step = nice_step(f->y_max - f->y_min);
        f->y_min = floor(f->y_min / step) * step;
        f->y_max = ceil(f->y_max / step) * step;
    }
}

static void text_at(struct buf *b, double x, double y, const char *anchor, const char *class_,
                    const char *text)
{
    (void)buf_addf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s%s%s>", x, y, anchor,
                   *class_ ? " class=\"" : "", class_, *class_ ? "\"" : "");
    report_escape(b, text);
    (void)buf_adds(b, "</text>");
}

static void number_at(struct buf *b, double x, double y, const char *anchor, double v, double step)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.6g", fabs(v) < step * 1e-9 ? 0.0 : v);
    text_at(b, x, y, anchor, "", text);
}

static void begin(struct buf *b, const struct frame *f, const struct report_plot *p)
{
    (void)buf_addf(b, "<svg role=\"img\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">", f->width,
                   f->height, f->width, f->height);
    if (p->title) {
        (void)buf_adds(b, "<title>");
        report_escape(b, p->title);
        (void)buf_adds(b, "</title>");
        text_at(b, LEFT, 16, "start", "ti", p->title);
    }
    double step = nice_step(f->y_max - f->y_min);
    for (int i = 0; i <= 2 * TICKS + 2; i++) {
        double v = (ceil(f->y_min / step - 1e-9) + i) * step;
        if (v > f->y_max + step * 1e-9)
            break;
        (void)buf_addf(b, "<path class=\"ax\" d=\"M%d %.1fH%d\"/>", LEFT, py(f, v), f->width - RIGHT);
        number_at(b, LEFT - 6, py(f, v) + 4, "end", v, step);
    }
    if (isfinite(p->threshold) && p->threshold != 0)
        (void)buf_addf(b, "<path class=\"th\" d=\"M%d %.1fH%d\"/>", LEFT, py(f, p->threshold),
                       f->width - RIGHT);
    if (p->x_label)
        text_at(b, (LEFT + f->width - RIGHT) / 2.0, f->height - 8, "middle", "", p->x_label);
    if (p->y_label) {
        (void)buf_addf(b, "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">",
                       (TOP + f->height - BOTTOM) / 2.0);
        report_escape(b, p->y_label);
        (void)buf_adds(b, "</text>");
    }
}

static void numeric_x_axis(struct buf *b, const struct frame *f)
{
    double step = nice_step(f->x_max - f->x_min);
    for (int i = 0; i <= 2 * TICKS + 2; i++) {
        double v = (ceil(f->x_min / step - 1e-9) + i) * step;
        if (v > f->x_max + step * 1e-9)
            break;
        number_at(b, px(f, v), f->height - BOTTOM + 18, "middle", v, step);
    }
}

/* As many labels as fit side by side; each is cut at 14 characters. */
static void label_axis(struct buf *b, const struct frame *f, const char *const *labels, size_t n,
                       double offset)
{
    size_t longest = 0;
    for (size_t i = 0; i < n; i++)
        longest = longest < strlen(labels[i]) ? strlen(labels[i]) : longest;
    size_t each = 7 * (longest > 16 ? 15 : longest) + 12, fit = (size_t)(f->width - LEFT - RIGHT) / each,
           room = fit ? fit : 1, every = (n + room - 1) / room;
    for (size_t i = 0; i < n; i += every ? every : 1) {
        char text[48];
        size_t len = strlen(labels[i]), cut = len;
        if (len > 16) {
            cut = 14;
            while (cut > 0 && ((unsigned char)labels[i][cut] & 0xc0) == 0x80)
                cut--;
        }
        (void)snprintf(text, sizeof text, "%.*s%s", (int)cut, labels[i], cut < len ? "…" : "");
        text_at(b, px(f, (double)i + offset), f->height - BOTTOM + 18, "middle", "", text);
    }
}

static void legend(struct buf *b, const struct frame *f, const struct report_series *series, size_t n)
{
    double x = f->width - RIGHT;
    for (size_t k = n; k-- > 0;) {
        if (!series[k].name)
            continue;
        text_at(b, x, 16, "end", "", series[k].name);
        x -= 7.0 * (double)strlen(series[k].name) + 16;
        (void)buf_addf(b, "<rect class=\"fi c%zu%s\" x=\"%.1f\" y=\"7\" width=\"10\" height=\"10\"/>",
                       k % COLOURS, series[k].dashed ? " dm" : "", x);
        x -= 12;
    }
}

static void band(struct buf *b, const struct frame *f, const struct report_series *s, size_t k)
{
    (void)buf_addf(b, "<path class=\"ba c%zu\" d=\"", k % COLOURS);
    const char *move = "M";
    for (size_t i = 0; i < s->n; i++) {
        if (isfinite(s->high[i]) && isfinite(s->low[i])) {
            (void)buf_addf(b, "%s%.1f %.1f", move, px(f, series_x(s, i)), py(f, s->high[i]));
            move = "L";
        }
    }
    for (size_t i = s->n; i-- > 0;) {
        if (isfinite(s->high[i]) && isfinite(s->low[i]))
            (void)buf_addf(b, "L%.1f %.1f", px(f, series_x(s, i)), py(f, s->low[i]));
    }
    (void)buf_adds(b, "Z\"/>");
}

static void draw_line(struct buf *b, const struct frame *f, const struct report_series *s, size_t k)
{
    if (s->low && s->high)
        band(b, f, s, k);
    (void)buf_addf(b, "<path class=\"ln st c%zu%s\" d=\"", k % COLOURS, s->dashed ? " da dm" : "");
    bool pen = false;
    for (size_t i = 0; i < s->n; i++) {
        double x = series_x(s, i);
        if (!isfinite(s->y[i]) || !isfinite(x)) {
            pen = false;
            continue;
        }
        (void)buf_addf(b, "%s%.1f %.1f", pen ? "L" : "M", px(f, x), py(f, s->y[i]));
        pen = true;
    }
    (void)buf_adds(b, "\"/>");
}

static struct frame frame_of_points(const struct report_plot *plot, const struct report_series *series,
                                    size_t n)
{
    struct frame f = frame_of(plot);
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < series[k].n; i++) {
            include(series_x(&series[k], i), &f.x_min, &f.x_max);
            include(series[k].y[i], &f.y_min, &f.y_max);
            if (series[k].low)
                include(series[k].low[i], &f.y_min, &f.y_max);
            if (series[k].high)
                include(series[k].high[i], &f.y_min, &f.y_max);
        }
    }
    settle(&f, plot);
    return f;
}

static void points(struct report *r, const struct report_plot *plot, const struct report_series *series,
                   size_t n, bool lines)
{
    struct buf *b = report_body(r);
    struct frame f = frame_of_points(plot, series, n);
    begin(b, &f, plot);
    if (plot->x_ticks)
        label_axis(b, &f, plot->x_ticks, plot->n_x_ticks, 0);
    else
        numeric_x_axis(b, &f);
    for (size_t k = 0; k < n; k++) {
        const struct report_series *s = &series[k];
        if (lines)
            draw_line(b, &f, s, k);
        /* A lone point draws no line. */
        for (size_t i = 0; (!lines || s->n == 1) && i < s->n; i++) {
            if (isfinite(s->y[i]) && isfinite(series_x(s, i)))
                (void)buf_addf(b, "<circle class=\"fi c%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", k % COLOURS,
                               px(&f, series_x(s, i)), py(&f, s->y[i]));
        }
    }
    legend(b, &f, series, n);
    (void)buf_adds(b, "</svg>\n");
}

void report_lines(struct report *r, const struct report_plot *plot, const struct report_series *series,
                  size_t n_series)
{
    points(r, plot, series, n_series, true);
}

void report_scatter(struct report *r, const struct report_plot *plot, const struct report_series *series,
                    size_t n_series)
{
    points(r, plot, series, n_series, false);
}

void report_bars(struct report *r, const struct report_plot *plot, const char *const *labels,
                 const struct report_series *series, size_t n_series)
{
    struct buf *b = report_body(r);
    struct frame f = frame_of(plot);
    size_t n = 0;
    include(0, &f.y_min, &f.y_max);
    for (size_t k = 0; k < n_series; k++) {
        n = series[k].n > n ? series[k].n : n;
        for (size_t i = 0; i < series[k].n; i++) {
            include(series[k].y[i], &f.y_min, &f.y_max);
            if (series[k].high)
                include(series[k].high[i], &f.y_min, &f.y_max);
        }
    }
    f.x_min = 0;
    f.x_max = n ? (double)n : 1;
    settle(&f, plot);
    begin(b, &f, plot);
    label_axis(b, &f, labels, n, 0.5);
    double width = 0.8 / (double)(n_series ? n_series : 1);
    for (size_t k = 0; k < n_series; k++) {
        for (size_t i = 0; i < series[k].n; i++) {
            double v = series[k].y[i], x = (double)i + 0.1 + width * (double)k;
            if (!isfinite(v))
                continue;
            double top = py(&f, fmax(v, 0)), bottom = py(&f, fmin(v, 0));
            (void)buf_addf(b,
                           "<rect class=\"fi c%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
                           k % COLOURS, px(&f, x), top, px(&f, x + width * 0.94) - px(&f, x),
                           fmax(bottom - top, 0.5));
            if (series[k].low && series[k].high && isfinite(series[k].low[i]) && isfinite(series[k].high[i]))
                (void)buf_addf(b, "<path class=\"eb\" d=\"M%.1f %.1fV%.1f\"/>", px(&f, x + width * 0.47),
                               py(&f, series[k].low[i]), py(&f, series[k].high[i]));
        }
    }
    legend(b, &f, series, n_series);
    (void)buf_adds(b, "</svg>\n");
}

static double sum_of(const struct report_series *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += isfinite(s->y[i]) ? s->y[i] : 0;
    return sum;
}

void report_histogram(struct report *r, const struct report_plot *plot, const double *edges,
                      const struct report_series *series, size_t n_series)
{
    struct buf *b = report_body(r);
    struct frame f = frame_of(plot);
    include(0, &f.y_min, &f.y_max);
    for (size_t k = 0; k < n_series; k++) {
        double sum = sum_of(&series[k]);
        for (size_t i = 0; i <= series[k].n; i++)
            include(edges[i], &f.x_min, &f.x_max);
        for (size_t i = 0; i < series[k].n && sum > 0; i++)
            include(series[k].y[i] / sum, &f.y_min, &f.y_max);
    }
    settle(&f, plot);
    begin(b, &f, plot);
    numeric_x_axis(b, &f);
    for (size_t k = 0; k < n_series; k++) {
        double sum = sum_of(&series[k]);
        for (size_t i = 0; i < series[k].n && sum > 0; i++) {
            double x0 = px(&f, edges[i]), x1 = px(&f, edges[i + 1]), y = py(&f, series[k].y[i] / sum);
            if (series[k].y[i] > 0)
                (void)
                    buf_addf(b,
                             "<rect class=\"hi c%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
                             k % COLOURS, x0, y, fmax(x1 - x0, 0.5), py(&f, 0) - y);
        }
    }
    legend(b, &f, series, n_series);
    (void)buf_adds(b, "</svg>\n");
}
