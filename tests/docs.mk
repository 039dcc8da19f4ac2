# The generated pages of docs/reference and the man pages; what checks them.

# The project's own reader of YAML: the tools need no other.
$(BUILD)/tools/yaml-json: $(BUILD)/obj/tests/tools/yaml-json.c.o $(call libs_of,pipeline)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) -o $@ $^ $(LDFLAGS) $(call sys_of,pipeline)

.PHONY: docs docs-check
docs: all $(BUILD)/tools/yaml-json ## the reference pages and man pages that are made from the programs and the schema
	@$(PYTHON) tests/tools/docs.py

docs-check: all $(BUILD)/tools/yaml-json ## fails when a generated page is stale, a name is undocumented, or a link in the docs leads nowhere
	@$(PYTHON) tests/tools/docs.py --check
