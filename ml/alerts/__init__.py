"""Telling people: events and the mailbox."""
