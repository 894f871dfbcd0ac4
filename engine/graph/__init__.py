"""ONNX graphs: files, nodes, types, sizes, and expressions that append to them."""
