"""Subjects, the action units that they show, and views of them: drawn at random, repeatably."""
