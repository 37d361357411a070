"""What secrets of well-known services look like: a table of token shapes, each with the text that gives it away.

All patterns together are searched for in one pass of RE2, whose time is linear in the text; most texts hold none.
Then those are looked for of which a sign stands there. Where a pattern has a group, only that is the secret.
RE2 takes 11 ms to make that one search out of the patterns: a short run does better with the signs alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

SHORTEST = 16
"""No shape matches less than so many characters."""


def _is_basic(found: bytes) -> bool:
    """Base64 of `user:password`."""
    return b":" in (_unbase64(found) or b"")


def _is_jwt(found: bytes) -> bool:
    """A header in JSON that names its algorithm."""
    return b'"alg"' in (_unbase64(found.partition(b".")[0]) or b"")


def _is_mixed(found: bytes) -> bool:
    """Not a word, nor a name in one case: letters and a digit."""
    return any(48 <= byte <= 57 for byte in found) and any(byte >= 65 for byte in found)


def _is_password(found: bytes) -> bool:
    """Not what stands for one in a manual: `user:password@host`, `***`."""
    return found.lower() not in (b"password", b"passwd", b"pass", b"pwd", b"pw", b"secret") and bool(
        found.strip(b"*.x")
    )


def _is_discord(found: bytes) -> bool:
    """A token begins with its owner's number."""
    return (_unbase64(found.partition(b".")[0]) or b"").isdigit()


def _unbase64(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(
            text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), b"-_" if b"+" not in text else None
        )
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Shape:
    """`name` stands in the marker; `is_one` looks at what was found (or at its group) a second time."""

    name: str
    signs: tuple[str, ...]
    pattern: str
    is_one: Callable[[bytes], bool] | None = None


_START = r"(?:^|[^A-Za-z0-9_-]|\\[nrtu\"]|%[0-9A-Fa-f]{2})"
"""What may stand before a token whose own beginning is too weak a sign: `sk-` is also the end of `task-`."""
_END = r"(?:$|[^A-Za-z0-9_-])"
_IS = r"""["']?\s*(?:[:=]|=>)\s*["']?"""
"""Between a name and its value, in most languages."""
_BASE64 = r"[A-Za-z0-9+/]"
_WORD = r"[A-Za-z0-9_-]"

SHAPES = (
    # clouds
    Shape("aws_access_key_id", ("AKIA", "ASIA"), r"(?:AKIA|ASIA)[A-Z2-7]{16}"),
    Shape(
        "aws_secret_access_key",
        ("ecret", "ECRET"),
        rf"(?i:aws_?secret_?(?:access_?)?key|secret_?access_?key){_IS}({_BASE64}{{40}})(?:$|[^A-Za-z0-9+/=])",
    ),
    Shape("google_api_key", ("AIza",), rf"AIza{_WORD}{{35}}"),
    Shape("google_oauth_token", ("ya29.",), r"ya29\.[A-Za-z0-9_-]{20,}"),
    Shape("google_oauth_token", ("1//0",), rf"1//0{_WORD}{{40,}}"),
    Shape("google_client_secret", ("GOCSPX-",), rf"GOCSPX-{_WORD}{{28}}"),
    Shape(
        "azure_storage_key",
        ("AccountKey", "SharedAccessKey"),
        rf"(?:AccountKey|SharedAccessKey){_IS}({_BASE64}{{43,86}}={{1,2}})",
    ),
    Shape("azure_sas", ("sig=",), r"[?&;]sig=([A-Za-z0-9%+/_-]{43,}={0,2})", _is_mixed),
    Shape("azure_client_secret", ("Q~",), rf"{_START}([A-Za-z0-9_~.]{{3}}[0-9]Q~[A-Za-z0-9_~.-]{{31,34}})"),
    Shape("digitalocean_token", ("_v1_",), r"do[opr]_v1_[0-9a-f]{64}"),
    Shape("heroku_key", ("HRKU-",), rf"HRKU-{_WORD}{{36,}}"),
    Shape(
        "heroku_key",
        ("HEROKU", "eroku"),
        rf"(?i:heroku_?api_?key){_IS}([0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}})",
    ),
    Shape("fly_token", ("fm1", "fm2_"), r"fm[12][ar]?_[A-Za-z0-9+/=_-]{60,}"),
    Shape("supabase_token", ("sbp_",), r"sbp_[0-9a-f]{40}"),
    Shape("planetscale_token", ("pscale_",), r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9._=-]{32,}"),
    Shape("databricks_token", ("dapi",), rf"{_START}(dapi[0-9a-f]{{32}}(?:-[0-9])?){_END}"),
    Shape("vault_token", ("hvs.", "hvb."), rf"hv[sb]\.{_WORD}{{24,}}"),
    Shape("terraform_token", (".atlasv1.",), r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    # code and packages
    Shape("github_token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    Shape("github_token", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{40,251}"),
    Shape(
        "gitlab_token",
        ("gl",),
        r"gl(?:pat|dt|rt|ptt|ft|soat|cbt|agent|imt|oas|ffct)-[A-Za-z0-9_.=-]{20,}",
        _is_mixed,
    ),
    Shape("bitbucket_token", ("ATBB",), r"ATBB[A-Za-z0-9]{24,32}", _is_mixed),
    Shape("atlassian_token", ("ATATT3", "ATCTT3"), r"AT[AC]TT3[A-Za-z0-9_=+/-]{50,}"),
    Shape("pypi_token", ("pypi-AgE",), rf"pypi-AgE{_WORD}{{50,}}"),
    Shape("npm_token", ("npm_",), r"npm_[A-Za-z0-9]{36}"),
    Shape("rubygems_token", ("rubygems_",), r"rubygems_[0-9a-f]{48}"),
    Shape("docker_token", ("dckr_",), rf"dckr_(?:pat|oat)_{_WORD}{{27,}}"),
    Shape("nuget_key", ("oy2",), rf"{_START}(oy2[a-z0-9]{{43}}){_END}", _is_mixed),
    # money
    Shape("stripe_key", ("_live_", "_test_"), r"[srp]k_(?:live|test)_[A-Za-z0-9]{16,}", _is_mixed),
    Shape("stripe_key", ("whsec_",), rf"whsec_{_BASE64}{{32,}}={{0,2}}"),
    Shape("shopify_token", ("shp",), r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    Shape("square_token", ("sq0",), rf"sq0(?:atp|csp|idp)-{_WORD}{{22,43}}"),
    # chat and mail
    Shape("slack_token", ("xox",), r"xox[abceoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}", _is_mixed),
    Shape("slack_token", ("xapp-",), r"xapp-[0-9]+-[A-Za-z0-9-]{20,}"),
    Shape(
        "slack_webhook",
        ("hooks.slack.com",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_-]{30,})",
    ),
    Shape(
        "discord_webhook",
        ("/webhooks/",),
        rf"discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/[0-9]+/({_WORD}{{60,}})",
    ),
    Shape(
        "discord_token",
        ("iscord", "ISCORD", "Bot "),
        rf"{_START}([MNO]{_WORD}{{23,27}}\.{_WORD}{{6}}\.{_WORD}{{27,40}})",
        _is_discord,
    ),
    Shape("telegram_token", (":AA",), rf"[0-9]{{8,10}}:AA{_WORD}{{33}}"),
    Shape("sendgrid_key", ("SG.",), rf"SG\.{_WORD}{{16,22}}\.{_WORD}{{32,43}}"),
    Shape("twilio_key", ("SK",), rf"{_START}(SK[0-9a-f]{{32}}){_END}"),
    Shape("mailgun_key", ("key-",), rf"{_START}(key-[0-9a-f]{{32}}){_END}"),
    Shape("mailchimp_key", ("-us",), rf"{_START}([0-9a-f]{{32}}-us[0-9]{{1,2}}){_END}"),
    # models
    Shape("anthropic_key", ("sk-ant-",), rf"sk-ant-{_WORD}{{20,}}"),
    Shape("openai_key", ("sk-",), rf"{_START}(sk-(?:proj|svcacct|admin|or-v1)-{_WORD}{{20,}})", _is_mixed),
    Shape("openai_key", ("sk-",), rf"{_START}(sk-[A-Za-z0-9]{{32,}}){_END}", _is_mixed),
    Shape("huggingface_token", ("hf_",), r"hf_[A-Za-z0-9]{34}"),
    Shape("groq_key", ("gsk_",), r"gsk_[A-Za-z0-9]{40,}"),
    Shape("replicate_token", ("r8_",), rf"{_START}(r8_[A-Za-z0-9]{{37}}){_END}"),
    Shape("perplexity_key", ("pplx-",), r"pplx-[A-Za-z0-9]{40,}"),
    Shape("xai_key", ("xai-",), r"xai-[A-Za-z0-9]{70,}"),
    # watching and working
    Shape("newrelic_key", ("NRAK-",), r"NRAK-[A-Z0-9]{27}"),
    Shape("grafana_token", ("glsa_",), r"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}"),
    Shape("grafana_token", ("glc_ey",), r"glc_ey[A-Za-z0-9+/=]{30,}"),
    Shape("sentry_token", ("sntry",), r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    Shape("linear_key", ("lin_api_",), r"lin_api_[A-Za-z0-9]{40}"),
    Shape("notion_token", ("ntn_",), r"ntn_[A-Za-z0-9]{40,}"),
    Shape("onepassword_token", ("ops_ey",), r"ops_ey[A-Za-z0-9_=.-]{60,}"),
    Shape("age_key", ("AGE-SECRET-KEY-",), r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    # in the open
    Shape("jwt", ("eyJ",), rf"eyJ{_WORD}{{8,}}\.{_WORD}{{8,}}\.{_WORD}{{8,}}(?:\.{_WORD}+){{0,2}}", _is_jwt),
    Shape(
        "private_key",
        (" PRIVATE KEY",),
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:\s|\\+[nr])*(?:[A-Za-z-]+: [^\n\\]*(?:\s|\\+[nr])+)*"
        r"([A-Za-z0-9+/=]{16}(?:[A-Za-z0-9+/=\s]|\\+[nr])*)",  # escaped once, or once more
    ),
    Shape(
        "password",
        ("://",),
        r"""[a-z][a-z0-9+.-]*://[^\s/:@"'<>()\[\]{}$%*]*:([^\s/@"'<>()\[\]{}$]+)@[A-Za-z0-9\[]""",
        _is_password,
    ),
    Shape("bearer_token", ("earer ", "EARER "), r"(?i:bearer) +([A-Za-z0-9._~+/-]{20,}=*)", _is_mixed),
    Shape("basic_authorization", ("asic ", "ASIC "), r"(?i:basic) +([A-Za-z0-9+/_-]{12,}={0,2})", _is_basic),
)

_SIGNS = tuple((sign, shape) for shape in SHAPES for sign in shape.signs)

SIGNS_CHARS = 50_000
"""How much text a process looks through for signs, at 50 ns a character, before it makes the one search."""
_looked_at_chars = 0

KEY_SIGNS = ("ecret", "ECRET", "eroku", "HEROKU", "AccountKey", "AccessKey")
"""What the key of a mapping holds where it alone tells that its value is a secret."""


def shapes_in(text: str) -> list[Shape]:
    """The shapes that may be in a text, in the table's order: most often none, and one look is enough to tell."""
    global _looked_at_chars
    _looked_at_chars += len(text)
    if _looked_at_chars > SIGNS_CHARS and not _any_shape().search(text.encode("utf-8", "surrogatepass")):
        return []
    return [*dict.fromkeys([shape for sign, shape in _SIGNS if sign in text])]


def replace_shapes(text: str, marker: Callable[[str], str]) -> str:
    """The text with `marker(name)` in place of every secret; the same object where there is none."""
    found = shapes_in(text)
    if not found:
        return text
    data = before = text.encode("utf-8", "surrogatepass")
    for shape in found:
        data = _replace(data, shape, marker(shape.name).encode())
    return text if data is before else data.decode("utf-8", "surrogatepass")


def _replace(data: bytes, shape: Shape, marker: bytes) -> bytes:
    pieces, done, pattern = [], 0, _compiled(shape.pattern)
    for match in pattern.finditer(data):
        start, end = match.span(pattern.groups)
        if shape.is_one is None or shape.is_one(data[start:end]):
            pieces += [data[done:start], marker]
            done = end
    return b"".join([*pieces, data[done:]]) if pieces else data


@cache
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern)


@cache
def _any_shape() -> Any:
    options = re2.Options()
    options.max_mem = 64 << 20
    options.never_capture = True
    return re2.compile("|".join(f"(?:{shape.pattern})" for shape in SHAPES), options)


def literals_finder(literals: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether any of these texts stands in a given one, in one pass over it."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes for bytes: a value need not be valid UTF-8
    options.never_capture = True
    options.max_mem = 64 << 20
    pattern = re2.compile(
        b"|".join(re2.escape(text.encode("utf-8", "surrogatepass")) for text in literals), options
    )
    return lambda text: pattern.search(text.encode("utf-8", "surrogatepass")) is not None
