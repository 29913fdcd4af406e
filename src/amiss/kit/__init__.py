"""What two or more methods share: extraction, patches, banks, coresets, score rules."""
