"""Files to Samples: readers, data sets, made parts."""
