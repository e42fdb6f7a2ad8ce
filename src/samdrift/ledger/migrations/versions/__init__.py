"""One file per revision, in order. A revision that has been released is never edited."""
