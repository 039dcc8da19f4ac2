/* Included first in every C translation unit (by the Makefile): using one of these is a compile error. */
#pragma once

#ifndef __cplusplus
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(func, instead) "banned: " #func ", use " instead
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets
#pragma GCC poison localtime gmtime ctime asctime atoi atol atoll atof tmpnam mktemp
#undef BANNED
#endif
