"""Commands about onnxlens itself."""
