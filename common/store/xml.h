/* A pull scanner for the small XML documents S3 and STS answer with: elements and text, the five named entities and
 * numeric ones, comments, CDATA and the declaration skipped or read; no DTD (refused), no namespaces (a prefix is cut off). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum { XML_DEPTH_MAX = 16, XML_NAME_MAX = 64, XML_TEXT_MAX = 64 * 1024 };

enum xml_event { XML_START, XML_TEXT, XML_END, XML_DONE };

struct xml {
    const char *text, *at, *end;             /* borrowed */
    char names[XML_DEPTH_MAX][XML_NAME_MAX]; /* of the open elements */
    int depth;
    struct buf value; /* decoded text of the last XML_TEXT */
    bool empty_element, ended, seen_root;
};

void xml_init(struct xml *x, const char *text, size_t len);
void xml_release(struct xml *x);
/* The next event; XML_START and XML_END leave the element's name in xml_name(). Unbalanced, unterminated or too deep
 * documents are ERR_INVALID with the byte offset. */
int xml_next(struct xml *x, enum xml_event *ret, struct err *err);
/* Name of the element that started, ended or holds the text. */
const char *xml_name(const struct xml *x);
/* The path of open elements as "Root/Child" ends with these names? xml_at(x, "Contents/Key") */
bool xml_at(const struct xml *x, const char *path);

/* The text of the first element at that path, copied into ret ("" if absent). False if absent, too long or not XML. */
bool xml_find(const char *text, size_t len, const char *path, char *ret, size_t ret_size);

#define _cleanup_xml_ CLEANUP(xml_release)
