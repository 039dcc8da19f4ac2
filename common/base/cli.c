/* Parsing command lines by option table, and dispatch to subcommands: see cli.h. Help is in cli_docs.c. */
#include "common/base/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"

const char trainyard_version[] = TRAINYARD_VERSION;

static int usage(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int usage(struct err *err, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "%s", text);
}

static const char *program;

void cli_set_program(const char *name)
{
    program = name;
}

const char *cli_program(const char *otherwise)
{
    return program ? program : otherwise;
}

char *cli_called(const struct cli_command *cmd)
{
    return program ? xasprintf("%s%s", program, cmd->name + strcspn(cmd->name, " ")) : xstrdup(cmd->name);
}

/* --- values ---------------------------------------------------------------------------------------- */

/* A place in the struct of values; the kind in the table says of which type it is. */
static void *slot(void *values, const struct cli_option *o)
{
    return (char *)values + o->offset;
}

static int parse_flag(const char *text, bool *ret, struct err *err)
{
    static const char *const yes[] = {"true", "1", "yes", "on", NULL}, *const no[] = {"false", "0", "no",
                                                                                      "off", NULL};
    for (size_t i = 0; yes[i]; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *ret = strcmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "expected true or false, found \"%s\"", text);
}

static int parse_choice(const struct cli_option *o, const char *text, const char **ret, struct err *err)
{
    for (const char *const *c = o->choices; c && *c; c++) {
        if (strcmp(*c, text) == 0) {
            *ret = text;
            return 0;
        }
    }
    if (!o->choices) {
        *ret = text;
        return 0;
    }
    _cleanup_buf_ struct buf list = BUF_INIT(ERR_MSG_MAX);
    for (const char *const *c = o->choices; *c; c++)
        (void)buf_addf(&list, "%s%s", c == o->choices ? "" : ", ", *c);
    const char *near = text_nearest(text, o->choices);
    return err_set(err, ERR_INVALID, "expected one of %s, found \"%s\"%s%s%s", buf_str(&list), text,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Bounds are told in the option's own unit: milliseconds and bytes read badly. */
static void format_bound(enum cli_kind kind, int64_t v, char ret[static 32])
{
    static const struct {
        const char *name;
        int64_t size;
    } times[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}},
      sizes[] = {{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}, {"", 1}};
    bool time = kind == CLI_DURATION;
    size_t n = kind == CLI_INT || v == 0 ? 0 : time ? ARRAY_SIZE(times) : ARRAY_SIZE(sizes);
    for (size_t i = 0; i < n; i++) {
        int64_t size = time ? times[i].size : sizes[i].size;
        if (v % size == 0) {
            (void)snprintf(ret, 32, "%lld%s", (long long)(v / size), time ? times[i].name : sizes[i].name);
            return;
        }
    }
    (void)snprintf(ret, 32, "%lld", (long long)v);
}

static int parse_integer(const struct cli_option *o, const char *text, int64_t *ret, struct err *err)
{
    int64_t v;
    int r = o->kind == CLI_DURATION ? clock_parse_duration(text, &v, err)
            : o->kind == CLI_BYTES  ? text_parse_quantity(text, false, &v, err)
                                    : text_parse_int(text, &v, err);
    if (r < 0)
        return -1;
    if ((o->min || o->max) && (v < o->min || v > o->max)) {
        char low[32], high[32];
        format_bound(o->kind, o->min, low);
        format_bound(o->kind, o->max, high);
        return err_set(err, ERR_INVALID, "expected at least %s and at most %s, found %s", low, high, text);
    }
    *ret = v;
    return 0;
}

static void list_add(struct cli_list *l, const char *item)
{
    l->items = grow_array(l->items, &l->capacity, l->n, sizeof *l->items);
    l->items[l->n++] = item;
}

void cli_list_release(struct cli_list *l)
{
    free(l->items);
    *l = (struct cli_list){0};
}

/* `origin` tells where the text stands: "--workers" or "environment variable X". */
static int store(const struct cli_option *o, const char *origin, const char *text, void *values,
                 struct err *err)
{
    void *p = slot(values, o);
    struct err why = ERR_INIT;
    int r = 0;
    switch (o->kind) {
    case CLI_FLAG:
        r = parse_flag(text, p, &why);
        break;
    case CLI_STRING:
        r = parse_choice(o, text, p, &why);
        break;
    case CLI_INT:
    case CLI_DURATION:
    case CLI_BYTES:
        r = parse_integer(o, text, p, &why);
        break;
    case CLI_DOUBLE:
        r = text_parse_double(text, p, &why);
        break;
    case CLI_LIST:
        list_add(p, text);
        break;
    }
    return r < 0 ? usage(err, "%s: %s", origin, why.msg) : 0;
}

/* --- finding options ------------------------------------------------------------------------------- */

static const struct cli_option no_options[] = {CLI_END};

static const struct cli_option *options_of(const struct cli_command *cmd)
{
    return cmd->options ? cmd->options : no_options;
}

struct match {
    const struct cli_option *option; /* NULL: a built-in one */
    const char *builtin;
    bool negated;
};

static const char *const builtins[] = {"help", "version", "help-man", "help-markdown", NULL};

/* All spellings the table accepts, as "name" and "no-name"; freed by free_names. */
static char **option_names(const struct cli_command *cmd)
{
    size_t n = 0;
    for (const struct cli_option *o = options_of(cmd); o->name; o++)
        n += 2;
    char **names = xcalloc(n + 3, sizeof *names);
    n = 0;
    for (const struct cli_option *o = options_of(cmd); o->name; o++) {
        names[n++] = xstrdup(o->name);
        if (o->kind == CLI_FLAG)
            names[n++] = xasprintf("no-%s", o->name);
    }
    names[n++] = xstrdup("help");
    names[n] = xstrdup("version");
    return names;
}

static void free_names(char ***names)
{
    for (char **p = *names; *p; p++)
        free(*p);
    free(*names);
}

/* Exactly this name. */
static bool resolve(const struct cli_command *cmd, const char *name, struct match *ret)
{
    for (const struct cli_option *o = options_of(cmd); o->name; o++) {
        bool negated = o->kind == CLI_FLAG && text_starts_with(name, "no-") && strcmp(name + 3, o->name) == 0;
        if (negated || strcmp(name, o->name) == 0) {
            *ret = (struct match){.option = o, .negated = negated};
            return true;
        }
    }
    for (const char *const *b = builtins; *b; b++) {
        if (strcmp(name, *b) == 0) {
            *ret = (struct match){.builtin = *b};
            return true;
        }
    }
    return false;
}

/* By exact name or unambiguous beginning. */
static int find_long(const struct cli_command *cmd, const char *name, struct match *ret, struct err *err)
{
    if (resolve(cmd, name, ret))
        return 0;
    CLEANUP(free_names) char **names = option_names(cmd);
    const char *found = NULL;
    for (char **p = names; *p; p++) {
        if (!*name || !text_starts_with(*p, name))
            continue;
        if (found)
            return usage(err, "--%s is ambiguous: it could be --%s or --%s", name, found, *p);
        found = *p;
    }
    if (found && resolve(cmd, found, ret))
        return 0;
    const char *near = text_nearest(name, (const char *const *)names);
    if (near)
        return usage(err, "unknown option --%s; did you mean --%s?", name, near);
    return usage(err, "unknown option --%s", name);
}

/* --- parsing --------------------------------------------------------------------------------------- */

struct parser {
    const struct cli_command *cmd;
    int argc, next; /* of argv */
    char **argv;
    int positional; /* so many were moved to the front */
    void *values;
    bool *given; /* by position in the table: set on the command line */
    const char *builtin;
    struct err *err;
};

static int print(int (*render)(const struct cli_command *cmd, struct buf *out), const struct cli_command *cmd,
                 struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 << 20);
    if (render(cmd, &text) < 0)
        return buf_check(&text, "help text", err);
    if (fputs(buf_str(&text), stdout) == EOF || fflush(stdout) == EOF)
        return err_errno(err, errno, "cannot write to standard output");
    return 0;
}

static int version(const struct cli_command *cmd, struct buf *out)
{
    _cleanup_free_ char *word = xstrndup(cmd->name, strcspn(cmd->name, " "));
    return buf_addf(out, "%s %s\n", cli_program(word), trainyard_version);
}

static int run_builtin(const struct cli_command *cmd, const char *name, struct err *err)
{
    if (strcmp(name, "version") == 0)
        return print(version, cmd, err) < 0 ? -1 : CLI_VERSION;
    int r = strcmp(name, "help-man") == 0        ? print(cli_man, cmd, err)
            : strcmp(name, "help-markdown") == 0 ? print(cli_markdown, cmd, err)
                                                 : print(cli_help, cmd, err);
    return r < 0 ? -1 : CLI_HELP;
}

/* The value of an option: behind "=" or the next argument. */
static int take_value(struct parser *p, const char *shown, const char *attached, const char *metavar,
                      const char **ret)
{
    if (attached) {
        *ret = attached;
        return 0;
    }
    if (p->next >= p->argc)
        return usage(p->err, "%s needs a value: %s %s", shown, shown, metavar ? metavar : "VALUE");
    *ret = p->argv[p->next++];
    return 0;
}

static int apply(struct parser *p, const struct match *m, const char *shown, const char *attached)
{
    if (m->builtin) {
        if (attached)
            return usage(p->err, "%s takes no value", shown);
        if (!p->builtin)
            p->builtin = m->builtin;
        return 0;
    }
    const struct cli_option *o = m->option;
    const char *text = NULL;
    if (o->kind == CLI_FLAG) {
        if (m->negated && attached)
            return usage(p->err, "%s takes no value", shown);
        text = attached ? attached : m->negated ? "false" : "true";
    } else if (take_value(p, shown, attached, o->metavar, &text) < 0) {
        return -1;
    }
    p->given[o - options_of(p->cmd)] = true;
    return store(o, shown, text, p->values, p->err);
}

static int parse_long(struct parser *p, const char *arg)
{
    size_t len = strcspn(arg + 2, "=");
    _cleanup_free_ char *name = xstrndup(arg + 2, len);
    _cleanup_free_ char *shown = xasprintf("--%s", name);
    struct match m = {0};
    if (find_long(p->cmd, name, &m, p->err) < 0)
        return -1;
    return apply(p, &m, shown, arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL);
}

static bool find_short(const struct cli_command *cmd, char c, struct match *ret)
{
    for (const struct cli_option *o = options_of(cmd); o->name; o++) {
        if (o->short_name == c) {
            *ret = (struct match){.option = o};
            return true;
        }
    }
    *ret = (struct match){.builtin = "help"};
    return c == 'h';
}

/* "-abc": flags one after another; the first option with a value takes the rest. */
static int parse_short(struct parser *p, const char *arg)
{
    for (const char *c = arg + 1; *c; c++) {
        char shown[] = {'-', *c, '\0'};
        struct match m;
        if (!find_short(p->cmd, *c, &m))
            return usage(p->err, "unknown option %s", (unsigned char)*c < 0x80 ? shown : arg);
        bool takes_rest = m.option && m.option->kind != CLI_FLAG;
        if (apply(p, &m, shown, takes_rest && c[1] ? c + 1 : NULL) < 0)
            return -1;
        if (takes_rest)
            break;
    }
    return 0;
}

static int parse_arguments(struct parser *p)
{
    bool only_positional = false;
    while (p->next < p->argc) {
        char *arg = p->argv[p->next++];
        int r = 0;
        if (only_positional || arg[0] != '-' || !arg[1])
            p->argv[p->positional++] = arg;
        else if (strcmp(arg, "--") == 0)
            only_positional = true;
        else
            r = arg[1] == '-' ? parse_long(p, arg) : parse_short(p, arg);
        if (r < 0)
            return -1;
    }
    return 0;
}

static int apply_environment(struct parser *p)
{
    const struct cli_option *options = options_of(p->cmd);
    for (size_t i = 0; options[i].name; i++) {
        const struct cli_option *o = &options[i];
        if (p->given[i])
            continue;
        const char *text = o->env ? getenv(o->env) : NULL;
        if (text && *text) {
            _cleanup_free_ char *origin = xasprintf("environment variable %s", o->env);
            if (store(o, origin, text, p->values, p->err) < 0)
                return -1;
        } else if (o->fallback && store(o, o->name, o->fallback, p->values, p->err) < 0) {
            BUG("default of --%s: %s", o->name, p->err->msg);
        }
    }
    return 0;
}

static int check_count(const struct parser *p)
{
    size_t n = (size_t)p->positional;
    const struct cli_command *cmd = p->cmd;
    const char *synopsis = cmd->synopsis ? cmd->synopsis : "";
    if (n < cmd->min_args)
        return usage(p->err, "missing argument: expected %s", synopsis);
    if (n > cmd->max_args && cmd->max_args == 0)
        return usage(p->err, "unexpected argument \"%s\": expected options only", p->argv[0]);
    if (n > cmd->max_args)
        return usage(p->err, "unexpected argument \"%s\": expected %s", p->argv[cmd->max_args], synopsis);
    return 0;
}

int cli_parse(const struct cli_command *cmd, int argc, char **argv, void *values, int *ret_argc,
              struct err *err)
{
    size_t n = 0;
    while (options_of(cmd)[n].name)
        n++;
    _cleanup_free_ bool *given = xcalloc(n + 1, sizeof *given);
    struct parser p = {.cmd = cmd, .argc = argc, .argv = argv, .values = values, .given = given, .err = err};
    if (parse_arguments(&p) < 0)
        return -1;
    if (p.builtin)
        return run_builtin(cmd, p.builtin, err);
    if (apply_environment(&p) < 0 || check_count(&p) < 0)
        return -1;
    *ret_argc = p.positional;
    return 0;
}

/* --- commands -------------------------------------------------------------------------------------- */

int cli_fail(const struct cli_command *cmd, const struct err *err)
{
    int code = err_exit_code(err);
    _cleanup_free_ char *name = cli_called(cmd);
    (void)fprintf(stderr, "%s: %s\n", name, err->msg);
    if (code == EXITCODE_USAGE)
        (void)fprintf(stderr, "See '%s --help'.\n", name);
    return code;
}

/* "run" of "trainyard run". */
static const char *last_word(const char *name)
{
    const char *space = strrchr(name, ' ');
    return space ? space + 1 : name;
}

static const struct cli_command *find_command(const struct cli_command *parent, const char *word)
{
    for (const struct cli_command *const *c = parent->commands; *c; c++) {
        if (strcmp(last_word((*c)->name), word) == 0)
            return *c;
    }
    return NULL;
}

static int unknown_command(const struct cli_command *parent, const char *word, struct err *err)
{
    size_t n = 0;
    while (parent->commands[n])
        n++;
    _cleanup_free_ const char **names = xcalloc(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = last_word(parent->commands[i]->name);
    const char *near = text_nearest(word, names);
    if (near)
        return usage(err, "unknown command \"%s\"; did you mean \"%s\"?", word, near);
    return usage(err, "unknown command \"%s\"", word);
}

/* "help [COMMAND…]", from behind "help". */
static int help_command(const struct cli_command *cmd, int argc, char **argv)
{
    struct err err = ERR_INIT;
    for (int i = 0; i < argc; i++) {
        const struct cli_command *sub = cmd->commands ? find_command(cmd, argv[i]) : NULL;
        if (!sub) {
            (void)(cmd->commands ? unknown_command(cmd, argv[i], &err)
                                 : usage(&err, "has no subcommand \"%s\"", argv[i]));
            return cli_fail(cmd, &err);
        }
        cmd = sub;
    }
    return print(cli_help, cmd, &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

/* A command that has subcommands, argv from behind its name. */
static int run_group(const struct cli_command *cmd, int argc, char **argv)
{
    struct err err = ERR_INIT;
    if (argc == 0) {
        (void)usage(&err, "a command is needed");
        return cli_fail(cmd, &err);
    }
    if (argv[0][0] == '-') {
        /* Only the built-in options stand before a command. */
        int ignored;
        int r = cli_parse(cmd, 1, argv, NULL, &ignored, &err);
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    }
    const struct cli_command *sub = find_command(cmd, argv[0]);
    if (sub)
        return sub->commands ? run_group(sub, argc - 1, argv + 1) : sub->run(sub, argc - 1, argv + 1);
    if (strcmp(argv[0], "help") == 0)
        return help_command(cmd, argc - 1, argv + 1);
    (void)unknown_command(cmd, argv[0], &err);
    return cli_fail(cmd, &err);
}

int cli_main(const struct cli_command *root, int argc, char **argv)
{
    int n = argc > 0 ? argc - 1 : 0;
    return root->commands ? run_group(root, n, argv + 1) : root->run(root, n, argv + 1);
}
