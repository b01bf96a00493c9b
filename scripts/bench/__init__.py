"""What raif costs beside other ways of doing the same: each script prints a table."""
