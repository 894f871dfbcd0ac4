"""ONNX graphs: reading, differentiating, running and explaining them."""
