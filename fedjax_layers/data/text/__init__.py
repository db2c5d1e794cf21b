"""Texts as rows of token numbers: tokens, vocabularies, and topics of documents."""
