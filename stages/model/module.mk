# The vector levels of the CPU back end are compiled each for its own instruction set and chosen at run time.
ifeq ($(shell uname -m),x86_64)
CFLAGS_stages/model/cpu/kernels_avx512 := -O3 -mavx512f -mavx512vl -mavx512dq -mavx512bw -mavx2 -mfma -mprefer-vector-width=512
CFLAGS_stages/model/cpu/kernels_avx2 := -O3 -mavx2 -mfma
endif
CFLAGS_stages/model/cpu/kernels_portable := -O3

# A module that plays the CUDA module for the loader's tests. Opened, not linked: hence order-only.
$(BUILD)/test/model/fake-cuda.so: tests/unit/model/fake_cuda.c stages/model/cuda/device.h
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) $(CFLAGS) -shared -o $@ $<

$(BUILD)/test/model/test_device: | $(BUILD)/test/model/fake-cuda.so

include stages/model/cuda/module.mk
