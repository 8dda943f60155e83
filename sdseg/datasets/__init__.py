"""Raw data: which datasets there are, how their files lie, who trains and who tests."""
