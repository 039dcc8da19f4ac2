# The store's test tool: one operation from the command line, for integration tests and the benchmark.
$(BUILD)/test/store-tool: $(BUILD)/obj/tests/integration/store_tool.c.o $(call libs_of,store)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) -o $@ $^ $(LDFLAGS) $(call sys_of,store)

test-integration bench-store: $(BUILD)/test/store-tool
