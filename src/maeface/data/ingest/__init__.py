"""From files to prepared faces: what there is to read, and the units of work that read it."""
