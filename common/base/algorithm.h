/* Algorithm versions: part of every cache and memo key. Raised only when the same input may give another
 * output; never with a release. */
#pragma once

#define ALGORITHM_DATA_VALIDATE "1"
#define ALGORITHM_FEATURIZE "1"
#define ALGORITHM_TRAIN_DDP "1"
#define ALGORITHM_EVALUATE "1"
#define ALGORITHM_REGISTER "1"
