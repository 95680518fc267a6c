"""From a table of predictions to what a study reports: events, summaries, a person's own neutral."""
