"""Points in space; numpy and scipy only."""
