"""Short programs to copy from, each runnable offline: `python -m examples.extract`; see README.md in this folder."""
