# The CUDA module, a shared library that train-ddp opens at run time: no program needs CUDA to start. NVIDIA's runtime is
# linked into it statically; the driver is looked for when it is asked for devices.
#
#   make cuda-deps     fetch the compiler into the cache; needs no GPU and no root
#   make cuda          build the module alone; `make CUDA=1` builds it with everything else
#   CUDA_HOME=dir      an installed CUDA 13 toolkit instead of the cached one

CUDA_HOME ?= $(TRAINYARD_CACHE)/cuda-13.0/nvidia/cu13
NVCC := $(CUDA_HOME)/bin/nvcc
CUDA_MODULE := $(BUILD)/lib/trainyard-cuda.so
# Machine code for A100 and for H100/H200, and PTX that the driver translates for what comes later.
CUDA_ARCH := -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
NVCCFLAGS := -std=c++17 -O2 -I. $(CUDA_ARCH) -ccbin $(CXX) -Werror all-warnings \
    -Xcompiler -Wall,-Wextra,-Wshadow,-Werror,-fPIC,-fvisibility=hidden
CUDA_OBJECTS := $(patsubst %,$(BUILD)/obj/%.o,$(wildcard stages/model/cuda/*.cu))

# Before anything else is compiled.
ifneq ($(or $(CUDA),$(filter cuda,$(MAKECMDGOALS))),)
ifeq ($(wildcard $(NVCC))$(filter cuda-deps clean help,$(MAKECMDGOALS)),)
$(error CUDA: no compiler at $(NVCC). Run `make cuda-deps`, or set CUDA_HOME to a CUDA 13 toolkit)
endif
endif

.PHONY: cuda cuda-deps
cuda: $(CUDA_MODULE) ## the CUDA module (needs make cuda-deps or CUDA_HOME)

cuda-deps: ## fetch NVIDIA's CUDA 13.0 compiler (105 MB of PyPI wheels) into the cache
	@tests/tools/deps.sh cuda

ifneq ($(CUDA),)
all: $(CUDA_MODULE)
endif

$(BUILD)/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	$(Q)$(NVCC) $(NVCCFLAGS) -MMD -MF $(@:.o=.d) -c $< -o $@

$(CUDA_MODULE): $(CUDA_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(NVCC) -shared -cudart static -L$(CUDA_HOME)/lib $(CUDA_ARCH) -ccbin $(CXX) -Xlinker --exclude-libs,ALL,-z,relro,-z,now -o $@ $^
