"""The report of runs as one HTML page: it opens offline, its charts are SVG, and every text in it is escaped."""
