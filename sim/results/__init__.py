"""What a run amounts to: figures, verdict, tables, files, the report."""
