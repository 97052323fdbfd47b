"""What merges that adapt or route show beside their accuracy."""
