"""`python -m onnxlens` is the command line."""

from onnxlens.cli import main

if __name__ == "__main__":
    main()
