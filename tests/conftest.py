"""What all tests have in common: they build what they test, also where an earlier run has kept it."""

import os

os.environ["ONNXLENS_CACHE_SIZE"] = "0"
