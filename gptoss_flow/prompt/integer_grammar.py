"""Integers between two bounds as GBNF. Pure."""

from __future__ import annotations

from collections.abc import Iterator

MOST_DIGITS = 18


def between(least: int | None, most: int | None) -> str:
    """What the integers from `least` to `most` look like, both included; beyond 18 digits none is written.

    Where there is none between them any may be written: the check of the answer says what is wrong.
    """
    end = 10**MOST_DIGITS - 1
    low, high = max(-end, -end if least is None else least), min(end, end if most is None else most)
    if low > high:
        low, high = -end, end
    choices = []
    if low < 0:
        choices += [f'"-" ( {" | ".join(_naturals(max(1, -high), -low))} )']
    if high >= 0:
        choices += _naturals(max(0, low), high)
    return " | ".join(choices)


def _naturals(low: int, high: int) -> Iterator[str]:
    """Those from low to high, by their number of digits; numbers of digits that may have any are one choice."""
    whole = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        first, last = 10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1
        if digits > 1 and low <= first and last <= high:
            whole.append(digits - 1)
        else:
            yield _same_length(f"{max(low, first)}", f"{min(high, last)}")
    if whole:
        yield f"[1-9] [0-9]{{{whole[0]},{whole[-1]}}}"


def _same_length(low: str, high: str) -> str:
    """Texts of digits from one to another of the same length."""
    if not low:
        return ""
    rest = len(low) - 1
    nought, nine = "0" * rest, "9" * rest
    if low[1:] == nought and high[1:] == nine:
        return _joined(_digit(low[0], high[0]), "[0-9]" if rest == 1 else f"[0-9]{{{rest}}}" if rest else "")
    if low[0] == high[0]:
        return _joined(_digit(low[0], low[0]), _same_length(low[1:], high[1:]))
    # 27 to 84: from 27 to 29, all that begin with 3 to 7, from 80 to 84.
    first, last = int(low[0]), int(high[0])
    choices = []
    if low[1:] != nought:
        choices.append(_same_length(low, low[0] + nine))
        first += 1
    if high[1:] != nine:
        last -= 1
    if first <= last:
        choices.append(_same_length(f"{first}{nought}", f"{last}{nine}"))
    if high[1:] != nine:
        choices.append(_same_length(high[0] + nought, high))
    return choices[0] if len(choices) == 1 else f"( {' | '.join(choices)} )"


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
