from pathlib import Path

import pytest

from gptoss_flow.server.flags import FLAGS, HABITS, Help, is_unsafe

DATA = Path(__file__).parents[1] / "data" / "llama_help"


def known(year: int) -> Help:
    return Help.parse((DATA / f"{year}.txt").read_text("utf-8"))


def test_every_name_of_an_option_is_known_with_its_placeholder_and_text() -> None:
    options = known(2026).options
    assert options["-ngl"] is options["--n-gpu-layers"] and options["-ngl"].hint == "N"
    assert options["--no-kv-offload"].hint == "" and "enable KV cache offloading" in options["-kvo"].text
    assert "mmap+mlock" in options["--load-mode"].text
    assert options["--lora-scaled"].hint == "FNAME:SCALE,..."


def test_a_headline_is_no_option_and_ends_the_text_of_the_one_before() -> None:
    options = known(2024).options
    assert not any("params" in name for name in options)
    assert options["--log-verbosity"].text.endswith("ignored.")


@pytest.mark.parametrize(
    ("year", "value", "said"),
    [
        (2024, "on", ["--flash-attn"]),
        (2024, "off", []),
        (2024, "auto", []),
        (2026, "on", ["--flash-attn", "on"]),
        (2026, "auto", ["--flash-attn", "auto"]),
    ],
)
def test_flash_attention_speaks_both_dialects(year: int, value: str, said: list[str]) -> None:
    flag = next(flag for flag in FLAGS if flag.key == "flash_attention")
    rendered = (spelling(known(year), value) for spelling in flag.spellings)
    assert next(each for each in rendered if each is not None) == said


def test_no_two_rows_say_the_same_key_or_own_the_same_option() -> None:
    keys = [flag.key for flag in FLAGS]
    owned = [name for flag in FLAGS for name in flag.owns]
    assert len(set(keys)) == len(keys) and len(set(owned)) == len(owned)


def test_a_habit_that_the_binary_does_not_know_is_left_out() -> None:
    said = [
        next((s for r in habit.spellings if (s := r(Help({}), habit.value)) is not None), []) for habit in HABITS
    ]
    assert said == [[]] * len(HABITS)


@pytest.mark.parametrize("name", ["--tools", "--host", "--api-key", "--ui"])
def test_what_opens_the_server_is_unsafe_by_any_of_its_names(name: str) -> None:
    assert all(is_unsafe(known(2026).options[each]) for each in known(2026).options[name].names)


def test_a_harmless_option_is_not() -> None:
    assert not is_unsafe(known(2026).options["--threads-http"])
