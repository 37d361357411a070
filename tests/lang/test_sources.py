"""How a profile elsewhere is named, and what is refused."""

from __future__ import annotations

import pytest

from gptoss_flow.lang.sources import (
    BadSource,
    GitSource,
    UrlSource,
    is_elsewhere,
    is_server,
    parse_source,
    redacted,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HASH = "ab" * 32


@pytest.mark.parametrize(
    ("ref", "meant"),
    [
        (f"git+https://h/a/b.git@{COMMIT}#p/x.yaml", GitSource("https://h/a/b.git", COMMIT, "p/x.yaml")),
        ("git+https://h/r@release/v1.2#x.yml", None),
        ("git+https://h:8443/r@main#./p//x.yaml", GitSource("https://h:8443/r", "main", "p/x.yaml")),
        ("git+file:///srv/r@main#x.yaml", GitSource("file:///srv/r", "main", "x.yaml")),
        ("git+http://127.0.0.1:9/r@main#x.yaml", GitSource("http://127.0.0.1:9/r", "main", "x.yaml")),
        (f"https://h/p/x.yaml#sha256={HASH}", UrlSource("https://h/p/x.yaml", HASH)),
        ("https://h/x.yml", UrlSource("https://h/x.yml")),
        ("http://localhost:9/x.yaml", UrlSource("http://localhost:9/x.yaml")),
    ],
)
def test_a_source_is_read_and_written_alike(ref: str, meant: object) -> None:
    source = parse_source(ref)
    assert is_elsewhere(ref) and not is_server(ref)
    assert meant is None or source == meant
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("git+ssh://h/r@main#x.yaml", "git+ssh is not allowed"),
        ("git+http://h/r@main#x.yaml", "git+http is not allowed"),
        ("git+ext://sh -c x@main#x.yaml", "git+ext is not allowed"),
        ("git+https://h/r#x.yaml", "needs a commit"),
        ("git+https://h/r@#x.yaml", '"" is no commit'),
        ("git+https://h/r@--upload-pack=x#x.yaml", "is no commit"),
        ("git+https://h/r@a..b#x.yaml", "is no commit"),
        ("git+https://h/r@main:refs/heads/x#x.yaml", "is no commit"),
        ("git+https://h/r@main", "path to a YAML file"),
        ("git+https://h/r@main#../x.yaml", "path to a YAML file"),
        ("git+https://h/r@main#/etc/x.yaml", "path to a YAML file"),
        ("git+https://h/@main#x.yaml", "repository's address is missing"),
        ("git+https://me:secret@h/r@main#x.yaml", "no user name or password"),
        ("https://me:secret@h/x.yaml", "no user name or password"),
        ("https://h/x.yaml?token=secret", "has no ?"),
        ("http://h/x.yaml", "http can be read"),
        ("http://127.0.0.1.evil.org/x.yaml", "http can be read"),
        ("https://h/x.yaml#sha256=abc", "stands no sha256"),
        ("https://h/x.yaml#main", "stands no sha256"),
        ("git+https://[h/r@main#x.yaml", "not an address"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(ref: str, said: str) -> None:
    with pytest.raises(BadSource) as caught:
        parse_source(ref)
    message, hint = caught.value.args
    assert said in message and hint
    assert "secret" not in message + hint


def test_only_git_can_be_given_a_password_and_it_is_said_how() -> None:
    for ref, advice in (
        ("https://me:secret@h/x.yaml", "take it by git+https: git's credential helper or a .netrc gives them"),
        ("git+https://me:secret@h/r@main#x.yaml", "git's credential helper or a .netrc gives them"),
    ):
        with pytest.raises(BadSource) as caught:
            parse_source(ref)
        assert caught.value.args[1] == advice


def test_a_web_address_that_is_no_yaml_file_is_a_servers() -> None:
    assert is_server("http://127.0.0.1:8080") and is_server("https://h/v1") and not is_elsewhere("https://h/v1")
    assert not is_server("local") and not is_elsewhere("profiles/git+x.yaml")


def test_a_relative_path_stays_in_the_repository_at_its_commit() -> None:
    team = GitSource("https://h/r", COMMIT, "profiles/team.yaml")
    assert team.beside("./base.yaml").path == "profiles/base.yaml"
    assert team.beside("../other/x.yaml") == GitSource("https://h/r", COMMIT, "other/x.yaml")
    with pytest.raises(BadSource, match="leads out"):
        team.beside("../../x.yaml")


def test_a_file_beside_one_of_the_web_needs_a_pin_of_its_own() -> None:
    team = UrlSource("https://h/p/team.yaml", HASH)
    assert team.beside("base.yaml") == UrlSource("https://h/p/base.yaml")
    assert not team.beside("base.yaml").is_pinned
    assert team.beside(f"../base.yaml#sha256={HASH}") == UrlSource("https://h/base.yaml", HASH)


def test_a_message_repeats_no_password() -> None:
    assert redacted("git+https://me:se@cret@h/r@m#x.yaml") == "git+https://…@h/r@m#x.yaml"
    assert redacted("https://h/x.yaml?token=secret#sha256=1") == "https://h/x.yaml?…#sha256=1"
