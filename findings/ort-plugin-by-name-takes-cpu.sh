#!/usr/bin/env bash
# A registered plugin provider that is asked for by its name is listed as available, and the CPU computes
#
# Versions: onnxruntime 1.31.1, onnxruntime-ep-openvino 1.8.1, onnx 1.23.2, numpy 2.4.6 (Linux, x86_64)
#
# Behaviour: after register_execution_provider_library, get_available_providers() lists the plugin's provider. A session
# that is given this name in `providers` is made without a warning or an exception, and is the CPU's: get_providers()
# says so, and the assignment of nodes too. SessionOptions.add_provider refuses the name. Only
# add_provider_for_devices with a device of get_ep_devices() takes the plugin, and `providers` must then be left out:
# with providers=["CPUExecutionProvider"] the devices are dropped, with a warning of Python's.
#
# Output seen:
#   available:                          OpenVINOExecutionProvider is listed
#   providers=[name]:                   CPUExecutionProvider computes
#   add_provider(name):                 InvalidArgument
#   add_provider_for_devices:           OpenVINOExecutionProvider computes
#   the same with providers=[CPU]:      CPUExecutionProvider computes
#
# What the documentation says: the README of another plugin, onnxruntime-ep-mlx 0.31.0, shows just the way by name; the
# page of plugin libraries shows add_provider_for_devices. Nothing says that a listed name is passed over.
#
# Why it matters: whoever compares answers or times of a provider that was asked for by name compares the CPU with itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnxruntime-ep-openvino==1.8.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import onnxruntime
import onnxruntime_ep_openvino as plugin
from onnx import parser

print("onnxruntime", onnxruntime.__version__)
onnxruntime.set_default_logger_severity(4)
warnings.simplefilter("ignore")
text = '<ir_version: 8, opset_import: ["": 17]> g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }'
model, name, cpu = parser.parse_model(text).SerializeToString(), plugin.get_ep_name(), "CPUExecutionProvider"
onnxruntime.register_execution_provider_library("plugin", plugin.get_library_path())
devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]


def computes(add, providers=None):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        add(options)
    except Exception as error:
        return type(error).__name__
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    return f"{session.get_provider_graph_assignment_info()[0].ep_name} computes"


recorded = {
    "available": f"{name} is listed",
    "providers=[name]": f"{cpu} computes",
    "add_provider(name)": "InvalidArgument",
    "add_provider_for_devices": f"{name} computes",
    "the same with providers=[CPU]": f"{cpu} computes",
}
seen = {
    "available": f"{name} is {'' if name in onnxruntime.get_available_providers() else 'not '}listed",
    "providers=[name]": computes(lambda options: None, [name]),
    "add_provider(name)": computes(lambda options: options.add_provider(name, {})),
    "add_provider_for_devices": computes(lambda options: options.add_provider_for_devices(devices, {})),
    "the same with providers=[CPU]": computes(lambda options: options.add_provider_for_devices(devices, {}), [cpu]),
}
for way, said in seen.items():
    print(f"{way + ':':<35} {said}")
sys.exit(0 if seen == recorded else "not what is recorded")
PY
