"""The nouns of the product: frozen data without behaviour beyond derived properties, and without I/O."""
