"""Makes text of unknown origin safe to show: what could steer a terminal becomes visible.

Model, tool, file and server output passes through here on its way to a terminal or to the readable log.
"""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, format characters (bidirectional ones too), surrogates, line and paragraph separators."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def is_unsafe(char: str) -> bool:
    """Whether a character could move the cursor, reorder or hide text, or not be encoded at all."""
    return unicodedata.category(char) in _UNSAFE


def visible(char: str) -> str:
    r"""A character as an escape: `\n`, `\x1b`, `\u202e`, `\U000e0001`."""
    code = ord(char)
    return _SHORT.get(char) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def for_terminal(text: str, keep: str = "\n\t") -> str:
    """The text with every control, format, surrogate and separator character but those in `keep` made visible.

    The result can always be encoded as UTF-8. A backslash stays as it is: this is for eyes, not for reading back.
    """
    if text.isprintable():
        return text
    return text.translate({ord(c): visible(c) for c in set(text) if is_unsafe(c) and c not in keep})


def one_line(text: str) -> str:
    """The text on one line: newlines and tabs are made visible too."""
    return for_terminal(text, keep="")
