"""What a command says of the server that it starts."""

from __future__ import annotations

from gptoss_flow.app.narrate import narrated


def test_a_crash_is_told_only_where_another_try_follows() -> None:
    said: list[str] = []
    changed = narrated(said.append)
    for state, detail in (
        ("starting", "model m"),
        ("crashed", "one"),
        ("starting", "model m"),
        ("crashed", "two"),
    ):
        changed(state, detail, {})  # type: ignore[arg-type]
    changed("stopped", "", {})
    assert said == ["starting: model m", "crashed: one", "starting: model m"]


def test_what_says_its_state_itself_is_told_as_it_is() -> None:
    said: list[str] = []
    narrated(said.append)("loading", "loading the model", {})
    narrated(said.append)("loading", "", {})
    assert said == ["loading the model", "loading"]
