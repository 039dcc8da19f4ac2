/* A YAML file as JSON, read as manifests are: ambiguous scalars are errors. For the tools, which then need no YAML library.
 * Usage: yaml-json FILE */
#include <stdio.h>
#include <sysexits.h>

#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/pipeline/yaml.h"

static int convert(const char *path, struct buf *out, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ cJSON *tree = NULL;
    _cleanup_yaml_lines_ struct yaml_lines *lines = NULL;
    struct findings findings = {0};
    size_t len;
    int r = fs_read_file(path, LIMIT_MANIFEST_FILE_BYTES, &text, &len, err);
    if (r == 0)
        r = yaml_parse(text, len, path, &findings, &tree, &lines, err);
    findings_release(&findings);
    return r == 0 ? json_pretty(tree, out) : r;
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    if (argc != 2) {
        fputs("usage: yaml-json FILE\n", stderr);
        return EX_USAGE;
    }
    _cleanup_buf_ struct buf out = BUF_INIT(LIMIT_MANIFEST_FILE_BYTES);
    if (convert(argv[1], &out, &err) < 0) {
        fprintf(stderr, "yaml-json: %s\n", err.msg);
        return err_exit_code(&err);
    }
    fputs(buf_str(&out), stdout);
    return 0;
}
