# The plain manifests, made from the chart.

.PHONY: plain-manifests
plain-manifests: ## charts/plain/trainyard.yaml from the chart with its default values
	@tests/tools/plain-manifests.sh > charts/plain/trainyard.yaml.new && mv charts/plain/trainyard.yaml.new charts/plain/trainyard.yaml
