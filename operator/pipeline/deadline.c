/* Clocks that can stand still: see deadline.h. */
#include "operator/pipeline/deadline.h"

static int64_t stretch_ms(const struct stopwatch *w, int64_t now_ms)
{
    return w->since_ms != 0 && now_ms > w->since_ms ? now_ms - w->since_ms : 0;
}

void stopwatch_run(struct stopwatch *w, int64_t now_ms)
{
    if (w->since_ms == 0)
        w->since_ms = now_ms;
}

void stopwatch_stop(struct stopwatch *w, int64_t now_ms)
{
    w->counted_ms += stretch_ms(w, now_ms);
    w->since_ms = 0;
}

int64_t stopwatch_read(const struct stopwatch *w, int64_t now_ms)
{
    return w->counted_ms + stretch_ms(w, now_ms);
}

int64_t stopwatch_due(const struct stopwatch *w, int64_t limit_ms)
{
    if (limit_ms <= 0 || w->since_ms == 0)
        return 0;
    return w->since_ms + (limit_ms - w->counted_ms);
}

bool stopwatch_passed(const struct stopwatch *w, int64_t limit_ms, int64_t now_ms)
{
    return limit_ms > 0 && stopwatch_read(w, now_ms) >= limit_ms;
}

int64_t deadline_earlier(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}
