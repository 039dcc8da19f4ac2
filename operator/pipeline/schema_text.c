/* The CRDs' text, embedded as it stands in crds/ (module.mk makes this object depend on it). */
#include "operator/pipeline/schema-internal.h"

#define EMBED(symbol, file)                       \
    __asm__(".pushsection .rodata, \"a\"\n"       \
            ".global " #symbol "\n" #symbol ":\n" \
            ".incbin \"" file "\"\n"              \
            ".byte 0\n"                           \
            ".popsection\n")

EMBED(schema_text_pipeline, "crds/trainingpipeline.yaml");
EMBED(schema_text_run, "crds/trainingrun.yaml");
