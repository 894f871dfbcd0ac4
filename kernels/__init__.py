"""Arrays in, arrays out: the inner loops, compiled by numba. Knows no ONNX."""
