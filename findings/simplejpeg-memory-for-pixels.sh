#!/usr/bin/env bash
# A file that cannot be decoded gives a picture of unwritten memory
#
# Versions: simplejpeg 1.9.0, opencv-python-headless 5.0.0.93 (to write a sound file), numpy 2.4.6
#
# Behaviour: with strict=False, which is for files with a warning, decode_jpeg raises nothing where an error follows the
# warning: the picture is the array as it was allocated. libjpeg-turbo keeps "a warning" as the kind of its last
# objection even where it then gives up. Here the limits of the scan are wrong (a warning), and it asks for a table of
# codes that the file does not have.
#
# Output seen (the output buffer is filled with 119 before):
#   sound file:           colours 120 61 181, as encoded but for 1
#   strict=True:          ValueError: Huffman table 0x03 was not defined
#   strict=False:         (16, 16, 3), every number is 119
#   without the warning:  strict=False, and ValueError: Huffman table 0x03 was not defined
#
# What the documentation says: "strict: if True, raise ValueError for recoverable errors"; others are raised always.
#
# Why it matters: unwritten memory looks like noise, or like an earlier photo, and a model answers it. It may also show
# to one user of a server what another one has sent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q simplejpeg==1.9.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import cv2
import numpy as np
import simplejpeg

print("simplejpeg", version("simplejpeg"))
COLOUR = np.array([120, 60, 180])
sound = cv2.imencode(".jpg", np.full((16, 16, 3), COLOUR[::-1], np.uint8))[1].tobytes()
warned = sound.replace(b"\x11\x00\x3f\x00", b"\x11\x00\x00\x00", 1)
assert warned != sound


def without_codes(data):
    """The last component asks for a table of codes that the file does not have."""
    at = data.index(b"\xff\xda") + 10
    assert data[at - 1 : at + 1] == b"\x03\x11"
    return data[:at] + b"\x33" + data[at + 1 :]


def decoded(data, strict):
    memory = bytearray(b"\x77" * (16 * 16 * 3))
    try:
        return simplejpeg.decode_jpeg(data, buffer=memory, strict=strict)
    except ValueError as error:
        return f"ValueError: {error}"


first = decoded(sound, True)
is_right = bool(np.abs(first.astype(int) - COLOUR).max() <= 1)
print("sound file:           colours", *first[8, 8], "as encoded but for 1" if is_right else "not as encoded")
strict, loose = decoded(without_codes(warned), True), decoded(without_codes(warned), False)
print("strict=True:         ", strict)
print("strict=False:        ", loose if isinstance(loose, str) else (loose.shape, np.unique(loose)))
plain = decoded(without_codes(sound), False)
print("without the warning: ", plain)
recorded = (
    is_right
    and strict == plain
    and not isinstance(loose, str)
    and bool((loose == 0x77).all())
    and plain == "ValueError: Huffman table 0x03 was not defined"
)
sys.exit(0 if recorded else "not what is recorded")
PY
