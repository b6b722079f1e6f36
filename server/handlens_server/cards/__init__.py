"""Results as text for people: the cards that hovers and hints show."""
