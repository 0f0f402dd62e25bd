"""Where encoders come from: `distill` makes the weights that ship, from a teacher and pictures without labels."""
