/* The XML scanner: see xml.h. */
#include "common/store/xml.h"

#include <stdint.h>

#include "common/base/text.h"

void xml_init(struct xml *x, const char *text, size_t len)
{
    *x = (struct xml){.text = text, .at = text, .end = text + len, .value = BUF_INIT(XML_TEXT_MAX)};
}

void xml_release(struct xml *x)
{
    buf_release(&x->value);
}

static int fail(const struct xml *x, struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "XML answer, byte %zu: %s", (size_t)(x->at - x->text), what);
}

const char *xml_name(const struct xml *x)
{
    return x->depth > 0 ? x->names[x->depth - 1] : "";
}

bool xml_at(const struct xml *x, const char *path)
{
    int depth = x->depth;
    for (const char *end = path + strlen(path); end > path && depth > 0; depth--) {
        const char *start = end;
        while (start > path && start[-1] != '/')
            start--;
        size_t len = (size_t)(end - start);
        if (strlen(x->names[depth - 1]) != len || memcmp(x->names[depth - 1], start, len) != 0)
            return false;
        if (start == path)
            return true;
        end = start - 1;
    }
    return false;
}

static bool starts(const struct xml *x, const char *s)
{
    size_t n = strlen(s);
    return (size_t)(x->end - x->at) >= n && memcmp(x->at, s, n) == 0;
}

/* Moves behind the next occurrence of s; false if there is none. */
static bool skip_past(struct xml *x, const char *s)
{
    size_t n = strlen(s);
    const char *found = memmem(x->at, (size_t)(x->end - x->at), s, n);
    if (!found)
        return false;
    x->at = found + n;
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Reads a name, without its namespace prefix, into `ret`. */
static int read_name(struct xml *x, char ret[static XML_NAME_MAX], struct err *err)
{
    const char *start = x->at;
    while (x->at < x->end && !is_space(*x->at) && *x->at != '>' && *x->at != '/' && *x->at != '<' &&
           *x->at != '=')
        if (*x->at++ == ':')
            start = x->at;
    size_t n = (size_t)(x->at - start);
    if (n == 0 || n >= XML_NAME_MAX || memchr(start, '\0', n))
        return fail(x, err, "expected an element's name of at most 63 bytes");
    memcpy(ret, start, n);
    ret[n] = '\0';
    return 0;
}

static int start_tag(struct xml *x, struct err *err)
{
    x->at++; /* < */
    if (x->depth == XML_DEPTH_MAX)
        return fail(x, err, "elements nested too deeply");
    if (x->depth == 0 && x->seen_root)
        return fail(x, err, "a second root element");
    if (read_name(x, x->names[x->depth], err) < 0)
        return -1;
    x->seen_root = true;
    x->depth++;
    for (char quote = 0; x->at < x->end; x->at++) { /* attributes are of no interest */
        char c = *x->at;
        if (quote) {
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '<') {
            break;
        } else if (c == '>') {
            x->empty_element = x->at[-1] == '/';
            x->at++;
            return 0;
        }
    }
    return fail(x, err, "an unterminated tag");
}

static int end_tag(struct xml *x, struct err *err)
{
    char name[XML_NAME_MAX];
    x->at += 2; /* </ */
    if (read_name(x, name, err) < 0)
        return -1;
    while (x->at < x->end && is_space(*x->at))
        x->at++;
    if (x->at == x->end || *x->at != '>')
        return fail(x, err, "an unterminated end tag");
    if (!text_equal(name, xml_name(x)))
        return fail(x, err, "an end tag that closes nothing");
    x->at++;
    return 0;
}

static void add_utf8(struct buf *out, uint32_t c)
{
    char s[4];
    size_t n = 0;
    if (c < 0x80) {
        s[n++] = (char)c;
    } else if (c < 0x800) {
        s[n++] = (char)(0xc0 | c >> 6);
        s[n++] = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        s[n++] = (char)(0xe0 | c >> 12);
        s[n++] = (char)(0x80 | (c >> 6 & 63));
        s[n++] = (char)(0x80 | (c & 63));
    } else {
        s[n++] = (char)(0xf0 | c >> 18);
        s[n++] = (char)(0x80 | (c >> 12 & 63));
        s[n++] = (char)(0x80 | (c >> 6 & 63));
        s[n++] = (char)(0x80 | (c & 63));
    }
    (void)buf_add(out, s, n);
}

/* At "&": appends what the entity stands for. */
static int entity(struct xml *x, struct err *err)
{
    static const struct {
        const char *text;
        char c;
    } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (starts(x, named[i].text)) {
            x->at += strlen(named[i].text);
            (void)buf_addc(&x->value, named[i].c);
            return 0;
        }
    if (!starts(x, "&#"))
        return fail(x, err, "an unknown entity");
    const char *p = x->at + 2;
    unsigned base = 10;
    if (p < x->end && *p == 'x') {
        base = 16;
        p++;
    }
    uint32_t code = 0;
    int digits = 0;
    for (; p < x->end && *p != ';'; p++, digits++) {
        char c = *p;
        unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                            : 99;
        if (d >= base || digits > 8 || (code = code * base + d) > 0x10ffff)
            return fail(x, err, "a bad character reference");
    }
    if (p == x->end || digits == 0 || code == 0 || (code >= 0xd800 && code < 0xe000))
        return fail(x, err, "a bad character reference");
    x->at = p + 1;
    add_utf8(&x->value, code);
    return 0;
}

static int cdata(struct xml *x, struct err *err)
{
    const char *start = x->at + strlen("<![CDATA[");
    if (!skip_past(x, "]]>"))
        return fail(x, err, "an unterminated CDATA section");
    (void)buf_add(&x->value, start, (size_t)(x->at - 3 - start));
    return 0;
}

/* Text up to the next tag, comments and CDATA within it included. */
static int text(struct xml *x, struct err *err)
{
    buf_reset(&x->value);
    while (x->at < x->end) {
        if (*x->at == '&') {
            if (entity(x, err) < 0)
                return -1;
        } else if (starts(x, "<![CDATA[")) {
            if (cdata(x, err) < 0)
                return -1;
        } else if (starts(x, "<!--")) {
            if (!skip_past(x, "-->"))
                return fail(x, err, "an unterminated comment");
        } else if (*x->at == '<') {
            break;
        } else {
            const char *start = x->at;
            while (x->at < x->end && *x->at != '<' && *x->at != '&')
                x->at++;
            (void)buf_add(&x->value, start, (size_t)(x->at - start));
        }
    }
    return buf_check(&x->value, "text of an XML answer", err);
}

/* Outside the root only white space, comments and processing instructions are allowed. */
static int skip_prolog(struct xml *x, struct err *err)
{
    while (x->at < x->end) {
        if (is_space(*x->at))
            x->at++;
        else if (starts(x, "<?")) {
            if (!skip_past(x, "?>"))
                return fail(x, err, "an unterminated declaration");
        } else if (starts(x, "<!--")) {
            if (!skip_past(x, "-->"))
                return fail(x, err, "an unterminated comment");
        } else if (starts(x, "\xef\xbb\xbf") && x->at == x->text)
            x->at += 3;
        else
            break;
    }
    return 0;
}

static int next_outside(struct xml *x, enum xml_event *ret, struct err *err)
{
    if (skip_prolog(x, err) < 0)
        return -1;
    if (x->at == x->end && x->seen_root) {
        *ret = XML_DONE;
        return 0;
    }
    if (x->at == x->end || *x->at != '<' || starts(x, "<!") || starts(x, "</"))
        return fail(x, err, x->seen_root ? "something after the root element" : "expected the root element");
    *ret = XML_START;
    return start_tag(x, err);
}

int xml_next(struct xml *x, enum xml_event *ret, struct err *err)
{
    if (x->ended) {
        x->ended = false;
        x->depth--;
    }
    if (x->empty_element) { /* <a/>: its end */
        x->empty_element = false;
        x->ended = true;
        *ret = XML_END;
        return 0;
    }
    if (x->depth == 0)
        return next_outside(x, ret, err);
    if (x->at == x->end)
        return fail(x, err, "ends within an element");
    if (starts(x, "</")) {
        x->ended = true;
        *ret = XML_END;
        return end_tag(x, err);
    }
    if (*x->at == '<' && !starts(x, "<!")) {
        *ret = XML_START;
        return start_tag(x, err);
    }
    if (*x->at == '<' && !starts(x, "<!--") && !starts(x, "<![CDATA["))
        return fail(x, err, "a declaration within an element");
    *ret = XML_TEXT;
    return text(x, err);
}

bool xml_find(const char *document, size_t len, const char *path, char *ret, size_t ret_size)
{
    _cleanup_xml_ struct xml x;
    xml_init(&x, document, len);
    enum xml_event event = XML_START;
    struct err ignored = ERR_INIT;
    ret[0] = '\0';
    while (event != XML_DONE) {
        if (xml_next(&x, &event, &ignored) < 0)
            return false;
        if (event != XML_TEXT || !xml_at(&x, path))
            continue;
        if (x.value.len >= ret_size || (x.value.len && memchr(x.value.data, '\0', x.value.len)))
            return false;
        memcpy(ret, buf_str(&x.value), x.value.len + 1);
        return true;
    }
    return false;
}
