/* Named places where a test may kill the process: the phases of every publishing write.
 *
 * In builds without FAILPOINTS=1 this is nothing at all. With it, TRAINYARD_FAILPOINT="name[:n]" makes
 * the n-th passage (default first) through that name, in this process, end it with SIGKILL, and
 * TRAINYARD_FAILPOINT_COUNT=FILE counts the passages of all processes of a run together instead, so exactly one of them is ended;
 * TRAINYARD_FAILPOINT_LOG=FILE appends the name of each passage (for coverage). Names in use are
 * listed in tests/chaos/failpoints.txt; a lint compares both. */
#pragma once

#ifdef TRAINYARD_FAILPOINTS
void failpoint(const char *name);
#else
static inline void failpoint(const char *name)
{
    (void)name;
}
#endif
