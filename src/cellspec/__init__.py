"""cellspec: the executable specification of engines that generate datasets cell by cell."""
