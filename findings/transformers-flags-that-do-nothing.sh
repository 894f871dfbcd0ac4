#!/usr/bin/env bash
# Image processors that take do_normalize, keep it, write it down, and do not do it
#
# Versions: transformers 5.24.0 without PyTorch, pillow 12.1.0, numpy 2.4.6
#
# Behaviour: four of the image processors that work with Pillow accept do_normalize=True with a mean and a deviation,
# show both in to_dict(), from which preprocessor_config.json is written, and give pictures that were not normalised.
# LayoutLMv2's does not do do_rescale either and answers in uint8. There is no error and no warning. The processor of
# ViT, with the same arguments, does what they say.
#
# Output seen (a picture that is white everywhere; mean 0.5 and deviation 0.5 make 1 of white either way, so the mean
# is 0.2: normalised white is 1.6, white that is only rescaled is 1):
#   ViT         do_normalize True   float32 1.6
#   MobileViT   do_normalize True   float32 1
#   Swin2SR     do_normalize True   float32 1
#   SuperPoint  do_normalize True   float32 1
#   LayoutLMv2  do_normalize True   uint8   255
#
# What the documentation says: the arguments are the common ones of all image processors; do_normalize is "whether to
# normalize the image". LayoutLMv2's page adds that its model normalises by itself, so that one need not; none says
# that the arguments have no effect where they are given.
#
# Why it matters: the file beside an exported model is all that another program has to go by. One that trusts
# do_normalize, image_mean and image_std feeds the network pictures that it was not evaluated on, and the maps that
# explain its answer explain another answer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.24.0 pillow==12.1.0 numpy==2.4.6
cd "$folder"
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PY'
import sys

import numpy as np
import PIL
import transformers
from PIL import Image

print("transformers", transformers.__version__, "pillow", PIL.__version__)
white = Image.new("RGB", (320, 320), "white")
seen = {}
for name in ("ViT", "MobileViT", "Swin2SR", "SuperPoint", "LayoutLMv2"):
    processor = getattr(transformers, f"{name}ImageProcessorPil")(
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.2] * 3,
        image_std=[0.5] * 3,
        **({"apply_ocr": False} if name == "LayoutLMv2" else {}),
    )
    kept = processor.to_dict()
    assert kept["do_rescale"] and [*kept["image_mean"], *kept["image_std"]] == [0.2] * 3 + [0.5] * 3
    pixels = np.asarray(processor(white, return_tensors="np")["pixel_values"])
    seen[name] = (pixels.dtype.name, round(float(pixels.max()), 4))
    print(f"{name:11} do_normalize {kept['do_normalize']}   {pixels.dtype.name:7} {seen[name][1]:g}")
    assert kept["do_normalize"] is True
recorded = {
    "ViT": ("float32", 1.6),
    "MobileViT": ("float32", 1.0),
    "Swin2SR": ("float32", 1.0),
    "SuperPoint": ("float32", 1.0),
    "LayoutLMv2": ("uint8", 255.0),
}
sys.exit(0 if seen == recorded else "not what is recorded")
PY
