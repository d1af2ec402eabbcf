"""The compiler: from a flushed trace to one multithreaded native program, through LLVM.

It sits below ``suiren/trace``, which calls it, and knows values and buffers, never tensors.
llvmlite is imported when something is first compiled, never by ``import suiren``.
"""
