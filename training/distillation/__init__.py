"""What a step of distillation learns from, and how the teacher is asked."""
