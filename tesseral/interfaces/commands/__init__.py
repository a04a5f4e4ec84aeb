"""The words after ``tesseral``: each a function whose arguments are its options; the work is done elsewhere in ``interfaces``."""
