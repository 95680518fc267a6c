"""The benchmark ``maeface-studio bench``: tables of any tool, scored on renders, portraits and clips."""
