/* A TrainingPipeline's reconciler: validate, keep its revision, start runs (SpecChange, Schedule), pass on control from Git, retention, status. */
#pragma once

#include "operator/controller/controller.h"

/* queue_config.process of the pipeline queue; ends with queue_done() or queue_retry(). */
void pipeline_process(void *controller, const char *key);
void pipeline_stop_all(struct controller *c);
