"""What is measured: a module for each group, whose `run` adds to a report."""
