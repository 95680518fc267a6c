"""maeface: facial action units from self-supervised representation."""
