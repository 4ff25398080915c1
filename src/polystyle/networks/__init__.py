"""What is trained, and the files that it is kept in. Knows no loss and no trainer."""
