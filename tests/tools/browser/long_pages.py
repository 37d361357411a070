"""Pages that cost a careless reader more than time linear in their length."""

from __future__ import annotations


def long_pages(deep: int) -> dict[str, str]:
    """By what is too much about each. `deep`: how many of it."""
    n = deep // 5
    return {
        "deep": "<div>" * deep + "at the end",
        "deep and closed": "<i>" * deep + "at the end" + "</i>" * deep,
        "lists": "<ul><li>x" * n,
        "tables": "<table><tr><td>x" * n,
        "paragraphs in the deep": "<div>" * n + "<p>x" * n,
        "formatting": "<a><b>" * n + "</a>" * n,
        "attributes": "<p " + " ".join(f"a{n}=1" for n in range(n)) + ">x",
        "one attribute": "<p a='" + "x" * deep + "'>x",
        "comments": "<!--" * n,
        "one comment": "<!--" + "x-" * deep,
        "open tags": "<" * deep,
        "references": "&amp" * deep,
        "scripts": "<script>" * n + "</script>" * n,
        "links": "".join(f"<a href=/{n}>x</a> " for n in range(n)),
        "links below a long base": f"<base href=/{'x/' * 5 * deep}>"
        + "".join(f"<a href={n}>x</a>" for n in range(500)),
        "same link": "<a href=/x>" * n,
        "hidden": "<p hidden>" * n,
        "lines": "<pre>" + "x\n" * deep,
        "cells": "<table>" + "<td>x" * n,
        "titles": "<title>x</title>" * n,
        "selects": "<select>" + "<option>" * n,
        "processing": "<?x " * n,
        "doctypes": "<!doctype html>" * n,
        "marks": "【" * deep,
    }
