"""What everything is drawn with: spans of text with roles, figures, and the colours of the roles."""
