"""Secrets for tests, put together here so that no file of the repository holds one."""

from __future__ import annotations

import base64
import random
import string

_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def _any(length: int, alphabet: str = _ALNUM) -> str:
    """Always the same text of a length, with a digit in it."""
    return "".join(random.Random(length).choices(alphabet, k=length - 1)) + "7"


def _json64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


_KEY = "\n".join([_any(64), _any(63), _any(40) + "=="])
_PEM = "-----{} RSA PRIVATE " + "KEY-----"

SHAPED: dict[str, tuple[str, ...]] = {
    "aws_access_key_id": ("AK" + "IA" + _any(16, string.ascii_uppercase), "AS" + "IA" + _any(16, "ABC234")),
    "aws_secret_access_key": (f"aws_secret_access_key = {_any(40)}", f'"SecretAccessKey": "{_any(40)}"'),
    "google_api_key": ("AI" + "za" + _any(35),),
    "google_oauth_token": ("ya29" + "." + _any(60), "1/" + "/0" + _any(50)),
    "google_client_secret": ("GOC" + "SPX-" + _any(28),),
    "azure_storage_key": (f"AccountKey={_any(86)}==;EndpointSuffix=core",),
    "azure_sas": (f"https://x.blob.core.windows.net/c?sv=2024&sig={_any(43)}%3D",),
    "azure_client_secret": (f"secret: {_any(4)}Q~{_any(33)}",),
    "digitalocean_token": ("dop" + "_v1_" + _any(64, _HEX),),
    "heroku_key": ("HR" + "KU-" + _any(40), "HEROKU_API_KEY=01234567-89ab-cdef-0123-456789abcdef"),
    "fly_token": ("fm2" + "_" + _any(80),),
    "supabase_token": ("sb" + "p_" + _any(40, _HEX),),
    "planetscale_token": ("pscale" + "_tkn_" + _any(43),),
    "databricks_token": ("da" + "pi" + _any(32, _HEX),),
    "vault_token": ("hv" + "s." + _any(24),),
    "terraform_token": (_any(14) + ".atlas" + "v1." + _any(67),),
    "github_token": (
        "gh" + "p_" + _any(36),
        "gh" + "s_" + _any(36),
        "github" + "_pat_" + _any(22) + "_" + _any(59),
    ),
    "gitlab_token": ("gl" + "pat-" + _any(20),),
    "bitbucket_token": ("AT" + "BB" + _any(32),),
    "atlassian_token": ("AT" + "ATT3" + _any(180),),
    "pypi_token": ("pypi" + "-AgEIcHlwaS5vcmc" + _any(80),),
    "npm_token": ("np" + "m_" + _any(36),),
    "rubygems_token": ("ruby" + "gems_" + _any(48, _HEX),),
    "docker_token": ("dckr" + "_pat_" + _any(27),),
    "nuget_key": ("oy" + "2" + _any(43, string.ascii_lowercase),),
    "stripe_key": ("sk" + "_live_" + _any(24), "rk" + "_live_" + _any(24), "whsec" + "_" + _any(32)),
    "shopify_token": ("shp" + "at_" + _any(32, _HEX),),
    "square_token": ("sq0" + "atp-" + _any(22),),
    "slack_token": ("xox" + "b-123456789012-" + _any(24), "xapp" + "-1-A012-123-" + _any(30)),
    "slack_webhook": ("https://hooks." + f"slack.com/services/T{_any(9)}/B{_any(9)}/{_any(24)}",),
    "discord_webhook": ("https://discord.com/api/" + f"webhooks/123456789/{_any(68)}",),
    "discord_token": (f"DISCORD_TOKEN={_json64('123456789012345678')}.{_any(6)}.{_any(38)}",),
    "telegram_token": ("123456789" + ":AA" + _any(33),),
    "sendgrid_key": ("S" + "G." + _any(22) + "." + _any(43),),
    "twilio_key": ("S" + "K" + _any(32, _HEX),),
    "mailgun_key": ("ke" + "y-" + _any(32, _HEX),),
    "mailchimp_key": (_any(32, _HEX) + "-us" + "12",),
    "anthropic_key": ("sk" + "-ant-api03-" + _any(90),),
    "openai_key": ("sk" + "-proj-" + _any(80), "sk" + "-" + _any(48)),
    "huggingface_token": ("hf" + "_" + _any(34),),
    "groq_key": ("gs" + "k_" + _any(52),),
    "replicate_token": ("r8" + "_" + _any(37),),
    "perplexity_key": ("pp" + "lx-" + _any(48),),
    "xai_key": ("xa" + "i-" + _any(80),),
    "newrelic_key": ("NR" + "AK-" + _any(27, string.ascii_uppercase),),
    "grafana_token": ("gl" + "sa_" + _any(32) + "_" + _any(8, _HEX), "glc" + "_ey" + _any(60)),
    "sentry_token": ("snt" + "rys_" + _any(60),),
    "linear_key": ("lin" + "_api_" + _any(40),),
    "notion_token": ("nt" + "n_" + _any(46),),
    "onepassword_token": ("op" + "s_ey" + _any(80),),
    "age_key": ("AGE-SECRET" + "-KEY-1" + _any(58, string.ascii_uppercase),),
    "jwt": (f"{_json64('{' + chr(34) + 'alg' + chr(34) + ':1}')}.{_any(30)}.{_any(43)}",),
    "private_key": (
        f"{_PEM.format('BEGIN')}\n{_KEY}\n{_PEM.format('END')}",
        f"{_PEM.format('BEGIN')}\\n{_any(60)}\\n{_PEM.format('END')}",
        f"{_PEM.format('BEGIN')}\\\\n{_any(61)}\\\\n{_any(59)}\\\\n{_PEM.format('END')}",
        f"{_PEM.format('BEGIN')}\nProc-Type: 4,ENCRYPTED\n\n{_KEY}\n{_PEM.format('END')}",
    ),
    "password": (
        "postgres" + "://ada:" + "c0rrect-h0rse@db.example.org/x",
        "redis" + "://:" + "hunter2x@localhost:6379",
    ),
    "bearer_token": (f"Authorization: Bearer {_any(40)}",),
    "basic_authorization": (f"authorization: basic {base64.b64encode(b'ada:hunter2').decode()}",),
}
"""At least one text for each shape, by the shape's name."""
