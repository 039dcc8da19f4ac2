# The schema text is embedded by .incbin, which the compiler's dependency files do not see.
$(BUILD)/obj/operator/pipeline/schema_text.c.o: crds/trainingpipeline.yaml crds/trainingrun.yaml
