"""The table of built-in tools: a tool is one file beside this one and one line here."""

from __future__ import annotations

from gptoss_flow.ports import Tool
from gptoss_flow.tools.apply_patch.tool import APPLY_PATCH, UNDO_PATCH
from gptoss_flow.tools.browser.tool import BROWSER
from gptoss_flow.tools.http import HTTP
from gptoss_flow.tools.list_files import LIST_FILES
from gptoss_flow.tools.python import PYTHON
from gptoss_flow.tools.read_file import READ_FILE
from gptoss_flow.tools.repo_files import REPO_FILES
from gptoss_flow.tools.search_text import SEARCH_TEXT
from gptoss_flow.tools.shell import SHELL
from gptoss_flow.tools.ui_pane.tool import UI_PANE
from gptoss_flow.tools.write_file import WRITE_FILE

READING = (READ_FILE, LIST_FILES, REPO_FILES, SEARCH_TEXT)
WRITING = (WRITE_FILE, APPLY_PATCH, UNDO_PATCH)
RUNNING = (SHELL, PYTHON)

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (*READING, *WRITING, *RUNNING, *BROWSER, HTTP, UI_PANE)}
"""Name to tool, as a step's `tool:` names it."""
