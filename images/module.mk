# Container images of the operator and the CPU stages, built from what was built here and the Debian libraries of this machine.
#
#   make images        build/images/<stage>.tar, OCI archives; no registry is contacted
#   make image-sizes   what a node pulls for each
#
# An image is made of layers that several images share: base (C library, loader, HTTP and TLS, certificates, user), duckdb, and
# the stage's own. images/<stage>.Containerfile says which.

IMAGES := $(if $(wildcard operator/controller/main.c),operator) artifact data-validate featurize train-ddp evaluate register
IMAGE_DIR := $(BUILD)/images
IMAGE_ARCHIVES := $(IMAGES:%=$(IMAGE_DIR)/%.tar)
IMAGE_PREFIX ?= localhost/trainyard-

# An image is called like its program and the layer of the same name, but for:
PROGRAM_OF_operator := trainyard-operator
LAYER_OF_operator := controller
image_program = $(or $(PROGRAM_OF_$(1)),$(1))
image_layer = $(or $(LAYER_OF_$(1)),$(1))

.PHONY: images image-archives image-sizes test-image
images: ## OCI images of operator and stages, their SBOMs and digests.yaml in build/images (needs root and Debian's buildah)
	@why=$$(images/able.sh); rc=$$?; \
	if [ $$rc = 0 ]; then $(MAKE) --no-print-directory image-archives; \
	elif [ $$rc = 77 ]; then echo "skipped  images: $$why"; \
	else exit $$rc; fi

image-archives: $(IMAGE_ARCHIVES) $(IMAGE_DIR)/digests.yaml
	@echo "images: $(words $(IMAGE_ARCHIVES)) OCI archives in $(IMAGE_DIR)"

# Values for the chart, by digest.
$(IMAGE_DIR)/digests.yaml: $(IMAGE_ARCHIVES) images/digests.py
	@images/digests.py $(IMAGE_PREFIX) $(VERSION) $(IMAGE_ARCHIVES) >$@.new && mv $@.new $@

image-sizes: images ## compressed sizes of the images; fails if one is above its bound
	@images/sizes.py $(wildcard $(IMAGE_ARCHIVES))

# A program as it is in its image: the same objects, stripped, finding libraries by its own place and not by this machine's.
comma := ,
define IMAGE_RULE
$(IMAGE_DIR)/bin/$(call image_program,$(1)): $(BUILD)/bin/$(call image_program,$(1)) images/module.mk
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) -s -o $$@ $(BUILD)/obj/$(DIR_$(call image_layer,$(1)))/main.c.o $$(call libs_of,$(call image_layer,$(1))) $$(LDFLAGS) \
	    $$(subst -rpath$$(comma)$$(DUCKDB_DIR),-rpath$$(comma)'$$$$ORIGIN/../lib',$$(call sys_of,$(call image_layer,$(1))))

$(IMAGE_DIR)/context/$(1).made: $(IMAGE_DIR)/bin/$(call image_program,$(1)) $(IMAGE_DIR)/context/duckdb.made images/rootfs.sh images/sbom.py
	@DUCKDB_VERSION=$(DUCKDB_VERSION) images/rootfs.sh $$(basename $$@) --below $(IMAGE_DIR)/context/base \
	    $(if $(filter table,$(NEEDS_$(1))),--below $(IMAGE_DIR)/context/duckdb) \
	    --program $$< --libraries-of $(BUILD)/bin/$(call image_program,$(1)) $(if $(filter operator,$(1)),--zones) --sbom $(1) $(VERSION)

$(IMAGE_DIR)/$(1).tar: $(IMAGE_DIR)/context/$(1).made images/$(1).Containerfile images/build.sh images/buildah.sh
	@echo "  IMAGE $$@"
	@images/build.sh images/$(1).Containerfile $(IMAGE_DIR) $(IMAGE_PREFIX)$(1) $(VERSION)
endef
$(foreach i,$(IMAGES),$(eval $(call IMAGE_RULE,$(i))))

$(IMAGE_DIR)/context/base.made: $(BUILD)/bin/artifact images/rootfs.sh
	@images/rootfs.sh $(basename $@) --system --libraries-of $<

$(IMAGE_DIR)/context/duckdb.made: $(DUCKDB_DIR)/libduckdb.so $(IMAGE_DIR)/context/base.made images/rootfs.sh
	@images/rootfs.sh $(basename $@) --below $(IMAGE_DIR)/context/base --library $<

# The image of somebody's container step, for tests: a named user, no shell, one static program (tests/e2e/images).
test-image: $(IMAGE_DIR)/test/worker.tar
$(IMAGE_DIR)/test/bin/worker: tests/e2e/images/worker.c
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) -std=gnu17 $(CWARNINGS) -D_GNU_SOURCE -O2 -static -s -o $@ $<

$(IMAGE_DIR)/test/worker.tar: $(IMAGE_DIR)/test/bin/worker tests/e2e/images/worker.Containerfile tests/e2e/images/passwd images/build.sh
	@echo "  IMAGE $@"
	@rm -rf $(IMAGE_DIR)/test/context && mkdir -p $(IMAGE_DIR)/test/context
	@cp $< tests/e2e/images/passwd $(IMAGE_DIR)/test/context
	@images/build.sh tests/e2e/images/worker.Containerfile $(IMAGE_DIR)/test localhost/worker 1
