"""Contents full of what control tokens are spelled like, whole, split and joined; and how they fare in it all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from gptoss_flow.ports import Message, PromptRequest, ToolCall, ToolSpec
from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.harmony_stream import Control
from gptoss_flow.vocabulary import FIRST_CONTROL

HARMONY = [
    "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>",
    "<|startoftext|>", "<|endoftext|>", "<|endofprompt|>", "<|reserved_200013|>", "<|untrusted|>",
    "<|end_untrusted|>", "<|refusal|>",
]  # fmt: skip
OTHERS = [
    "<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<|eot_id|>", "<|begin_of_text|>",
    "<|start_header_id|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<think>", "</think>", "<tool_call>",
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<|tool_call_begin|>", "<|fim_prefix|>", "<pad>",
]  # fmt: skip
# What becomes one by normalisation, or by the loss of what nobody sees.
DISGUISED = [
    "<\u200b|start|>", "\uff1c|start|\uff1e", "<|\u017ftart|>", "<|st\u00adart|>", "<\u2060|end|>",
    "\ufe64|call|\ufe65", "<|\ufeffend|>",
]  # fmt: skip
BETWEEN = [
    "", " ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\ufeff", "\u0301", "a", "1", "\u00e9", "\u65e5", "\U0001f642",
    "system", "assistant", "analysis", "final", " to=functions.x", "json", "<|", "|>", "<", ">", "|",
    "\\u003c|end|\\u003e", "&lt;|end|&gt;",
]  # fmt: skip


def content(random: Random) -> str:
    """One content: control strings in any order, each whole or in two parts with something between."""
    said = []
    for _ in range(random.randint(1, 10)):
        control = random.choice(random.choice([HARMONY, OTHERS, DISGUISED]))
        if random.random() < 0.4:
            at = random.randrange(len(control) + 1)
            control = control[:at] + random.choice(BETWEEN) + control[at:]
        said += [control, random.choice(BETWEEN)]
    return "".join(said)


def conversation(texts: Sequence[str]) -> PromptRequest:
    """Six contents in all the places that a content can have."""
    instructions, question, thought, arguments, result, description = texts
    call = ToolCall(id="c", name="x", arguments=arguments)
    tool = ToolSpec(
        name="x",
        description=description,
        parameters={"type": "object", "properties": {"p": {"type": "string", "description": description}}},
    )
    return PromptRequest(
        mode="harmony",
        messages=(
            Message("system", instructions),
            Message("user", question),
            Message("assistant", "", reasoning=thought, tool_calls=(call,)),
            Message("tool", result, tool_call_id="c", name="x"),
        ),
        tools=(tool,),
    )


_PLAIN = [
    Control.START, Control.MESSAGE, Control.END,  # system
    Control.START, Control.MESSAGE, Control.END,  # developer
    Control.START, Control.MESSAGE, Control.END,  # user
    Control.START, Control.CHANNEL, Control.MESSAGE, Control.END,  # what was thought
    Control.START, Control.CHANNEL, Control.CONSTRAIN, Control.MESSAGE, Control.CALL,
    Control.START, Control.CHANNEL, Control.MESSAGE, Control.END,  # the result
    Control.START,
]  # fmt: skip


def fault(harmony: Harmony, texts: Sequence[str]) -> str:
    """What of six contents did not stay text, or did not come back as it was; or ""."""
    ids = harmony.render(conversation(texts))
    controls = [i for i, token in enumerate(ids) if token >= FIRST_CONTROL]
    if [ids[i] for i in controls] != _PLAIN:
        return "a content became a control token"
    between = [b"".join(map(harmony.spell, ids[a + 1 : b])).decode() for a, b in pairwise(controls)]
    said = [text for (a, _), text in zip(pairwise(controls), between, strict=True) if ids[a] == Control.MESSAGE]
    instructions, question, thought, arguments, result, _ = texts
    if not said[1].startswith("# Instructions\n\n" + instructions + "\n\n# Tools\n\n## functions\n"):
        return "the instructions are not what they were"
    return "" if said[2:] == [question, thought, arguments, result] else "a content is not what it was"
