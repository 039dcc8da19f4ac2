/* The XML scanner on answers as S3 and STS give them, and on broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/store/xml.h"

/* "<a>" start, "[text]", "</a>" end, "." done, "!message" */
static void scan(const char *text, struct buf *out)
{
    _cleanup_xml_ struct xml x;
    xml_init(&x, text, strlen(text));
    for (;;) {
        struct err err = ERR_INIT;
        enum xml_event event;
        if (xml_next(&x, &event, &err) < 0) {
            (void)buf_addf(out, "!%s", err.msg);
            return;
        }
        if (event == XML_DONE) {
            (void)buf_adds(out, ".");
            return;
        }
        (void)buf_addf(out,
                       event == XML_START ? "<%s>"
                       : event == XML_END ? "</%s>"
                                          : "[%s]",
                       event == XML_TEXT ? buf_str(&x.value) : xml_name(&x));
    }
}

static void documents_become_events(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } table[] = {
        {"<a/>", "<a></a>."},
        {"<?xml version=\"1.0\"?>\n<a x='>' y=\"1/\"><b>t</b></a>\n", "<a><b>[t]</b></a>."},
        {"<s3:a xmlns:s3=\"u\"><s3:b/></s3:a>", "<a><b></b></a>."},
        {"<a>1 &lt;&amp;&#65;&#x20AC;&quot; 2</a>", "<a>[1 <&A\xe2\x82\xac\" 2]</a>."},
        {"<a>x<!-- c -->y<![CDATA[<z>&amp;]]></a>", "<a>[xy<z>&amp;]</a>."},
        {"<!-- c --><a>\n</a><!-- d -->", "<a>[\n]</a>."},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_buf_ struct buf found = BUF_INIT(10000);
        scan(table[i].text, &found);
        assert_string_equal(buf_str(&found), table[i].expected);
    }
}

static void broken_documents_are_errors(void **state)
{
    (void)state;
    static const char *const table[] = {
        "",
        " ",
        "x",
        "<",
        "<a",
        "<a>",
        "<a",
        "<a>t",
        "<a></b>",
        "<a></a",
        "<a></a><b/>",
        "<a/>x",
        "</a>",
        "<!DOCTYPE a><a/>",
        "<a><!ENTITY></a>",
        "<a>&nope;</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#;</a>",
        "<a>&#12",
        "<a><!-- ",
        "<a><![CDATA[x</a>",
        "<a x='1></a>",
        "< a/>",
        "<a><b</a>",
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>",
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_buf_ struct buf found = BUF_INIT(10000);
        scan(table[i], &found);
        if (!strstr(buf_str(&found), "!XML answer, byte "))
            fail_msg("%s: expected an error, found %s", table[i], buf_str(&found));
    }
}

static void elements_are_found_by_path(void **state)
{
    (void)state;
    static const char doc[] =
        "<Error><Code>SlowDown</Code><Message>Please &amp; wait</Message><Inner><Code>other</Code></Inner></Error>";
    char value[64];
    assert_true(xml_find(doc, strlen(doc), "Error/Code", value, sizeof value));
    assert_string_equal(value, "SlowDown");
    assert_true(xml_find(doc, strlen(doc), "Inner/Code", value, sizeof value));
    assert_string_equal(value, "other");
    assert_true(xml_find(doc, strlen(doc), "Message", value, sizeof value));
    assert_string_equal(value, "Please & wait");
    assert_false(xml_find(doc, strlen(doc), "Error/None", value, sizeof value));
    assert_false(xml_find(doc, strlen(doc), "Other/Error/Code", value, sizeof value));
    assert_false(xml_find(doc, strlen(doc), "Code", value, 5)); /* too long for the caller */
    assert_false(xml_find("<html>", 6, "Error/Code", value, sizeof value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_events),
        cmocka_unit_test(broken_documents_are_errors),
        cmocka_unit_test(elements_are_found_by_path),
    };
    return cmocka_run_group_tests_name("xml", tests, NULL, NULL);
}
