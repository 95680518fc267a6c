"""Pictures of faces, charts, and reports as HTML, Markdown and LaTeX. No torch here."""
