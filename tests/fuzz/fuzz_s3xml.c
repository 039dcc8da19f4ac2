/* libFuzzer: any bytes as the XML answer of an S3 store: scanned to its end or to an error, as a page of a listing, and
 * searched for an error code. Depth and text stay within their maxima. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/s3_list.h"
#include "common/store/xml.h"

static int each(void *ctx, const struct store_object *o, struct err *err)
{
    (void)ctx, (void)err;
    if (!o->key || strlen(o->key) > XML_TEXT_MAX || o->size < 0 || strlen(o->etag) >= STORE_ETAG_MAX)
        __builtin_trap();
    return 0;
}

/* Starts and ends balance; the scanner always moves on. */
static void scan(const char *text, size_t size)
{
    _cleanup_xml_ struct xml x;
    struct err err = ERR_INIT;
    enum xml_event event = XML_START;
    size_t events = 0;
    int open = 0;
    xml_init(&x, text, size);
    while (event != XML_DONE) {
        if (xml_next(&x, &event, &err) < 0)
            return;
        open += event == XML_START ? 1 : event == XML_END ? -1 : 0;
        if (open < 0 || open > XML_DEPTH_MAX || x.value.len > XML_TEXT_MAX || ++events > 2 * size + 2)
            __builtin_trap();
    }
    if (open != 0)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* not terminated, so that reading beyond it shows */
    struct err err = ERR_INIT;
    struct s3_page page = {0};
    char code[64];
    memcpy(text, data, size);
    scan(text, size);
    if (s3_list_page(text, size, each, NULL, &page, &err) == 0)
        free(page.next);
    (void)xml_find(text, size, "Error/Code", code, sizeof code);
    free(text);
    return 0;
}
