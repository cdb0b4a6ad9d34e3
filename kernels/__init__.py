"""The arithmetic of fastprop: Numba kernels that know numbers and addresses, and no Python objects.

Read in this order: `simd` (a SIMD register as a number), `tile` (the matrix product), `records` (what a kernel is
told), then `dense`, whose functions are the four sentences of backpropagation. How they become machine code: `handles`
(kernels by name), `store` (code on disk), `compiler` (Numba, imported only where code is not on disk).
"""
