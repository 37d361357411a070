"""What looks like a secret is found wherever it stands, and ordinary text is left as it is."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record import secret_shapes
from gptoss_flow.record.redact import marker
from gptoss_flow.record.secret_shapes import SHAPES, SHORTEST, SIGNS_CHARS, replace_shapes
from tests.record.secrets import SHAPED

ROOT = Path(__file__).parents[2]
CASES = [(name, text) for name, texts in SHAPED.items() for text in texts]
AROUND = (
    "{}",
    "x = '{}'\n",
    '{{"key": "{}"}}',
    "a\\n{}\\nb",
    "é😀 {} \ud800",
    "token%3D{}&x=1",
    "<b>{}</b>",
    "({}).",
)


def redacted(text: str) -> str:
    return replace_shapes(text, marker)


def test_every_shape_has_a_case() -> None:
    assert {shape.name for shape in SHAPES} == set(SHAPED)


@pytest.mark.parametrize(("name", "secret"), CASES)
def test_a_secret_is_found_wherever_it_stands(name: str, secret: str) -> None:
    longest = max(secret.replace("\\n", "\n").split(), key=len)
    for around in AROUND:
        seen = redacted(around.format(secret))
        assert f"[redacted:{name}]" in seen
        before, after = around.format("\0").split("\0")
        assert seen.startswith(before)
        assert seen.endswith(after)
        assert longest not in seen
        assert redacted(seen) == seen


@pytest.mark.parametrize("seen_chars", [0, SIGNS_CHARS])
def test_short_runs_and_long_ones_find_the_same(seen_chars: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in CASES:
        monkeypatch.setattr(secret_shapes, "_looked_at_chars", seen_chars)
        assert f"[redacted:{name}]" in redacted(f"x = '{secret}'")


def test_all_of_them_in_one_text_are_found() -> None:
    seen = redacted("\n".join(text for _, text in CASES))
    assert [name for name in SHAPED if f"[redacted:{name}]" not in seen] == []


def test_no_secret_is_shorter_than_what_is_looked_at() -> None:
    assert min(len(text) for _, text in CASES) >= SHORTEST


@pytest.mark.parametrize(
    "text",
    [
        hashlib.sha256(b"x").hexdigest(),
        f"git-{hashlib.sha1(b'y').hexdigest()} task-{hashlib.md5(b'z').hexdigest()} disk-{'a1' * 20}",
        str(uuid.UUID(int=2**100)),
        "data:image/png;base64,"
        + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "the bearer of this letter has basic understanding of authentication",
        "Authorization: Bearer ${TOKEN}; Basic authentication-with-a-long-name",
        "https://user:password@example.org, https://user:${PASSWORD}@host",
        "http://host:8080/a@b, git@github.com:a/b",
        'password = get_password(); api_key: str | None = None; AWS_SECRET_ACCESS_KEY="$SECRET"',
        "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----",
        'if "-----BEGIN RSA PRIVATE KEY-----" in text: refuse()',
        "ghp_short sk-learn hf_hub_download npm_config_registry xoxo-loves-you AKIA",
        "glpat-placeholder-for-your-token",
        "sk_test_something_else whsec_ eyJ.eyJ.eyJ SG.a.b key-value twilio SKU0123456789",
        "[redacted:github_token] and https://ada:[redacted:password]@example.org",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert redacted(text) is text
    assert redacted(text * 30) == text * 30


def test_this_repository_holds_nothing_that_looks_like_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
    files = [ROOT / name for name in listed.split("\0") if name] or [*ROOT.glob("gptoss_flow/**/*.py")]
    texts = {path: path.read_text(errors="replace") for path in files if path.is_file()}
    assert len(texts) > 50
    found = [path.relative_to(ROOT) for path, text in texts.items() if redacted(text) is not text]
    assert [path for path in found if path.parts[0] != "tests"] == []


@given(st.text(st.characters()))
def test_any_text_can_be_searched_and_a_second_search_finds_nothing_new(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)
