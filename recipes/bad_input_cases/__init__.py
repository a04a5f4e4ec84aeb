"""The cases of bad_inputs.py and bad_inputs_analysis.py, a file for each subject; importing a file registers its cases."""
