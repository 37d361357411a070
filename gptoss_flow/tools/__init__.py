"""The table of built-in tools: a tool is one file beside this one and one line here."""

from __future__ import annotations

from gptoss_flow.ports import Tool
from gptoss_flow.tools.browser.tool import BROWSER
from gptoss_flow.tools.http import HTTP
from gptoss_flow.tools.list_files import LIST_FILES
from gptoss_flow.tools.read_file import READ_FILE
from gptoss_flow.tools.repo_files import REPO_FILES

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (READ_FILE, LIST_FILES, REPO_FILES, *BROWSER, HTTP)}
"""Name to tool, as a step's `tool:` names it."""
