"""From fused loop nests to LLVM IR: emitter, vectorised mathematics, loops, matrix products."""
