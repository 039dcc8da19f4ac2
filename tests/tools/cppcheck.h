/* What cppcheck has to know of headers that it is not shown. */
#define cJSON_ArrayForEach(e, a) for (e = (a) ? (a)->child : NULL; e; e = e->next)
#define steal_ptr(p) (p)
