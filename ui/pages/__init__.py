"""One file per page; the file name is the slug and the URL."""
