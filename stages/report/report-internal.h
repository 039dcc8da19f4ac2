/* Between report.c and plot.c only. */
#pragma once

#include "stages/report/report.h"

/* The page's buffer, at the place where content goes. */
struct buf *report_body(struct report *r);
void report_escape(struct buf *out, const char *text);
