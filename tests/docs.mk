# The generated pages of docs/reference and the man pages; what checks them.

.PHONY: docs docs-check
docs: all ## the reference pages and man pages that are made from the programs and the schema
	@$(PYTHON) tests/tools/docs.py

docs-check: all ## fails when a generated page is stale, a name is undocumented, or a link in the docs leads nowhere
	@$(PYTHON) tests/tools/docs.py --check
