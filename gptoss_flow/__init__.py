"""gptoss-flow: declarative pipelines for local models, run against a managed llama.cpp server."""

__version__ = "0.1.0"
