/* The format of `snapshot`, for its readers.
 *
 * Files data/<NNNNN>-<partition>[.<MMMM>].parquet, one for each source file of the window: NNNNN counts partitions from the oldest, MMMM
 * the files of a partition when it has several, <partition> is its name with everything but letters, digits, '=', '.', '_' and '-'
 * replaced by '_'. So the order of file names is the order of partitions, oldest first, and of the files in them; rows keep
 * the order of their source file. Readers that need a total order use (file name, row number in the file).
 *
 * All parts have the same columns in the same order with the same types: those of the newest partition's first file, each column that the
 * rules list with its listed type (narrower ones are widened), a column missing in an older partition as NULL. A folder's
 * key=value is a column only if the rules list it. A Parquet file that is so already is taken byte for byte; everything else
 * is rewritten by one thread, zstd, in source order. So a part depends on its source file and the schema alone: equal days give
 * equal parts in every window, and parts are stored once (artifact.h: shared).
 *
 * The manifest's config has what was validated, without places: "rows" (string), "partitions" (count), "columns" [{name, type}]. */
#pragma once

#define SNAPSHOT_DATA "data"
