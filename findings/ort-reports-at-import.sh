#!/usr/bin/env bash
# import onnxruntime describes the machine to its maker, and a switch in Python comes too late
#
# Versions: onnxruntime 1.31.1, numpy 2.4.6 (Linux)
#
# Behaviour: before any model is opened, the import writes an identifier and a database with a description of the
# machine (kind of processor and system, memory, container, program) below the user's cache folder, keeps the database
# open and starts a thread that looks for mobile.events.data.microsoft.com. disable_telemetry_events() afterwards leaves
# all of it. ORT_DISABLE_TELEMETRY=1 before the import prevents it.
#
# Output seen:
#   import: open: onnxruntime.db; files left: deviceid, onnxruntime.db; recorded: ProcessInfo
#   import, then disable_telemetry_events(): open: onnxruntime.db; files left: deviceid, onnxruntime.db; recorded: ProcessInfo
#   ORT_DISABLE_TELEMETRY=1, import: open: none; files left: none; recorded: nothing
#
# What the documentation says: Privacy.md, in the package, says that it is on by default, that the function turns off
# "non-essential events" and may come after "a minimal initialization event", and names the variable. Up to 1.28 there
# was nothing of this on Linux.
#
# Why it matters: who looks inside a vision model often may not tell of it. Whoever relies on the function has left a
# lasting identifier and a request, and three more descriptors are open in every process that wanted the runtime only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 numpy==2.4.6
cat > "$folder/open.py" <<'PY'
import os
import pathlib
import sys

import onnxruntime

if sys.argv[1:] == ["disable"]:
    onnxruntime.disable_telemetry_events()
links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
names = {pathlib.Path(os.readlink(link)).name for link in links if os.path.exists(link)}
print("open:", ", ".join(names & {"onnxruntime.db"}) or "none", end="; ")
PY
cat > "$folder/left.py" <<'PY'
import pathlib
import sqlite3

files = sorted(p for p in pathlib.Path.home().rglob("*") if p.name in ("deviceid", "onnxruntime.db"))
print("files left:", ", ".join(p.name for p in files) or "none", end="; ")
events = [sqlite3.connect(p).execute("select payload from events").fetchall() for p in files if p.suffix]
print("recorded:", "ProcessInfo" if b"ProcessInfo" in repr(events).encode() else "nothing")
PY
look() {
    rm -rf "$folder/home"
    mkdir "$folder/home"
    clean=(env -u CI -u XDG_CACHE_HOME -u ORT_DISABLE_TELEMETRY HOME="$folder/home")
    echo "$1: $("${clean[@]}" "${@:2}")$("${clean[@]}" "$python" "$folder/left.py")" | tee -a "$folder/seen"
}
python="$folder/venv/bin/python"
"$python" -c "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime as o; print('onnxruntime', o.__version__)"
look "import" "$python" "$folder/open.py"
look "import, then disable_telemetry_events()" "$python" "$folder/open.py" disable
look "ORT_DISABLE_TELEMETRY=1, import" ORT_DISABLE_TELEMETRY=1 "$python" "$folder/open.py"
on="open: onnxruntime.db; files left: deviceid, onnxruntime.db; recorded: ProcessInfo"
diff "$folder/seen" - <<TEXT || { echo "not what is recorded"; exit 1; }
import: $on
import, then disable_telemetry_events(): $on
ORT_DISABLE_TELEMETRY=1, import: open: none; files left: none; recorded: nothing
TEXT
