"""Reports for people and auditors: each is made of the stores as data, and drawn as a page that stands alone."""
