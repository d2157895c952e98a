"""What is known about the patterns, as data: a card each, in groups by what they do."""

from failwell.catalog.cards import CARDS, GROUPS, Card, Numbers, card, exploration, nearest, numbers

__all__ = ["CARDS", "GROUPS", "Card", "Numbers", "card", "exploration", "nearest", "numbers"]
