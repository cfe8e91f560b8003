"""The product as a chapter: `matmul`, its loops from the outside in, and what they are made of."""
