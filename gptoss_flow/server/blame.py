"""Which key of a profile a server died of, where its cause tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.server.causes import Cause
from gptoss_flow.server.extra_args import key_of

_OPTION = re.compile(r'argument "?(?P<option>--?[A-Za-z][\w.-]*)')


def blamed(profile: Profile, cause: Cause) -> KeyPath:
    """The key; empty where none is to blame for sure."""
    match cause.name:
        case "model missing" | "model corrupt":
            others = profile.speculative and profile.speculative.model
            return () if others or _names_a_model(profile.extra_args) else _model(profile)
        case "bad adapter":
            return ("lora",)
        case "bad template":
            return ("chat_template_file",) if profile.chat_template_file else _model(profile)
        case "bad flag" if match := _OPTION.search(cause.message):
            option = match["option"]
            if option in profile.extra_args:
                return ("extra_args", profile.extra_args.index(option))
            return tuple(key_of(option).split(".")) if key_of(option) else ()
        case _:
            return ()


def _model(profile: Profile) -> KeyPath:
    return ("model", *profile.model.sources[:1])


def _names_a_model(arguments: Sequence[str]) -> bool:
    """As the one that reads images does: which of two files it was is not said."""
    return any(argument.endswith(".gguf") for argument in arguments)
