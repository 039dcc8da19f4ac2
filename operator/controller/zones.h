/* The machine's time zones, for schedules. */
#pragma once

#include "operator/pipeline/schedule.h"

/* Zones are read once and kept. */
extern const struct schedule_zones zones;
