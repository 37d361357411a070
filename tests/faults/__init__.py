"""What goes wrong around a run, made to happen many times over: `python -m tests.faults`."""
