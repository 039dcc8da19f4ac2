/* trainyard docs (unlisted): the generated parts of the documentation. `make docs` calls it; CI fails when a page differs. */
#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "operator/cli/command.h"
#include "operator/pipeline/docs.h"

enum { PAGE_MAX = 4 << 20 };

static const struct cli_option options[] = {CLI_END};

static int print_page(int (*render)(struct buf *out), struct err *err)
{
    _cleanup_buf_ struct buf page = BUF_INIT(PAGE_MAX);
    (void)render(&page);
    return buf_check(&page, "the page", err) < 0 ? -1 : command_print(&page, err);
}

static int render_cli(struct buf *out)
{
    return cli_markdown(&command_trainyard, out);
}

static int print_manifest(struct err *err)
{
    _cleanup_buf_ struct buf page = BUF_INIT(SCHEMA_MARKDOWN_MAX);
    return schema_markdown(&page, err) < 0 ? -1 : command_print(&page, err);
}

/* "trainyard models list" → DIR/trainyard-models-list.1, and its subcommands. */
static int write_man(const struct cli_command *cmd, const char *dir, struct err *err)
{
    _cleanup_buf_ struct buf page = BUF_INIT(PAGE_MAX);
    _cleanup_free_ char *name = xasprintf("%s.1", cmd->name);
    for (char *c = name; *c; c++)
        *c = *c == ' ' ? '-' : *c;
    _cleanup_free_ char *path = fs_join(dir, name);
    (void)cli_man(cmd, &page);
    if (buf_check(&page, path, err) < 0 || fs_write_atomic(path, buf_str(&page), page.len, err) < 0)
        return -1;
    for (const struct cli_command *const *c = cmd->commands; c && *c; c++) {
        if (write_man(*c, dir, err) < 0)
            return -1;
    }
    return 0;
}

static int docs(int argc, char **argv, struct err *err)
{
    if (strcmp(argv[0], "cli") == 0 && argc == 1)
        return print_page(render_cli, err);
    if (strcmp(argv[0], "manifest") == 0 && argc == 1)
        return print_manifest(err);
    if (strcmp(argv[0], "man") == 0 && argc == 2)
        return fs_mkdir_p(argv[1], err) < 0 ? -1 : write_man(&command_trainyard, argv[1], err);
    return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "expected cli, manifest, or man DIR");
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, NULL, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    return docs(n, argv, &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_docs = {
    .name = "trainyard docs",
    .synopsis = "cli | manifest | man DIR",
    .summary = "print generated documentation",
    .options = options,
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
