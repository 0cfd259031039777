"""Texts and answers of a task, from files to padded batches with a state at every position."""
