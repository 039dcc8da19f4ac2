#include "operator/cli/columns.h"

#include <stdarg.h>
#include <stdint.h>

#include "common/base/alloc.h"
#include "operator/cli/ui.h"

enum { GAP = 2, CELL_BYTES_MAX = 64 * 1024 };

struct columns {
    const char *const *titles;
    size_t n_titles;
    size_t *widths;
    char **cells;
    size_t n, capacity;
};

struct columns *columns_new(const char *const *titles)
{
    struct columns *c = xcalloc(1, sizeof *c);
    c->titles = titles;
    while (titles[c->n_titles])
        c->n_titles++;
    c->widths = xcalloc(c->n_titles + 1, sizeof *c->widths);
    for (size_t i = 0; i < c->n_titles; i++)
        c->widths[i] = ui_columns(titles[i]);
    return c;
}

struct columns *columns_free(struct columns *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->n; i++)
        free(c->cells[i]);
    free(c->cells);
    free(c->widths);
    free(c);
    return NULL;
}

void columns_add(struct columns *c, const char *text)
{
    char *cell = xstrdup(text && *text ? text : "-");
    size_t column = c->n % c->n_titles, width = ui_columns(cell);
    for (char *p = cell; *p; p++)
        *p = (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p;
    if (width > c->widths[column])
        c->widths[column] = width;
    c->cells = grow_array(c->cells, &c->capacity, c->n, sizeof *c->cells);
    c->cells[c->n++] = cell;
}

void columns_addf(struct columns *c, const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF_INIT(CELL_BYTES_MAX);
    va_list ap;
    va_start(ap, fmt);
    (void)buf_vaddf(&text, fmt, ap);
    va_end(ap);
    columns_add(c, buf_str(&text));
}

size_t columns_rows(const struct columns *c)
{
    return (c->n + c->n_titles - 1) / c->n_titles;
}

static void print_row(const struct columns *c, const char *const *cells, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        (void)buf_adds(out, cells[i]);
        for (size_t k = ui_columns(cells[i]); i + 1 < n && k < c->widths[i] + GAP; k++)
            (void)buf_addc(out, ' ');
    }
    (void)buf_addc(out, '\n');
}

void columns_print(const struct columns *c, struct buf *out)
{
    print_row(c, c->titles, c->n_titles, out);
    for (size_t i = 0; i < c->n; i += c->n_titles)
        print_row(c, (const char *const *)c->cells + i, c->n - i < c->n_titles ? c->n - i : c->n_titles, out);
}
