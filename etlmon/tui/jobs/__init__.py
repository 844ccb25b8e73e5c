"""Jobs as the console knows and draws them. Pure: no Textual."""
