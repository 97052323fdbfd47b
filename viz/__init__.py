"""Everything that is seen: panels (numbers to figures) and the page that shows them."""
