"""What screens are made of: widgets that draw lines of spans."""
