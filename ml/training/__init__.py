"""From labelled rows to a packaged model: assemble, check, fit, choose, export."""
