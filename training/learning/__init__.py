"""What a model learns, and the one loop in which it does."""
