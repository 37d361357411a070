"""The tool `browser`: dialling (up to `fetch`), pages (`text`, `html`, `page`), the tool (`session`, `tool`)."""
