/* Help, man page and Markdown from the tables of cli.h: one source, so they cannot disagree. */
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/cli.h"

enum { WIDTH = 80, INDENT = 2, HELP_COLUMN = 6 };

static const struct cli_option builtin_options[] = {
    {.name = "help", .short_name = 'h', .kind = CLI_FLAG, .help = "Print this help."},
    {.name = "version", .kind = CLI_FLAG, .help = "Print the version."},
    CLI_END,
};

static bool is_group(const struct cli_command *cmd)
{
    return cmd->commands != NULL;
}

static const char *synopsis(const struct cli_command *cmd)
{
    return is_group(cmd) ? "COMMAND …" : cmd->synopsis ? cmd->synopsis : "";
}

/* "-n, --name VALUE"; "--[no-]name" for flags that have a negation worth telling. */
static char *spelling(const struct cli_option *o)
{
    char short_form[8] = "";
    if (o->short_name)
        (void)snprintf(short_form, sizeof short_form, "-%c, ", o->short_name);
    /* A flag which is off unless asked for needs no "no-". */
    bool negatable = o->kind == CLI_FLAG && (o->env || o->fallback);
    bool valued = o->kind != CLI_FLAG;
    return xasprintf("%s--%s%s%s%s", short_form, negatable ? "[no-]" : "", o->name, valued ? " " : "",
                     !valued      ? ""
                     : o->metavar ? o->metavar
                                  : "VALUE");
}

/* The help sentences and what the table knows: choices, repetition, default, variable. */
static char *explanation(const struct cli_option *o)
{
    struct buf text = BUF_INIT(64 << 10);
    (void)buf_adds(&text, o->help ? o->help : "");
    if (o->choices) {
        (void)buf_adds(&text, " One of");
        for (const char *const *c = o->choices; *c; c++)
            (void)buf_addf(&text, "%s %s", c == o->choices ? "" : ",", *c);
        (void)buf_addc(&text, '.');
    }
    if (o->kind == CLI_LIST)
        (void)buf_adds(&text, " May be repeated.");
    if (o->fallback)
        (void)buf_addf(&text, " Default: %s.", *o->fallback ? o->fallback : "empty");
    if (o->env)
        (void)buf_addf(&text, " Environment: %s.", o->env);
    char *result = buf_take(&text);
    return result ? result : xstrdup("");
}

/* Columns a word takes: characters, not bytes. */
static size_t columns(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

/* Fills one paragraph, up to `len` bytes, between `indent` and WIDTH. */
static void add_filled(struct buf *out, const char *text, size_t len, int indent)
{
    size_t column = 0;
    const char *end = text + len;
    while (text < end) {
        size_t space = strspn(text, " \n");
        text += space;
        if (text >= end)
            break;
        size_t word = strcspn(text, " \n");
        if (text + word > end)
            word = (size_t)(end - text);
        size_t width = columns(text, word);
        if (column && column + 1 + width > WIDTH) {
            (void)buf_addc(out, '\n');
            column = 0;
        }
        (void)buf_addf(out, "%*s%.*s", column ? 1 : indent, "", (int)word, text);
        column = (column ? column + 1 : (size_t)indent) + width;
        text += word;
    }
    if (column)
        (void)buf_addc(out, '\n');
}

/* Calls for each paragraph; they are divided by blank lines. */
static bool next_paragraph(const char **cursor, const char **ret, size_t *ret_len)
{
    if (!*cursor)
        return false;
    *cursor += strspn(*cursor, "\n");
    if (!**cursor)
        return false;
    const char *gap = strstr(*cursor, "\n\n");
    *ret = *cursor;
    *ret_len = gap ? (size_t)(gap - *cursor) : strlen(*cursor);
    *cursor = gap;
    return true;
}

/* Verbatim lines. */
static void add_lines(struct buf *out, const char *text)
{
    size_t n = strlen(text);
    (void)buf_addf(out, "%s%s", text, n && text[n - 1] != '\n' ? "\n" : "");
}

/* --- help ------------------------------------------------------------------------------------------ */

static void help_options(struct buf *out, const struct cli_option *o)
{
    for (; o && o->name; o++) {
        _cleanup_free_ char *name = spelling(o);
        _cleanup_free_ char *text = explanation(o);
        (void)buf_addf(out, "%*s%s\n", INDENT, "", name);
        add_filled(out, text, strlen(text), HELP_COLUMN);
    }
}

static void help_commands(struct buf *out, const struct cli_command *cmd)
{
    int widest = 0;
    for (const struct cli_command *const *c = cmd->commands; *c; c++) {
        int n = (int)strlen((*c)->name) - (int)strlen(cmd->name) - 1;
        widest = n > widest ? n : widest;
    }
    (void)buf_adds(out, "\nCommands:\n");
    for (const struct cli_command *const *c = cmd->commands; *c; c++)
        (void)buf_addf(out, "%*s%-*s  %s\n", INDENT, "", widest, (*c)->name + strlen(cmd->name) + 1,
                       (*c)->summary);
    _cleanup_free_ char *name = cli_called(cmd);
    (void)buf_addf(out, "\nSee '%s COMMAND --help' for each.\n", name);
}

/* Lines that call the program call it by the name it has. */
static void help_examples(struct buf *out, const struct cli_command *cmd)
{
    size_t word = strcspn(cmd->name, " ");
    _cleanup_free_ char *own = xstrndup(cmd->name, word);
    for (const char *line = cmd->examples; *line; line += line[0] == '\n') {
        size_t n = strcspn(line, "\n");
        bool calls = n > word && strncmp(line, own, word) == 0 && line[word] == ' ';
        const char *rest = calls ? line + word : line;
        (void)buf_addf(out, "%s%s%.*s\n", n ? "  " : "", calls ? cli_program(own) : "",
                       (int)(n - (size_t)(rest - line)), rest);
        line += n;
    }
}

int cli_help(const struct cli_command *cmd, struct buf *out)
{
    const char *args = synopsis(cmd), *paragraph, *cursor = cmd->description;
    size_t len;
    _cleanup_free_ char *name = cli_called(cmd);
    (void)buf_addf(out, "Usage: %s %s%s%s\n\n", name, is_group(cmd) ? "" : "[OPTION…]",
                   *args && !is_group(cmd) ? " " : "", args);
    add_filled(out, cmd->summary, strlen(cmd->summary), 0);
    while (next_paragraph(&cursor, &paragraph, &len)) {
        (void)buf_addc(out, '\n');
        add_filled(out, paragraph, len, 0);
    }
    if (is_group(cmd))
        help_commands(out, cmd);
    (void)buf_adds(out, "\nOptions:\n");
    help_options(out, cmd->options);
    help_options(out, builtin_options);
    if (cmd->examples) {
        (void)buf_adds(out, "\nExamples:\n");
        help_examples(out, cmd);
    }
    return buf_failed(out) ? -1 : 0;
}

/* --- man page -------------------------------------------------------------------------------------- */

/* Text in roff: backslashes and hyphens are literal, a line that begins with a control character is guarded. */
static void add_roff(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool line_start = i == 0 || s[i - 1] == '\n';
        if (line_start && (s[i] == '.' || s[i] == '\''))
            (void)buf_adds(out, "\\&");
        if (s[i] == '\\')
            (void)buf_adds(out, "\\e");
        else if (s[i] == '-')
            (void)buf_adds(out, "\\-");
        else
            (void)buf_addc(out, s[i]);
    }
}

static void add_roff_text(struct buf *out, const char *s)
{
    add_roff(out, s, strlen(s));
}

static void man_options(struct buf *out, const struct cli_option *o)
{
    for (; o && o->name; o++) {
        _cleanup_free_ char *name = spelling(o);
        _cleanup_free_ char *text = explanation(o);
        (void)buf_adds(out, ".TP\n\\fB");
        add_roff_text(out, name);
        (void)buf_adds(out, "\\fR\n");
        add_roff_text(out, text);
        (void)buf_addc(out, '\n');
    }
}

/* "trainyard run" is the page trainyard-run. */
static void add_page_name(struct buf *out, const char *name, bool upper)
{
    for (; *name; name++) {
        char c = *name == ' ' ? '-' : *name;
        if (upper && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (c == '-')
            (void)buf_addc(out, '\\');
        (void)buf_addc(out, c);
    }
}

static void man_head(struct buf *out, const struct cli_command *cmd)
{
    (void)buf_adds(out, ".TH \"");
    add_page_name(out, cmd->name, true);
    (void)buf_addf(out, "\" 1 \"\" \"Trainyard %s\" \"Trainyard\"\n.SH NAME\n", trainyard_version);
    add_page_name(out, cmd->name, false);
    (void)buf_adds(out, " \\- ");
    add_roff_text(out, cmd->summary);
    (void)buf_adds(out, "\n.SH SYNOPSIS\n\\fB");
    add_roff_text(out, cmd->name);
    (void)buf_adds(out, is_group(cmd) ? "\\fR " : "\\fR [\\fIOPTION\\fR…] ");
    add_roff_text(out, synopsis(cmd));
    (void)buf_addc(out, '\n');
}

int cli_man(const struct cli_command *cmd, struct buf *out)
{
    man_head(out, cmd);
    const char *paragraph, *cursor = cmd->description;
    size_t len;
    for (const char *before = ".SH DESCRIPTION\n"; next_paragraph(&cursor, &paragraph, &len);
         before = ".PP\n") {
        (void)buf_adds(out, before);
        add_roff(out, paragraph, len);
        (void)buf_addc(out, '\n');
    }
    for (const struct cli_command *const *c = cmd->commands; c && *c; c++) {
        (void)buf_adds(out, c == cmd->commands ? ".SH COMMANDS\n.TP\n\\fB" : ".TP\n\\fB");
        add_page_name(out, (*c)->name, false);
        (void)buf_adds(out, "\\fR(1)\n");
        add_roff_text(out, (*c)->summary);
        (void)buf_addc(out, '\n');
    }
    (void)buf_adds(out, ".SH OPTIONS\n");
    man_options(out, cmd->options);
    man_options(out, builtin_options);
    if (cmd->examples) {
        (void)buf_adds(out, ".SH EXAMPLES\n.nf\n");
        add_roff_text(out, cmd->examples);
        (void)buf_adds(out, "\n.fi\n");
    }
    (void)buf_adds(
        out,
        ".SH EXIT STATUS\n0 on success; else as in sysexits(3): 64 usage, 65 bad data, 66 input missing,\n"
        "69 service unavailable, 70 internal error, 74 input or output failed,\n"
        "75 try again, 78 configuration.\n");
    return buf_failed(out) ? -1 : 0;
}

/* --- Markdown -------------------------------------------------------------------------------------- */

/* Text in a table cell or paragraph; code spans are the caller's. */
static void add_markdown(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strchr("|*_<>\\[]`", s[i]) && s[i])
            (void)buf_addc(out, '\\');
        (void)buf_addc(out, s[i]);
    }
}

static void markdown_options(struct buf *out, const struct cli_option *o)
{
    for (; o && o->name; o++) {
        _cleanup_free_ char *name = spelling(o);
        _cleanup_free_ char *text = explanation(o);
        (void)buf_adds(out, "| `");
        for (const char *p = name; *p; p++)
            (void)buf_addf(out, "%s%c", *p == '|' ? "\\" : "", *p);
        (void)buf_adds(out, "` | ");
        add_markdown(out, text, strlen(text));
        (void)buf_adds(out, " |\n");
    }
}

static void markdown_command(const struct cli_command *cmd, struct buf *out, int level)
{
    const char *args = synopsis(cmd), *paragraph, *cursor = cmd->description;
    size_t len;
    (void)buf_addf(out, "%.*s %s\n\n", level < 6 ? level : 6, "######", cmd->name);
    add_markdown(out, cmd->summary, strlen(cmd->summary));
    (void)buf_addf(out, "\n\n```\n%s %s%s%s\n```\n", cmd->name, is_group(cmd) ? "" : "[OPTION…]",
                   *args && !is_group(cmd) ? " " : "", args);
    while (next_paragraph(&cursor, &paragraph, &len)) {
        (void)buf_addc(out, '\n');
        add_markdown(out, paragraph, len);
        (void)buf_addc(out, '\n');
    }
    if (!is_group(cmd)) {
        (void)buf_adds(out, "\n| Option | Meaning |\n|---|---|\n");
        markdown_options(out, cmd->options);
        markdown_options(out, builtin_options);
    }
    if (cmd->examples) {
        (void)buf_adds(out, "\n```console\n");
        add_lines(out, cmd->examples);
        (void)buf_adds(out, "```\n");
    }
    (void)buf_addc(out, '\n');
    for (const struct cli_command *const *c = cmd->commands; c && *c; c++)
        markdown_command(*c, out, level + 1);
}

int cli_markdown(const struct cli_command *cmd, struct buf *out)
{
    markdown_command(cmd, out, 1);
    return buf_failed(out) ? -1 : 0;
}
