"""Arrays in, numbers out: overlap, surface distances, calibration, intervals."""
