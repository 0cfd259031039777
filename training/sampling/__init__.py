"""What models write: answers, the student's own up to their first slip, the teacher's as training data."""
