"""Templates that would burn time or memory, run one by one in a child with limits (fault row D16).

Prints one JSON object a bomb: its index, how it ended, the seconds it took, and the child's peak memory in MB.
"""

from __future__ import annotations

import json
import sys
import time

from gptoss_flow.refs import EvaluationError, NeedsTokens, TemplateError, parse
from tests.peak import peak_mb

MILLION = "'x' * 1000000"
LOOP = "{% for i in range(100000) %}"
BOMBS = [
    LOOP * 3 + "{% endfor %}" * 3,
    LOOP * 2 + "x" + "{% endfor %}" * 2,
    LOOP * 2 + "${{ i + 1 }}" + "{% endfor %}" * 2,
    LOOP * 2 + "{% if i > 5 and i < 3 or not i %}a{% elif i == 7 %}b{% endif %}" + "{% endfor %}" * 2,
    LOOP * 2 + "{% set a = i * 2 %}{% set b = [a, a, i] %}" + "{% endfor %}" * 2,
    LOOP * 2 + "{% set a = loop.index %}" + "{% endfor %}" * 2,
    LOOP + "{% if true %}{% endif %}" * 2000 + "{% endfor %}",
    LOOP + "${{ '' }}" * 1000 + "{% endfor %}",
    "{% for a in range(100000) if a < 0 %}{% for b in range(100000) if b < 0 %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}{% for b in range(100000) if b < 0 %}{% endfor %}{% endfor %}",
    "${{ 'x' * 10**9 }}",
    "${{ 10**9 * 'x' }}",
    "${{ [1] * 10**9 }}",
    "${{ ([0] * 1000000) * 1000000 }}",
    "${{ 9**9**9 }}",
    "${{ 2**2**2**2**2**2 }}",
    "${{ (-2)**1000000 }}",
    "${{ 10.0**400 }}",
    "${{ 1 % 0 }}",
    "${{ '%1000000000d' % 1 }}",
    "${{ '%s' % ('x' * 1000000) }}",
    "${{ 'x' ~ 'y' * 4000000 ~ 'z' * 4000000 }}",
    f"{{% set a = {MILLION} %}}" + "".join("{% set a = a ~ a %}" for _ in range(40)) + "${{ a }}",
    "{% set a = ['x'] %}" + "".join("{% set a = a + a %}" for _ in range(40)) + "${{ a }}",
    "{% set a = [0] %}" + "".join("{% set a = [a, a] %}" for _ in range(60)) + "${{ a }}",
    "{% set a = [0] %}" + "".join("{% set a = [a, a] %}" for _ in range(60)) + "${{ a == a ~ '' }}",
    "{% set a = [0] %}{% set b = [0] %}"
    + "".join("{% set a = [a, a] %}{% set b = [b, b] %}" for _ in range(60))
    + "${{ a == b }}",
    "{% set a = {'k': 'v'} %}"
    + "".join("{% set a = {'k': a, 'l': a} %}" for _ in range(60))
    + "${{ a | tojson }}",
    "{% set a = [0] %}" + "".join("{% set a = [a] %}" for _ in range(3000)) + "${{ a }}",
    "${{ " + "[" * 500 + "]" * 500 + " }}",
    "${{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "${{ " + "not " * 5000 + "true }}",
    "${{ " + "- " * 5000 + "1 }}",
    "${{ 1" + " + 1" * 5000 + " }}",
    "${{ 'a'" + " | upper" * 5000 + " }}",
    "${{ a" + ".b" * 5000 + " }}",
    "${{ a" + "[0]" * 5000 + " }}",
    "${{ 1" + " if 1 else 1" * 4000 + " }}",
    "${{ " + "1 and " * 5000 + "1 }}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
    LOOP * 50 + "{% endfor %}" * 50,
    "${{ " + "x" * 1_200_000 + " }}",
    "${{ a }}" * 100_000,
    "${{ " + "9" * 100_000 + " }}",
    "${{ '" + "9" * 100_000 + "' | int }}",
    "${{ '" + "[" * 100_000 + "' | fromjson }}",
    "${{ '" + "9" * 100_000 + "' | fromjson }}",
    "${{ range(10**12) }}",
    "${{ range(-(10**18), 10**18) }}",
    "${{ range(0, 10**18, 1) | length }}",
    f"${{{{ ({MILLION}) | replace('x', {MILLION}) }}}}",
    f"${{{{ ({MILLION}) | replace('', 'yyyyyyyyyyyyyyyyyyyyyyyyyyy') }}}}",
    f"${{{{ range(100000) | join({MILLION}) }}}}",
    "${{ ('x\n' * 1000000) | indent(1000000000) }}",
    "${{ ('x\n' * 1000000) | indent('y' * 1000) }}",
    "${{ 'x' | indent(1000000000, true) }}",
    f"${{{{ ({MILLION}) | wordwrap(1, wrapstring={MILLION}) }}}}",
    f"${{{{ ({MILLION}) | wordwrap(1) }}}}",
    "${{ ('- ' * 1000000) | wordwrap(3) }}",
    "${{ [1] | batch(1000000000, 'x') }}",
    "${{ [1] | batch(100000, 'x') | batch(1) | batch(100000, 'x') | list | length }}",
    "${{ [1] | slice(1000000000, 'x') | list }}",
    "${{ 1.5 | round(1000000000) }}",
    "${{ 1.5 | round(1000000000, 'ceil') }}",
    "${{ 15 | round(-1000000000) }}",
    "${{ [1] | tojson(indent=1000000000) }}",
    "${{ range(100000) | tojson(indent=16) | tojson | tojson | length }}",
    f"${{{{ ({MILLION}) | truncate(10, end={MILLION}) }}}}",
    f"${{{{ ({MILLION}) | trim(({MILLION}) ~ 'y') | length }}}}",
    "${{ range(100000) | map('string') | map('replace', '', 'y' * 100) | map('upper') | list | length }}",
    "${{ range(100000) | map('batch', 3) | list }}",
    "${{ range(100000) | sum(start=[]) }}",
    "${{ ([range(100000)] * 100000) | sum(start=[]) | length }}",
    "${{ ([range(100000)] * 1000) | sort | length }}",
    "${{ ([range(100000)] * 1000) | unique | length }}",
    "${{ ([range(100000)] * 1000) | tojson | length }}",
    "${{ ([range(100000)] * 1000) | map('length') | sum }}",
    "${{ ([range(100000)] * 1000) | map('tojson') | map('length') | sum }}",
    "${{ ([range(100000)] * 1000) | map('reverse') | list | length }}",
    "${{ [0] in [range(100000)] * 1000000 }}",
    LOOP + f"{{% if 'y' in {MILLION} %}}{{% endif %}}" + "{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | upper %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t ~ i %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t[1:] %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | sha256 %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | regex_search('(a|b)*c') %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | title %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | wordcount %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | list %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | split('x') %}{% endfor %}",
    f"{{% set t = {MILLION} %}}" + LOOP + "{% set u = t | urlencode %}{% endfor %}",
    f"{{% set t = {MILLION} %}}{{% set s = t ~ '' %}}" + LOOP + "{% if t == s %}{% endif %}{% endfor %}",
    LOOP + "{% set u = 'a\nb' | lines %}{% endfor %}" + LOOP + "{% endfor %}",
    "{% set keep = [" + ", ".join(["range(100000) | map('string') | list"] * 100) + "] %}",
    "{% set keep = [" + ", ".join(["('\U0001f600' * 1000000) | upper"] * 400) + "] %}",
    "{% set keep = [" + ", ".join(["('a ' * 1000000) | split"] * 400) + "] %}",
    "{% set keep = [" + ", ".join(["'x' * 4000000"] * 400) + "] %}",
    "${{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' | regex_search('(a+)+$') }}",
    f"${{{{ ({MILLION}) | regex_search('(x+x+)+y') }}}}",
    "${{ 'a' | regex_search('((a{1000}){1000}){1000}') }}",
    "${{ 'a' | regex_search('" + "(a?){1000}" * 50 + "') }}",
]


def main() -> None:
    for index in map(int, sys.argv[1:]):
        start = time.process_time()
        try:
            parse(BOMBS[index]).render({})
            ended = "value"
        except (TemplateError, EvaluationError, NeedsTokens) as error:
            ended = type(error).__name__
        seconds = time.process_time() - start
        found = {"bomb": index, "ended": ended, "s": round(seconds, 3), "mb": round(peak_mb())}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
