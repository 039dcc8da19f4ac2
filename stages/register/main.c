/* register: a trained, evaluated model becomes a numbered version of the registry. */
#include "stages/register/register.h"

#include "common/base/algorithm.h"
#include "stages/runtime/stage.h"

static const struct stage_output outputs[] = {{.name = "version", .type = "version"}, {.name = NULL}};
static const char *const inputs[] = {"model", "evaluation", NULL};

static const struct stage stage = {
    .name = "register",
    .summary = "Register a model as the next version, with its evaluation and provenance.",
    .description =
        "Publishes the model and its evaluation below the registry by digest, then creates the version by one conditional write: "
        "the same model and evaluation registered again are the same version. An alias named in the config moves to the version "
        "unless a person moved it since. With a signing Secret (key.pem, Ed25519 or P-256) the provenance statement is signed.",
    .algorithm_version = ALGORITHM_REGISTER,
    .inputs = inputs,
    .outputs = outputs,
    .looks_outside = true,
    .work = register_work,
};

int main(int argc, char **argv)
{
    return stage_main(&stage, argc, argv);
}
