"""The web service of ``maeface serve``: photos and films over HTTP to tables of action units."""
