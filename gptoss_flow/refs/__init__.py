"""The expression language: `${{ … }}` and `{% … %}` in YAML strings, parsed, referenced and rendered.

    template = parse("Read ${{ inputs.path }}")
    template.references          # (Reference("inputs", ("path",), …),)
    template.render({"inputs": {"path": "a.py"}})

Every value in scope is plain data; nothing that a value holds is ever read as a template again.
"""

from __future__ import annotations

from gptoss_flow.refs.errors import EvaluationError, NeedsTokens, Path, TemplateError
from gptoss_flow.refs.expressions import GLOBALS, Reference
from gptoss_flow.refs.filters import FILTERS, TEST_NAMES
from gptoss_flow.refs.frame import Allowance
from gptoss_flow.refs.syntax import RESERVED
from gptoss_flow.refs.template import Compiled, Cuts, Template, compile_value, parse, parse_expression
from gptoss_flow.refs.values import to_text

TESTS = TEST_NAMES

__all__ = [
    "Allowance",
    "Compiled",
    "Cuts",
    "EvaluationError",
    "FILTERS",
    "GLOBALS",
    "NeedsTokens",
    "Path",
    "RESERVED",
    "Reference",
    "TESTS",
    "Template",
    "TemplateError",
    "compile_value",
    "parse",
    "parse_expression",
    "to_text",
]
