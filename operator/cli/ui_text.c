/* Small formats for people: see ui.h. */
#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/cli/ui.h"

void ui_format_duration(int64_t ms, char ret[static UI_TEXT_MAX])
{
    int64_t s = ms < 0 ? 0 : (ms + 500) / 1000;
    if (ms < 10000)
        (void)snprintf(ret, UI_TEXT_MAX, "%.1f s", ms < 0 ? 0.0 : (double)ms / 1000);
    else if (s < 60)
        (void)snprintf(ret, UI_TEXT_MAX, "%" PRId64 " s", s);
    else if (s < 3600)
        (void)snprintf(ret, UI_TEXT_MAX, "%" PRId64 ":%02" PRId64, s / 60, s % 60);
    else
        (void)snprintf(ret, UI_TEXT_MAX, "%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60,
                       s % 60);
}

void ui_format_count(double n, char ret[static UI_TEXT_MAX])
{
    static const struct {
        double size;
        const char *suffix;
    } units[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (fabs(n) >= units[i].size * 0.99995) {
            (void)snprintf(ret, UI_TEXT_MAX, "%.1f%s", n / units[i].size, units[i].suffix);
            return;
        }
    }
    (void)snprintf(ret, UI_TEXT_MAX, "%.4g", n);
}

void ui_format_rate(const cJSON *metrics, char ret[static 64])
{
    static const char suffix[] = "_per_sec";
    const cJSON *m;
    ret[0] = '\0';
    cJSON_ArrayForEach(m, metrics)
    {
        if (!cJSON_IsNumber(m) || !text_ends_with(m->string, suffix))
            continue;
        _cleanup_free_ char *name = xstrndup(m->string, strlen(m->string) - strlen(suffix));
        const char *underscore = strrchr(name, '_');
        char count[UI_TEXT_MAX];
        ui_format_count(m->valuedouble, count);
        (void)snprintf(ret, 64, "%s %.20s/s", count, underscore ? underscore + 1 : name);
        return;
    }
}

size_t ui_columns(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void ui_add_cut(struct buf *out, const char *text, size_t columns, bool unicode)
{
    const char *mark = unicode ? "…" : "...";
    size_t mark_columns = unicode ? 1 : 3;
    bool cut = ui_columns(text) > columns;
    size_t keep = !cut ? SIZE_MAX : columns > mark_columns ? columns - mark_columns : 0;
    for (; *text; text++) {
        bool starts = ((unsigned char)*text & 0xc0) != 0x80;
        if (starts && keep-- == 0)
            break;
        (void)buf_addc(out, (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
    }
    if (cut && columns >= mark_columns)
        (void)buf_adds(out, mark);
}

static void add_value(struct buf *out, const cJSON *v)
{
    char number[32];
    if (cJSON_IsString(v)) {
        (void)buf_adds(out, v->valuestring);
    } else if (cJSON_IsBool(v)) {
        (void)buf_adds(out, cJSON_IsTrue(v) ? "true" : "false");
    } else if (cJSON_IsNumber(v)) {
        if (v->valuedouble == floor(v->valuedouble) && fabs(v->valuedouble) < 9e15)
            (void)snprintf(number, sizeof number, "%.0f", v->valuedouble);
        else
            (void)snprintf(number, sizeof number, "%.4g", v->valuedouble);
        (void)buf_adds(out, number);
    }
}

void ui_add_values(struct buf *out, const cJSON *values, size_t columns, bool unicode)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * 1024);
    const cJSON *v;
    cJSON_ArrayForEach(v, values)
    {
        (void)buf_addf(&text, "%s%s ", text.len ? ", " : "", v->string);
        add_value(&text, v);
    }
    ui_add_cut(out, buf_str(&text), columns, unicode);
}

char *ui_item_name(const struct step_status *s, size_t item)
{
    return s->axes ? xasprintf("%s[%zu]", s->name, item) : xstrdup(s->name);
}
