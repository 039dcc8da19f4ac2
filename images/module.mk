# Container images of the CPU stages, built from what was built here and the Debian libraries of this machine.
#
#   make images        build/images/<stage>.tar, OCI archives; no registry is contacted
#   make image-sizes   what a node pulls for each
#
# An image is made of layers that several images share: base (C library, loader, HTTP and TLS, certificates, user), duckdb, and
# the stage's own. images/<stage>.Containerfile says which.

IMAGES := artifact data-validate featurize train-ddp evaluate register
IMAGE_DIR := $(BUILD)/images
IMAGE_ARCHIVES := $(IMAGES:%=$(IMAGE_DIR)/%.tar)

.PHONY: images image-archives image-sizes
images: ## OCI images of the stages in build/images (needs root and Debian's buildah)
	@why=$$(images/able.sh); rc=$$?; \
	if [ $$rc = 0 ]; then $(MAKE) --no-print-directory image-archives; \
	elif [ $$rc = 77 ]; then echo "skipped  images: $$why"; \
	else exit $$rc; fi

image-archives: $(IMAGE_ARCHIVES)
	@echo "images: $(words $^) OCI archives in $(IMAGE_DIR)"

image-sizes: images ## compressed sizes of the images
	@images/sizes.py $(wildcard $(IMAGE_ARCHIVES))

# A stage as it is in its image: the same objects, stripped, finding libraries by its own place and not by this machine's.
comma := ,
define IMAGE_RULE
$(IMAGE_DIR)/bin/$(1): $(BUILD)/bin/$(1) images/module.mk
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) -s -o $$@ $(BUILD)/obj/$(DIR_$(1))/main.c.o $$(call libs_of,$(1)) $$(LDFLAGS) \
	    $$(subst -rpath$$(comma)$$(DUCKDB_DIR),-rpath$$(comma)'$$$$ORIGIN/../lib',$$(call sys_of,$(1)))

$(IMAGE_DIR)/context/$(1).made: $(IMAGE_DIR)/bin/$(1) $(IMAGE_DIR)/context/duckdb.made images/rootfs.sh
	@images/rootfs.sh $$(basename $$@) --below $(IMAGE_DIR)/context/base \
	    $(if $(filter table,$(NEEDS_$(1))),--below $(IMAGE_DIR)/context/duckdb) \
	    --program $$< --libraries-of $(BUILD)/bin/$(1)

$(IMAGE_DIR)/$(1).tar: $(IMAGE_DIR)/context/$(1).made images/$(1).Containerfile images/build.sh images/buildah.sh
	@echo "  IMAGE $$@"
	@images/build.sh $(1) $(IMAGE_DIR) $(VERSION)
endef
$(foreach i,$(IMAGES),$(eval $(call IMAGE_RULE,$(i))))

$(IMAGE_DIR)/context/base.made: $(BUILD)/bin/artifact images/rootfs.sh
	@images/rootfs.sh $(basename $@) --system --libraries-of $<

$(IMAGE_DIR)/context/duckdb.made: $(DUCKDB_DIR)/libduckdb.so $(IMAGE_DIR)/context/base.made images/rootfs.sh
	@images/rootfs.sh $(basename $@) --below $(IMAGE_DIR)/context/base --library $<
