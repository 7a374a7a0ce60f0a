"""Rules that turn facts about the data into settings."""
