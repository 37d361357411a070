"""`gptoss-flow schema`: prints the JSON Schemas for users who installed the package."""

from __future__ import annotations

import json

import click

from gptoss_flow.lang.schema import flow_schema, profile_schema
from gptoss_flow.record.schema import event_schema

SCHEMAS = {"flow": flow_schema, "profile": profile_schema, "event": event_schema}


@click.command("schema")
@click.argument("what", type=click.Choice(list(SCHEMAS)))
def command(what: str) -> None:
    """Print the JSON Schema of a flow file, a profile file, or a line of events.jsonl."""
    click.echo(json.dumps(SCHEMAS[what](), indent=2, ensure_ascii=False))
