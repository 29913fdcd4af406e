"""Points in space: numpy and scipy only, units as they come."""
