"""From a model and what a user gives to masks: choosing the model, computing, overlapping work, keeping account."""
