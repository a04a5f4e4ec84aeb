"""The cases of bad_inputs.py, a file for each subject; importing a file registers its cases."""
