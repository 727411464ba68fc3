"""The step on a GPU: CUDA kernels made of the CPU's own headers, compiled when they are first used; docs/cuda.md."""
