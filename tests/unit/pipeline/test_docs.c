/* The reference page is what the schema says. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/fs.h"
#include "operator/pipeline/docs.h"

static void test_the_reference_names_fields_types_defaults_and_alternatives(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "## TrainingPipeline\n\nShort name `tp`.",
        "## TrainingRun\n\nShort name `tr`.",
        "### `spec.steps[].trainDdp.optimizers.dense.adamw`\n",
        "| `url` | text | *required* | s3://bucket/prefix",
        "| `precision` | `fp32`, `bf16`, `fp16` | `fp32` |",
        "| `epochs` | integer or reference, 1 to 1000000 | `1` | Passes over the training split. |",
        "| `betas` | list of number, 0 to 0.999999, 2 to 2 items | `[0.9,0.999]` |",
        "Exactly one of `logistic`, `mlp` or `dcnV2`.",
        "| `perFeature` | mapping to integer, 1 to 4096 |",
        "| `finishedAt` | time |",
    };
    _cleanup_buf_ struct buf out = BUF_INIT(SCHEMA_MARKDOWN_MAX);
    struct err err = ERR_INIT;
    assert_ok(schema_markdown(&out, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        assert_contains(buf_str(&out), parts[i]);
}

static void test_the_page_in_docs_is_current(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF_INIT(SCHEMA_MARKDOWN_MAX);
    _cleanup_free_ char *page = NULL;
    size_t len;
    struct err err = ERR_INIT;
    assert_ok(schema_markdown(&out, &err), &err);
    assert_ok(fs_read_file("docs/reference/manifest.md", SCHEMA_MARKDOWN_MAX, &page, &len, &err), &err);
    if (strcmp(page, buf_str(&out)) != 0)
        fail_msg(
            "docs/reference/manifest.md differs from the schema: write it again with `trainyard docs manifest`");
}

static void test_too_small_a_buffer_is_an_error(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct err err = ERR_INIT;
    assert_fails(schema_markdown(&out, &err), &err, ERR_INVALID, "the reference of the manifest");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_reference_names_fields_types_defaults_and_alternatives),
        cmocka_unit_test(test_the_page_in_docs_is_current),
        cmocka_unit_test(test_too_small_a_buffer_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
