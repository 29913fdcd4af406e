"""From good parts to a calibrated model: where thresholds come from."""
