#!/usr/bin/env bash
# import cv2 has other programs look for their libraries in the current folder
#
# Versions: opencv-python-headless 5.0.0.93, numpy 2.4.6 (Linux; needs a C compiler)
#
# Behaviour: the import puts ".../cv2/../../lib64:" into LD_LIBRARY_PATH of its own process. The entry behind the last
# colon is empty, which means the current folder. The process itself does not read the variable again, but every
# program that it starts afterwards does: it takes libraries that lie in the folder it is started in before those of
# the system.
#
# Output seen:
#   LD_LIBRARY_PATH before: None, after: it ends in "/cv2/../../lib64:"
#   a program started before the import: its own library
#   a program started after the import: the library of the current folder
#
# What the documentation says: nothing of this. ld.so(8) says that an entry of length zero in LD_LIBRARY_PATH means the
# current folder. OpenCV 4.13 has the same line in cv2/__init__.py.
#
# Why it matters: a server or a notebook that looks inside vision models starts other programs (git, ffmpeg, a driver's
# tools) from folders with other people's files. A file there that is named as a library runs with its rights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
mkdir "$folder/own" "$folder/current"
echo 'const char *who(void) { return "its own library"; }' > "$folder/own/who.c"
echo 'const char *who(void) { return "the library of the current folder"; }' > "$folder/current/who.c"
echo '#include <stdio.h>
const char *who(void); int main(void) { puts(who()); return 0; }' > "$folder/program.c"
for place in own current; do
    cc -shared -fPIC "$folder/$place/who.c" -o "$folder/$place/libwho.so"
done
cc "$folder/program.c" -L"$folder/own" -lwho -Wl,--enable-new-dtags,-rpath,"$folder/own" -o "$folder/program"
unset LD_LIBRARY_PATH
cd "$folder/current"
"$folder/venv/bin/python" - "$folder/program" <<'PY'
import os
import subprocess
import sys

program = sys.argv[1]


def started():
    return subprocess.run([program], capture_output=True, text=True).stdout.strip()


variable, first = os.environ.get("LD_LIBRARY_PATH"), started()
import cv2  # noqa: E402

after = os.environ.get("LD_LIBRARY_PATH")
print("opencv", cv2.__version__)
print(f"LD_LIBRARY_PATH before: {variable}, after: it ends in {after[-17:]!r}")
print("a program started before the import:", first)
print("a program started after the import:", second := started())
seen = (variable, after.endswith("/cv2/../../lib64:"), first, second)
recorded = (None, True, "its own library", "the library of the current folder")
sys.exit(0 if seen == recorded else "not what is recorded")
PY
