"""Tables of labels, predictions and measures: reading, checking, writing and matching them."""
