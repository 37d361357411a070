import pytest

from gptoss_flow.server.causes import classify

LOADING = "0.00.005.567 I srv    load_model: loading model '/m.gguf'\n"
FAILED = LOADING + (
    "0.00.008.541 E {}\n"
    "0.00.008.725 E llama_model_load: error loading model: llama_model_loader: failed to load model from /m.gguf\n"
    "0.00.009.271 E srv          init: exiting due to model loading error\n"
    "RuntimeError: Failed to init server, please check the input params.\n"
)


@pytest.mark.parametrize(
    ("status", "tail", "name", "permanent"),
    [
        (1, "E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18999", "port", False),
        (1, FAILED.format("gguf_init_from_file: failed to open GGUF file '/m.gguf'"), "model missing",
         True),
        (1, FAILED.format("gguf_init_from_reader: invalid magic characters: 'junk'"), "model corrupt", True),
        (1, FAILED.format("gguf_init_from_reader: failed to read magic"), "model corrupt", True),
        (1, FAILED.format("tensor 'x' data is not within the file bounds, model is corrupted or incomplete"),
         "model corrupt", True),
        (1, "0.01.996.639 E gguf_init_from_reader: failed to read magic\n"
            "0.01.996.794 E cmn  common_init_: failed to load lora adapter '/a.gguf'", "bad adapter", True),
        (1, "0.02.384.227 E common_chat_templates_init: error: parser: Parser Error: Unexpected EOF\n"
            "0.02.386.493 E srv          init: exiting due to model loading error", "bad template", True),
        (1, "E llama_init_from_model: failed to initialize the context: std::bad_alloc", "out of memory", True),
        (-6, "E ggml_aligned_malloc: insufficient memory (attempted to allocate 41 MB)\n"
             "/ggml.c:1644: GGML_ASSERT(ctx->mem_buffer != NULL) failed", "out of memory", True),
        (1, FAILED.format("llama_model_load: error loading model: mmap failed: Cannot allocate memory"),
         "out of memory", True),
        (-6, "/ggml.c:1: GGML_ASSERT(a == b) failed", "assert", False),
        (1, "error: invalid argument: --frobnicate", "bad flag", True),
        (127, "cannot execute /x/llama-server: [Errno 8] Exec format error", "bad flag", True),
        (-6, "", "assert", False),
        (-9, LOADING, "killed", False),
        (-11, LOADING, "segv", False),
        (None, LOADING, "killed", False),
        (1, "something else", "unknown", False),
    ],
)  # fmt: skip
def test_the_cause_is_read_from_status_and_log(status: int | None, tail: str, name: str, permanent: bool) -> None:
    cause = classify(status, tail)
    assert (cause.name, cause.permanent) == (name, permanent)
    assert cause.advice


def test_the_message_has_the_telling_line_without_its_prefix_and_control_characters() -> None:
    cause = classify(1, "0.00.005.404 E srv         start: couldn't bind HTTP server socket,\x1b[31m port: 18999")
    assert cause.message == (
        "the server ended with exit code 1 (port: couldn't bind HTTP server socket, [31m port: 18999)"
    )


def test_a_signal_is_named() -> None:
    assert classify(-9, "").message == "the server died of signal 9 (SIGKILL)"
