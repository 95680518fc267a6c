"""Tables of predictions and of events, written as other tools write and read them."""
