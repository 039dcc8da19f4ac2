/* The s3:// back end. */
#include "common/store/store-internal.h"

int s3_store_open(const struct store_config *config, const struct uri *uri, struct store **ret, struct err *err)
{
    (void)config, (void)ret;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store-url", "s3://%s: this build has no s3:// back end yet, use file://", uri->bucket);
}
