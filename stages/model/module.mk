# The vector levels of the CPU back end are compiled each for its own instruction set and chosen at run time.
ifeq ($(shell uname -m),x86_64)
CFLAGS_stages/model/cpu/kernels_avx512 := -O3 -mavx512f -mavx512vl -mavx512dq -mavx512bw -mavx2 -mfma -mprefer-vector-width=512
CFLAGS_stages/model/cpu/kernels_avx2 := -O3 -mavx2 -mfma
endif
CFLAGS_stages/model/cpu/kernels_portable := -O3
