/* One frame of the live view: see ui.h. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "operator/cli/ui.h"

enum { BAR_COLUMNS = 16, NAME_COLUMNS_MAX = 24, LINE_BYTES_MAX = 4096 };

struct look {
    const char *unicode, *ascii, *color, *word;
};
static const struct look looks[] = {
    [STATE_WAITING] = {"·", ".", "2", "waiting"},
    [STATE_READY] = {"·", ".", "2", "ready"},
    [STATE_RUNNING] = {"●", "*", "34", "running"},
    [STATE_RETRYING] = {"↻", "~", "33", "retrying"},
    [STATE_SUCCEEDED] = {"✓", "+", "32", "succeeded"},
    [STATE_CACHED] = {"✓", "=", "36", "cached"},
    [STATE_SKIPPED] = {"–", "-", "2", "skipped"},
    [STATE_FAILED] = {"✗", "!", "31", "failed"},
    [STATE_STOPPED] = {"■", "#", "33", "stopped"},
    [STATE_AWAITING_APPROVAL] = {"?", "?", "35", "awaits approval"},
};

static void add_bar(struct buf *out, double fraction, bool unicode)
{
    static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double filled = fraction * BAR_COLUMNS;
    int full = (int)filled, rest = (int)((filled - full) * 8);
    (void)buf_addc(out, '[');
    for (int i = 0; i < BAR_COLUMNS; i++) {
        if (i < full)
            (void)buf_adds(out, unicode ? "█" : "#");
        else if (i == full && unicode)
            (void)buf_adds(out, eighths[rest]);
        else
            (void)buf_addc(out, i == full && rest >= 4 ? '>' : ' ');
    }
    (void)buf_addf(out, "] %3.0f %%", fraction * 100);
}

static size_t count_items(const struct step_status *s, bool (*which)(enum step_state))
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_items; i++)
        n += which(s->items[i].state);
    return n;
}

/* The running item that began first speaks for a fan-out. */
static const struct item_status *speaking_item(const struct step_status *s)
{
    const struct item_status *best = s->n_items ? &s->items[0] : NULL;
    for (size_t i = 0; i < s->n_items; i++) {
        const struct item_status *item = &s->items[i];
        if (item->state == s->state &&
            (best->state != s->state || item->attempt_started_ms < best->attempt_started_ms))
            best = item;
    }
    return best;
}

static const struct progress_entry *entry_of(const struct ui_view *v, const struct step_status *s,
                                             const struct item_status *i)
{
    return v->progress && i ? progress_find(v->progress, s->name, i->attempt, i - s->items) : NULL;
}

static void add_running(const struct ui_view *v, const struct step_status *s, bool unicode, struct buf *out)
{
    const struct item_status *item = speaking_item(s);
    const struct progress_entry *p = entry_of(v, s, item);
    double fraction = p ? p->fraction : item->progress;
    int64_t elapsed = v->now_ms - item->attempt_started_ms;
    char text[UI_TEXT_MAX], rate[64];
    if (s->n_items > 1) {
        size_t done = count_items(s, step_state_finished);
        add_bar(out, (double)done / (double)s->n_items, unicode);
        (void)buf_addf(out, "  %zu of %zu items", done, s->n_items);
        return;
    }
    if (fraction >= 0)
        add_bar(out, fraction > 1 ? 1 : fraction, unicode);
    else
        (void)buf_adds(out, item->stop_at_ms ? "stopping" : "running");
    ui_format_duration(elapsed, text);
    (void)buf_addf(out, "  %s", text);
    if (item->attempt > 1)
        (void)buf_addf(out, "  attempt %d", item->attempt);
    if (p) {
        ui_format_rate(p->metrics, rate);
        if (rate[0])
            (void)buf_addf(out, "  %s", rate);
    }
    if (fraction > 0.02 && fraction < 1 && elapsed > 1000) {
        ui_format_duration((int64_t)((double)elapsed * (1 - fraction) / fraction), text);
        (void)buf_addf(out, "  ETA %s", text);
    }
    if (p && p->message[0])
        (void)buf_addf(out, "  %s", p->message);
}

static void add_waiting(const struct ui_view *v, size_t index, struct buf *out)
{
    const struct step *step = &v->pipeline->steps[index];
    const struct step_status *status = v->status->steps;
    bool first = true;
    (void)buf_adds(out, looks[status[index].state].word);
    for (size_t i = 0; i < step->n_inputs + step->n_after; i++) {
        size_t from = i < step->n_inputs ? step->inputs[i].from : step->after[i - step->n_inputs];
        bool repeated = false;
        for (size_t k = 0; k < i; k++)
            repeated |= from == (k < step->n_inputs ? step->inputs[k].from : step->after[k - step->n_inputs]);
        if (repeated || step_state_finished(status[from].state))
            continue;
        (void)buf_addf(out, "%s%s", first ? " for " : ", ", status[from].name);
        first = false;
    }
}

static void add_ended(const struct ui_view *v, const struct step_status *s, struct buf *out)
{
    const struct item_status *item = speaking_item(s);
    const char *message = s->message ? s->message : item ? item->message : NULL;
    char text[UI_TEXT_MAX];
    (void)buf_addf(out, "%-9s", looks[s->state].word);
    if (item && item->started_ms && item->finished_ms &&
        (s->state == STATE_SUCCEEDED || s->state == STATE_FAILED)) {
        ui_format_duration(item->finished_ms - item->started_ms, text);
        (void)buf_addf(out, "  %s", text);
    }
    if (s->state == STATE_SUCCEEDED && item && item->attempt > 1)
        (void)buf_addf(out, "  %d attempts", item->attempt);
    if (s->state == STATE_RETRYING && item && item->retry_at_ms > v->now_ms) {
        ui_format_duration(item->retry_at_ms - v->now_ms, text);
        (void)buf_addf(out, " in %s", text);
    }
    if (s->n_items > 1) {
        (void)buf_addf(out, "  %zu items", s->n_items);
    } else if (item && (s->state == STATE_SUCCEEDED || s->state == STATE_CACHED)) {
        (void)buf_adds(out, "  ");
        ui_add_values(out, item->values, 200, true);
    } else if (message) {
        (void)buf_addf(out, "  %s", message);
    }
}

static void render_step(const struct ui_view *v, size_t index, size_t name_columns,
                        const struct ui_style *style, struct buf *out)
{
    const struct step_status *s = &v->status->steps[index];
    const struct look *look = &looks[s->state];
    const char *glyph = style->unicode ? look->unicode : look->ascii;
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_BYTES_MAX);
    _cleanup_buf_ struct buf name = BUF_INIT(LINE_BYTES_MAX);
    if (s->state == STATE_RUNNING && s->n_items > 0)
        add_running(v, s, style->unicode, &line);
    else if (s->state == STATE_WAITING || s->state == STATE_READY)
        add_waiting(v, index, &line);
    else
        add_ended(v, s, &line);
    ui_add_cut(&name, s->name, name_columns, style->unicode);
    if (style->color)
        (void)buf_addf(out, "  \033[%sm%s\033[0m %s", look->color, glyph, buf_str(&name));
    else
        (void)buf_addf(out, "  %s %s", glyph, buf_str(&name));
    for (size_t n = ui_columns(buf_str(&name)); n < name_columns + 2; n++)
        (void)buf_addc(out, ' ');
    size_t used = 4 + name_columns + 2;
    ui_add_cut(out, buf_str(&line), style->width > used + 1 ? style->width - used - 1 : 0, style->unicode);
    (void)buf_addc(out, '\n');
}

static void render_header(const struct ui_view *v, const struct ui_style *style, struct buf *out)
{
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_BYTES_MAX);
    char elapsed[UI_TEXT_MAX];
    size_t finished = 0;
    for (size_t i = 0; i < v->status->n_steps; i++)
        finished += step_state_finished(v->status->steps[i].state);
    int64_t end = v->status->finished_ms ? v->status->finished_ms : v->now_ms;
    ui_format_duration(v->status->started_ms ? end - v->status->started_ms : 0, elapsed);
    (void)buf_addf(&line, "%s  %s  %s  %zu of %zu steps", v->run->name, run_phase_name(v->status->phase),
                   elapsed, finished, v->status->n_steps);
    if (v->notice)
        (void)buf_addf(&line, "  %s", v->notice);
    if (style->color)
        (void)buf_adds(out, "\033[1m");
    ui_add_cut(out, buf_str(&line), style->width > 1 ? style->width - 1 : 1, style->unicode);
    (void)buf_adds(out, style->color ? "\033[0m\n" : "\n");
}

static bool is_active(enum step_state s)
{
    return s == STATE_RUNNING || s == STATE_RETRYING || s == STATE_FAILED || s == STATE_AWAITING_APPROVAL;
}

void ui_render(const struct ui_view *v, const struct ui_style *style, struct buf *out)
{
    size_t name_columns = 0, hidden = 0, shown = 0;
    size_t room =
        style->height > 4 ? style->height - 3 : 1; /* header, the line of what is hidden, the cursor's */
    bool all = v->status->n_steps <= room + 1;
    for (size_t i = 0; i < v->status->n_steps; i++) {
        size_t n = ui_columns(v->status->steps[i].name);
        name_columns = n > name_columns ? n : name_columns;
    }
    name_columns = name_columns > NAME_COLUMNS_MAX ? NAME_COLUMNS_MAX : name_columns;
    render_header(v, style, out);
    for (size_t i = 0; i < v->status->n_steps; i++) {
        if (all || (is_active(v->status->steps[i].state) && shown < room)) {
            render_step(v, i, name_columns, style, out);
            shown++;
        } else {
            hidden++;
        }
    }
    if (hidden)
        (void)buf_addf(out, "  %zu more steps wait or are done\n", hidden);
}
