# A model with permuted vocabulary ids, for tests that compare it with the original.
$(BUILD)/test/permute-vocabulary: $(BUILD)/obj/tests/integration/permute_vocabulary.c.o $(call libs_of,tensor)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) -o $@ $^ $(LDFLAGS) $(call sys_of,tensor)

test-integration digests: $(BUILD)/test/permute-vocabulary
