"""From texts to rows of token numbers: splitting into tokens, their numbers, and topics of documents."""
