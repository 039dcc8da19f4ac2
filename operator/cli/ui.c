/* The terminal, or a stream of lines: see ui.h. */
#include "operator/cli/ui.h"

#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"

enum { LIVE_MS = 200, PLAIN_MS = 1000, PLAIN_PROGRESS_MS = 15000, FRAME_BYTES_MAX = 1 << 20 };

/* What plain mode has said about an item. */
struct told {
    enum step_state state;
    int attempt;
    int64_t progress_ms; /* when its progress was last told */
    double fraction;
};

struct ui {
    FILE *out;
    enum ui_mode mode;
    struct ui_style style;
    unsigned frame_lines; /* of the frame on the screen */
    struct told **told;   /* per step, per item */
    size_t *n_told, n_steps;
    enum run_phase phase; /* last told */
};

static bool locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG", NULL};
    for (const char *const *n = names; *n; n++) {
        const char *v = getenv(*n);
        if (v && *v) /* the first that is set decides, as in setlocale(3) */
            return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

struct ui_style ui_style_of(FILE *out)
{
    struct winsize size = {0};
    int fd = fileno(out);
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool terminal = isatty(fd) && term && strcmp(term, "dumb") != 0;
    struct ui_style style = {.width = terminal ? 80 : 400, /* a file cuts nothing */
                             .height = 50,
                             .unicode = locale_is_utf8(),
                             .color = terminal && !(no_color && *no_color)};
    if (terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        style.width = size.ws_col;
        style.height = size.ws_row;
    }
    return style;
}

struct ui *ui_new(FILE *out, bool plain, bool silent)
{
    struct ui *ui = xcalloc(1, sizeof *ui);
    const char *term = getenv("TERM");
    bool terminal = isatty(fileno(out)) && term && *term && strcmp(term, "dumb") != 0;
    ui->out = out;
    ui->mode = silent ? UI_SILENT : terminal && !plain ? UI_LIVE : UI_PLAIN;
    ui->style = ui_style_of(out);
    return ui;
}

struct ui *ui_free(struct ui *ui)
{
    if (!ui)
        return NULL;
    for (size_t i = 0; i < ui->n_steps; i++)
        free(ui->told[i]);
    free(ui->told);
    free(ui->n_told);
    (void)fflush(ui->out);
    free(ui);
    return NULL;
}

enum ui_mode ui_mode(const struct ui *ui)
{
    return ui->mode;
}

int ui_interval_ms(const struct ui *ui)
{
    return ui->mode == UI_LIVE ? LIVE_MS : ui->mode == UI_PLAIN ? PLAIN_MS : -1;
}

void ui_resized(struct ui *ui)
{
    ui->style = ui_style_of(ui->out);
}

static void erase_frame(struct ui *ui)
{
    if (ui->frame_lines > 0)
        (void)fprintf(ui->out, "\033[%uA\r\033[J", ui->frame_lines);
    ui->frame_lines = 0;
}

static void say_line(struct ui *ui, int64_t now_ms, const char *text)
{
    char time[CLOCK_RFC3339_MAX];
    if (ui->mode == UI_SILENT)
        return;
    erase_frame(ui);
    clock_format_rfc3339(now_ms / 1000 * 1000, time);
    (void)fprintf(ui->out, "%.8s  %s\n", time + 11, text);
    (void)fflush(ui->out);
}

void ui_say(struct ui *ui, int64_t now_ms, const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * 1024);
    va_list ap;
    va_start(ap, fmt);
    (void)buf_vaddf(&text, fmt, ap);
    va_end(ap);
    say_line(ui, now_ms, buf_str(&text));
}

/* --- live --------------------------------------------------------------------------------------------- */

static void draw(struct ui *ui, const struct ui_view *view)
{
    _cleanup_buf_ struct buf frame = BUF_INIT(FRAME_BYTES_MAX);
    ui_render(view, &ui->style, &frame);
    erase_frame(ui);
    (void)fputs(buf_str(&frame), ui->out);
    (void)fflush(ui->out);
    for (const char *c = buf_str(&frame); *c; c++)
        ui->frame_lines += *c == '\n';
}

/* --- plain -------------------------------------------------------------------------------------------- */

static struct told *told_of(struct ui *ui, const struct run_status *status, size_t step)
{
    const struct step_status *s = &status->steps[step];
    if (!ui->told) { /* the first time that the steps are known */
        ui->n_steps = status->n_steps;
        ui->told = xcalloc(ui->n_steps + 1, sizeof *ui->told);
        ui->n_told = xcalloc(ui->n_steps + 1, sizeof *ui->n_told);
    }
    if (ui->n_told[step] < s->n_items) {
        ui->told[step] = xreallocarray(ui->told[step], s->n_items, sizeof **ui->told);
        for (size_t i = ui->n_told[step]; i < s->n_items; i++)
            ui->told[step][i] = (struct told){.state = STATE_WAITING, .fraction = -1};
        ui->n_told[step] = s->n_items;
    }
    return ui->told[step];
}

/* What is worth a line when an item enters a state; nothing for the states of waiting. */
static void describe(const struct item_status *i, struct buf *out)
{
    char took[UI_TEXT_MAX];
    switch (i->state) {
    case STATE_RUNNING:
        (void)buf_addf(out, "started%s", i->attempt > 1 ? " again" : "");
        if (i->attempt > 1)
            (void)buf_addf(out, ", attempt %d", i->attempt);
        break;
    case STATE_SUCCEEDED:
        ui_format_duration(i->finished_ms - i->started_ms, took);
        (void)buf_addf(out, "succeeded in %s", took);
        if (cJSON_GetArraySize(i->values) > 0) {
            (void)buf_adds(out, ": ");
            ui_add_values(out, i->values, 400, true);
        }
        break;
    case STATE_CACHED: /* the note begins with the word */
        (void)buf_adds(out, i->cache_note ? i->cache_note : "cached");
        break;
    case STATE_RETRYING: /* the planner's message names attempt, cause and delay */
        (void)buf_addf(out, "retries%s%s%s: %s", i->fail != FAIL_NONE ? " (" : "", fail_class_name(i->fail),
                       i->fail != FAIL_NONE ? ")" : "",
                       i->message ? i->message : "its last attempt was lost");
        break;
    case STATE_FAILED:
    case STATE_SKIPPED:
    case STATE_STOPPED:
    case STATE_AWAITING_APPROVAL:
        (void)buf_addf(out, "%s%s%s",
                       i->state == STATE_FAILED    ? "failed"
                       : i->state == STATE_SKIPPED ? "skipped"
                       : i->state == STATE_STOPPED ? "stopped"
                                                   : "awaits approval",
                       i->message ? ": " : "", i->message ? i->message : "");
        break;
    case STATE_WAITING:
    case STATE_READY:
        break;
    }
}

static void tell_progress(struct ui *ui, const struct ui_view *v, const struct step_status *s, size_t item,
                          struct told *t)
{
    const struct progress_entry *p =
        v->progress ? progress_find(v->progress, s->name, s->items[item].attempt, (int64_t)item) : NULL;
    if (!p || p->fraction < 0 || p->fraction == t->fraction || v->now_ms - t->progress_ms < PLAIN_PROGRESS_MS)
        return;
    char rate[64];
    ui_format_rate(p->metrics, rate);
    _cleanup_free_ char *name = ui_item_name(s, item);
    ui_say(ui, v->now_ms, "%s: %.0f %%%s%s%s%s", name, p->fraction * 100, rate[0] ? "  " : "", rate,
           p->message[0] ? "  " : "", p->message);
    t->progress_ms = v->now_ms;
    t->fraction = p->fraction;
}

static void tell_changes(struct ui *ui, const struct ui_view *v)
{
    for (size_t k = 0; k < v->status->n_steps; k++) {
        const struct step_status *s = &v->status->steps[k];
        struct told *told = told_of(ui, v->status, k);
        for (size_t i = 0; i < s->n_items; i++) {
            const struct item_status *item = &s->items[i];
            struct told *t = &told[i];
            bool changed =
                item->state != t->state || (item->attempt != t->attempt && item->state == STATE_RUNNING);
            _cleanup_buf_ struct buf text = BUF_INIT(16 * 1024);
            if (changed)
                describe(item, &text);
            if (text.len > 0) {
                _cleanup_free_ char *name = ui_item_name(s, i);
                ui_say(ui, v->now_ms, "%s: %s", name, buf_str(&text));
                t->progress_ms = v->now_ms;
            }
            t->state = item->state;
            t->attempt = item->attempt;
            if (item->state == STATE_RUNNING)
                tell_progress(ui, v, s, i, t);
        }
    }
}

void ui_begin(struct ui *ui, const struct ui_view *view)
{
    const struct run_status *status = view->status;
    size_t done = 0;
    if (ui->mode != UI_PLAIN)
        return;
    for (size_t k = 0; k < status->n_steps; k++) {
        struct told *told = told_of(ui, status, k);
        for (size_t i = 0; i < status->steps[k].n_items; i++) {
            told[i].state = status->steps[k].items[i].state;
            told[i].attempt = status->steps[k].items[i].attempt;
        }
        done += step_state_finished(status->steps[k].state);
    }
    if (status->n_steps == 0)
        ui_say(ui, view->now_ms, "run %s begins", view->run->name);
    else
        ui_say(ui, view->now_ms, "run %s goes on: %zu of %zu steps have ended", view->run->name, done,
               status->n_steps);
    ui->phase = PHASE_RUNNING;
}

void ui_update(struct ui *ui, const struct ui_view *view)
{
    if (ui->mode == UI_LIVE)
        draw(ui, view);
    if (ui->mode != UI_PLAIN)
        return;
    tell_changes(ui, view);
    if (view->status->phase != ui->phase)
        ui_say(ui, view->now_ms, "run %s: %s", view->run->name, run_phase_name(view->status->phase));
    ui->phase = view->status->phase;
}
