"""Who is shown, with which action units, and seen how; drawn at random, repeatably."""
