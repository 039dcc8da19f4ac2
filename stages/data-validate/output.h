/* What the step leaves: profile.json, report.html with violations.json, values. */
#pragma once

#include "stages/data-validate/judge.h"

/* Into stage_output(run, "profile"). */
int output_profile(const struct judge *j, struct err *err);
/* The findings with their sample rows, beside the report. */
int output_violations(const struct judge *j, const char *dir, struct err *err);
/* Both into stage_output(run, "report"): without a schema only what is wrong with it. */
int output_report(const struct judge *j, struct err *err);
