"""The report of a run: its data, and its forms (JSON, HTML, Markdown, JUnit XML, terminal) in the run folder."""
