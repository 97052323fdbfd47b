"""The tab of single inputs: the gallery, one input explained, the map."""
