"""From a treebank to a small student that keeps the format; `training/README.md` is the map."""
