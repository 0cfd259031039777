"""From what was measured to what people read."""
