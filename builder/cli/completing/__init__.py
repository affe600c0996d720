"""What a shell offers when Tab is pressed: ``engine`` says it, from the parsers; ``scripts`` teach shells to ask."""
