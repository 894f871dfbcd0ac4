"""What a program finds of its own process where it was, before and after onnxlens has worked in it."""

import ast
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import cv2
import numpy as np
import pytest

from onnxlens import host

from .test_floors import MODULES, ROOT

LOOK = """
import locale, os, signal, sys
def descriptors():
    found = {}
    for n in range(256):
        try:
            found[n] = os.fstat(n)[:3]
        except OSError:
            pass
    return found
def state():
    umask = os.umask(0)
    os.umask(umask)
    return {
        "environment": dict(os.environ), "descriptors": descriptors(), "umask": umask, "folder": os.getcwd(),
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()}, "modules": list(sys.path),
        "streams": (sys.stdin, sys.stdout, sys.stderr), "hooks": (sys.excepthook, sys.unraisablehook),
        "locale": locale.setlocale(locale.LC_ALL), "recursion": sys.getrecursionlimit(),
    }
"""
USE = """
import onnxlens
from concurrent.futures import ThreadPoolExecutor
def use(_):
    lens = onnxlens.Lens("scenes", provider="cpu", threads=1)
    for path in sys.argv[2:]:
        try:
            onnxlens.read_photo(path)
        except onnxlens.OnnxlensError:
            pass
    photo = onnxlens.read_photo(sys.argv[1])
    onnxlens.occlusion(lens, photo, patch=64, stride=64)
    lens.gradcam(photo).overlay()
def use_together():
    use(0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(8)))
"""
COMPARE = """
for key, value in before.items():
    assert after[key] == value, f"{key}: was {value}, is {after[key]}"
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A photo, and files that are harder to read: damaged, padded, with alpha, and cut short."""
    folder = tmp_path_factory.mktemp("photos")
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    middle = len(jpeg) // 2
    files = {
        "photo.jpg": jpeg,
        "damaged.jpg": jpeg[:middle] + bytes(100) + jpeg[middle + 100 :],
        "padded.jpg": jpeg[:-2] + bytes(3) + jpeg[-2:],
        "profile.jpg": jpeg[:2] + b"\xff\xe2\0\x14ICC_PROFILE\0\2\1" + bytes(4) + jpeg[2:],
        "alpha.png": cv2.imencode(".png", np.dstack([picture, picture[..., 0]]))[1].tobytes(),
        "cut.tiff": cv2.imencode(".tiff", picture)[1].tobytes()[:-2000],
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def finished(code, photos, **environment):
    """A program that did `code` with the paths of photos, in an environment without what is asked about."""
    asked = ("LD_LIBRARY_PATH", "ORT_DISABLE_TELEMETRY")
    variables = {k: v for k, v in os.environ.items() if k not in asked} | environment
    command = [sys.executable, "-c", code, *map(str, photos)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_a_program_is_as_it_was(photos):
    code = f"{LOOK}\nbefore = state()\n{USE}\nuse_together()\nafter = state()\n{COMPARE}"
    assert finished(code, photos).stderr == ""


def test_the_settings_of_a_program_are_as_they_were(photos):
    code = f"""{LOOK}
import cv2, numba.core.config as numba, numpy, onnxruntime
from cv2.utils import logging
cv2.setNumThreads(3), logging.setLogLevel(2), numpy.seterr(divide="raise")
onnxruntime.set_default_logger_severity(1)
def settings():
    numbers = {{k: v for k, v in vars(numba).items() if k.isupper()}}
    return {{**state(), "opencv": (cv2.getNumThreads(), logging.getLogLevel()), "numba": numbers,
            "numpy": (numpy.geterr(), str(numpy.random.get_state()))}}
before = settings()
{USE}
use_together()
after = settings()
{COMPARE}
sys.stderr.flush()
os.write(2, b"what the program says of its own\\n")
model = os.path.join(os.path.dirname(onnxlens.__file__), "models", "embedded", "scenes.onnx")
onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
"""
    own = finished(code, photos).stderr.partition("what the program says of its own\n")[2]
    assert "[I:onnxruntime:" in own  # its sessions still say what it wants them to


@pytest.mark.skipif(sys.platform != "linux", reason="looks into a folder of Linux")
def test_the_runtime_opens_no_files_to_report_to_its_maker(photos, tmp_path):
    variables = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "ONNXLENS_CACHE": os.devnull,
    }
    finished(f"import sys\n{USE}\nuse(0)", photos, **variables)
    assert not any(tmp_path.rglob("*onnxruntime*"))


# -- each of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
def test_a_setting_is_given_back_by_the_last_thread_that_needs_it(first):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    two = [ExitStack(), ExitStack()]
    for stack in two:
        stack.enter_context(host.opencv_threads(1))
    assert cv2.getNumThreads() == 1
    two[first].close()
    assert cv2.getNumThreads() == 1
    two[1 - first].close()
    assert cv2.getNumThreads() == 3
    cv2.setNumThreads(before)


def test_a_variable_has_the_default_meanwhile_and_only_where_it_has_no_value(monkeypatch):
    monkeypatch.setenv("ONNXLENS_SET", "value")
    with host.variable("ONNXLENS_SET", "default"), host.variable("ONNXLENS_NOT_SET", "default"):
        assert os.environ["ONNXLENS_SET"] == "value"
        assert os.environ["ONNXLENS_NOT_SET"] == "default"
        os.environ["ONNXLENS_SET"] = "another"
    assert os.environ["ONNXLENS_SET"] == "value"
    assert "ONNXLENS_NOT_SET" not in os.environ


def test_what_others_print_meanwhile_is_passed_on(capfd):
    with host.overheard("Corrupt") as said:
        os.write(2, b"Corrupt one\nanother thread\nCorrupt two\n" + b"x" * 100_000)
    assert said == ["Corrupt one", "Corrupt two"]
    assert capfd.readouterr().err == "another thread\n" + "x" * 100_000
    with suppress(ZeroDivisionError), host.overheard("") as said:
        os.write(2, b"heard to the end\n")
        raise ZeroDivisionError
    assert said == ["heard to the end"]
    os.write(2, b"open again")
    assert capfd.readouterr().err == "open again"


def test_threads_listen_one_after_the_other(capfd):
    def heard(i):
        with host.overheard("Corrupt") as said:
            os.write(2, b"Corrupt %d\n" % i)
        return said

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(heard, range(50))) == [[f"Corrupt {i}"] for i in range(50)]
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors as a service manager of POSIX does")
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_there_is_something_to_hear_where_standard_error_is_closed(closed, tmp_path):
    code = (
        "import os, sys; from onnxlens import host\n"
        "with host.overheard('Corrupt') as said: os.write(2, b'Corrupt\\n' + b'x' * 10)\n"
        "open(sys.argv[1], 'w').write(repr(said))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "said")]
    subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], check=True)
    assert (tmp_path / "said").read_text() == "['Corrupt']"


def test_what_a_thread_prints_goes_nowhere_and_what_others_print_where_it_would(capsys):
    with host.unprinted():
        print("mine")
        other = threading.Thread(target=print, args=["another's"])
        other.start()
        other.join()
    print("mine again")
    assert capsys.readouterr().out == "another's\nmine again\n"


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_sigterm_is_an_interrupt_meanwhile():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), host.sigterm_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before

    def handler():
        with host.sigterm_interrupts():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:  # where signals do not arrive
        assert pool.submit(handler).result() == before


# -- the wall ----------------------------------------------------------------------------------------------

CHANGES = {
    "chdir", "create_and_register_allocator", "dup2", "fchdir", "malloc_trim", "nice", "putenv",
    "redirect_stderr", "redirect_stdout", "reconfigure", "seterr", "setLevel", "setLogLevel", "setNumThreads",
    "set_default_logger_severity", "set_default_logger_verbosity", "set_num_threads", "set_start_method",
    "setdefaulttimeout", "setlocale", "setrecursionlimit", "setrlimit", "simplefilter", "umask", "unsetenv",
}  # fmt: skip
# The command line has a process of its own, and so has a worker of a cluster.
OWN = {
    "cli/__init__.py": {"reconfigure", "dup2"},
    "cli/commands/features/tallying.py": {"chdir"},
    "models/runs/cluster.py": {"setLevel"},  # of Ray, where nobody has connected it
}


def changes(tree):
    """The names of calls and variables by which a module changes its process."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words = ast.unparse(node.func).split(".")
            found |= CHANGES & {words[-1]}
            found |= {"signal"} if words[-2:] == ["signal", "signal"] else set()
            if "environ" in words[:-1] and words[-1] not in ("get", "items", "keys", "copy"):
                found.add("environ")
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= {"environ"} & set(ast.unparse(node.value).split("."))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found |= {"cv2", "onnxruntime"} & set(names) if not getattr(node, "level", 0) else set()
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.umask(0)", {"umask"}),
        ("os.environ['A'] = 'b'", {"environ"}),
        ("del os.environ['A']", {"environ"}),
        ("environ.setdefault('A', 'b')", {"environ"}),
        ("os.environ.get('A'); os.environ['A']", set()),
        ("signal.signal(signal.SIGTERM, f)", {"signal"}),
        ("import cv2", {"cv2"}),
        ("from ..host import cv2", set()),
    ],
)
def test_the_reader_of_changes_reads_them(code, expected):
    assert changes(ast.parse(code)) == expected


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_only_the_host_changes_the_process(path):
    if path == ROOT / "models/embedded/train.py":
        return
    name = path.relative_to(ROOT).as_posix()
    assert changes(ast.parse(path.read_text())) <= OWN.get(name, set())


# These take the name of a command or of a library.
FINITE = {"cli/__init__.py": {"_command"}, "host.py": {"_library"}}


@pytest.mark.parametrize("path", [*MODULES, ROOT / "host.py"], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_module_keeps_for_each_argument_is_bounded(path):
    unbounded = {"cache", "functools.cache", "lru_cache(None)", "lru_cache(maxsize=None)"}
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    kept = {
        f.name for f in functions if unbounded & {ast.unparse(d) for d in f.decorator_list} and f.args.args
    }
    assert kept <= FINITE.get(path.relative_to(ROOT).as_posix(), set())
