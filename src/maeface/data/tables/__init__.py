"""Tables of labels, predictions and measures: read, check, write and match them."""
