"""Which key of a profile a server died of, where its cause tells. Pure."""

from __future__ import annotations

import re

from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.server.causes import Cause
from gptoss_flow.server.extra_args import key_of

_OPTION = re.compile(r'argument "?(?P<option>--?[A-Za-z][\w.-]*)')


def blamed(profile: Profile, cause: Cause) -> KeyPath:
    """The key; empty where none is to blame for sure."""
    match cause.name:
        case "model missing" | "model corrupt":
            return ("model", *profile.model.sources[:1])
        case "bad adapter":
            return ("lora",)
        case "bad template":
            return ("chat_template_file",)
        case "bad flag" if match := _OPTION.search(cause.message):
            option = match["option"]
            if option in profile.extra_args:
                return ("extra_args", profile.extra_args.index(option))
            return tuple(key_of(option).split(".")) if key_of(option) else ()
        case _:
            return ()
