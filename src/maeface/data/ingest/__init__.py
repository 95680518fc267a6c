"""From files to face crops: inputs, images, and the units of work of a preparation."""
